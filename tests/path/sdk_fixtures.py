"""What the SDK tests share: a Tollway with the fake provider behind it, and accounts and keys made beside it without a process each."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from gateway.commands import accounts
from gateway.settings import Settings
from tests.fakes.process import Fake, fake_provider
from tests.running import SECRET, Account, Tollway, tollway

ECHO, FAST = "tollway/echo", "acme/fast-1"
BOTH = (ECHO, FAST)
RATES = {ECHO: (100_000, 400_000), FAST: (153_700, 617_900)}
"""Prompt and completion in pico-USD per token: 1 USD per million tokens is 1,000,000."""

FAULTY = {
    "busy": "rate-limit@secs=7",
    "broken": "status@status=500",
    "late": "status@status=504",
    "breaks": "error-midstream@k=3",
    "leaky": "leaky-error",
    "long": "context-length",
    "split": "tool-split",
    "slow": "endless@ms=20",
    "thinks": "reasoning",
    "refuses": "refusal",
    "filtered": "content-filter",
    "cut": "close-midstream@k=3",
}
_ENDPOINT = """
[[model]]
id = "acme/{id}"
context_length = 128000
[[endpoint]]
model = "acme/{id}"
provider = "acme-cloud"
upstream_model = "{upstream}"
max_output_tokens = 8192
price = {{ prompt = "0.1537", completion = "0.6179" }}
"""


@dataclass(frozen=True)
class Place:
    """A running Tollway, the provider behind it, and an account with $10 and its owner's key."""

    tollway: Tollway
    fake: Fake
    account: Account

    def new_account(self, credit: str = "10") -> Account:
        created = asyncio.run(accounts.create_account(self._settings, email="owner@example.com", credit=credit))
        return Account(created["account_id"], created["key"])

    def new_key(self, **wanted: Any) -> str:
        return str(self.new_key_object(**wanted)["key"])

    def new_key_object(self, account_id: str | None = None, **wanted: Any) -> dict[str, Any]:
        options = {"name": "", "limit": None, "reset": None, "expires": None, "management": False, **wanted}
        return asyncio.run(accounts.create_key(self._settings, account_id=account_id or self.account.account_id, **options))

    def revoke(self, key_id: str) -> None:
        asyncio.run(accounts.revoke_key(self._settings, key_id=key_id))

    def used(self, account: Account) -> Decimal:
        """USD ever charged to the account, exact."""
        return Decimal(self.exact("/credits", account.key)["data"]["total_usage"])

    def exact(self, path: str, key: str) -> Any:
        """The JSON of a GET below /v1, its numbers with all digits."""
        answer = httpx.get(self.tollway.base_url + path, headers={"authorization": f"Bearer {key}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return exact(answer.text)

    @property
    def _settings(self) -> Settings:
        return Settings(database_url=self.tollway.environment["TOLLWAY_DATABASE_URL"], secret_key=SECRET)


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    with fake_provider() as fake:
        catalog = folder / "catalog.toml"
        catalog.write_text(_catalog(fake))
        settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/tollway.db", "TOLLWAY_CATALOG": str(catalog)}
        with tollway(settings, folder) as running:
            here = Place(running, fake, Account("", ""))
            yield Place(running, fake, here.new_account())


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=int)


def price_of(model: str, usage: dict[str, Any]) -> Decimal:
    """What these tokens cost, rounded down to the nano-dollar, counted here and not by the code under test."""
    prompt, completion = RATES[model]
    return Decimal((usage["prompt_tokens"] * prompt + usage["completion_tokens"] * completion) // 1000) / 10**9


def _catalog(fake: Fake) -> str:
    provider = f'[[provider]]\nslug = "acme-cloud"\nname = "Acme Cloud"\ndialect = "openai"\nbase_url = "{fake.base_url}"\n'
    rows = {"fast-1": "fast-1", **FAULTY}
    return provider + "".join(_ENDPOINT.format(id=id, upstream=upstream) for id, upstream in rows.items())

"""One Tollway, the fake provider behind it and the database beneath it, with the questions that the path tests ask all three."""

import asyncio
import itertools
import json
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any, TypeVar
from urllib.request import Request, urlopen

from sqlmodel import Session, col, func, select

from gateway.commands import accounts
from gateway.settings import Settings
from metering import ledger
from metering.batch import OPEN
from metering.database import open_database
from metering.tables import Hold
from tests.fakes.faults import Json
from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.path.models import PRICE
from tests.running import SECRET, Account, Tollway

UPSTREAM_KEY = "sk-upstream-key-of-the-operator"
NANO = 10**9
T = TypeVar("T")


@dataclass(frozen=True)
class Books:
    """What an account has used so far, what is held of it and what is left, nano-USD."""

    usage: int
    held: int
    available: int


class Place:
    """`ask` is a client; everything else looks at what became of it."""

    def __init__(self, *, tollway: Tollway, fake: Fake, database_url: str) -> None:
        self.tollway, self.fake = tollway, fake
        self._settings = Settings(database_url=database_url, secret_key=SECRET)
        self._runner = asyncio.Runner()
        self._database = open_database(database_url)
        self._emails = itertools.count(1)

    def close(self) -> None:
        self._run(self._database.aclose())
        self._runner.close()

    def account(self, credit: str = "10") -> Account:
        email = f"owner-{next(self._emails)}@example.com"
        created = self._run(accounts.create_account(self._settings, email=email, credit=credit))
        return Account(created["account_id"], created["key"])

    def limited_key(self, account: Account, limit: str) -> Account:
        """The same account with an inference key that may spend `limit` USD."""
        options = {"name": "limited", "limit": limit, "reset": None, "expires": None, "management": False}
        created = self._run(accounts.create_key(self._settings, account_id=account.account_id, **options))
        return Account(account.account_id, created["key"])

    def ask(self, account: Account, model: str, **body: Json) -> Answer:
        return ask(self.tollway.port, account.key, model, **body)

    def books(self, account: Account) -> Books:
        found = self._run(self._database.read(ledger.balance, account.account_id))
        return Books(found.usage, found.held, found.available)

    def open_holds(self) -> int:
        return self._run(self._database.read(_open_holds))

    def get(self, account: Account, path: str) -> Json:
        """The `data` of a GET below /v1; numbers with a point are Decimals."""
        request = Request(f"{self.tollway.base_url}/{path}", headers={"Authorization": f"Bearer {account.key}"})
        with urlopen(request, timeout=30) as response:
            return json.load(response, parse_float=Decimal)["data"]

    def used(self, account: Account) -> Decimal:
        """`total_usage` of GET credits, USD."""
        return Decimal(self.get(account, "credits")["total_usage"])

    def generation(self, account: Account, answer: Answer) -> Json:
        return self.get(account, f"generation?id={answer.headers['x-generation-id']}")

    def wait_until_idle(self, within_s: float = 3) -> None:
        """Returns when nothing is held and nothing is in flight; AssertionError with what still is."""
        until = time.monotonic() + within_s
        while True:
            state = {"open holds": self.open_holds(), "in flight": self.fake.connections()["in_flight"]}
            if not any(state.values()):
                return
            assert time.monotonic() < until, state
            time.sleep(0.02)

    def verify(self) -> None:
        """`tollway ledger verify` finds nothing wrong."""
        done = self.tollway.cli("ledger", "verify")
        assert done.returncode == 0, done.stdout + done.stderr

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def charge_for(*, prompt: int, completion: int, cached: int = 0, reasoning: int = 0, price: dict[str, str] = PRICE) -> Decimal:
    """What so many tokens cost in USD, in Decimal and by hand: each kind at its own rate, the sum cut to whole nano-dollars."""
    kinds = {
        "prompt": prompt - cached,
        "cached_prompt": cached,
        "completion": completion - reasoning,
        "reasoning": reasoning,
    }
    fallback = {"cached_prompt": "prompt", "reasoning": "completion"}
    total = sum(Decimal(price.get(kind) or price[fallback[kind]]) * tokens for kind, tokens in kinds.items() if tokens) / 10**6
    return ((total + Decimal(price.get("request", 0))) * NANO).to_integral_value(ROUND_FLOOR) / NANO


def billed(rows: list[dict[str, Json]]) -> dict[str, int]:
    """What the fake would bill for these records, as `charge_for` wants it."""
    names = {"prompt": "prompt_tokens", "completion": "completion_tokens", "cached": "cached_tokens", "reasoning": "reasoning_tokens"}
    return {ours: sum(row["billed_tokens"][theirs] for row in rows) for ours, theirs in names.items()}


def _open_holds(session: Session) -> int:
    return session.exec(select(func.count()).select_from(Hold).where(col(Hold.state) == OPEN)).one()

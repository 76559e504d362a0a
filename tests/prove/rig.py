"""What the proofs run: a catalog whose models are the fake provider's faults, accounts, and questions to the books past every server."""

import asyncio
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.commands import accounts
from gateway.settings import Settings
from metering import ledger
from metering.batch import OPEN
from metering.ledger import Balance
from metering.money import now_ms
from metering.price import Price, cost
from metering.tokens import tokenizer
from metering.usage import Usage
from metering.verify import Check, verify
from tests import books
from tests.fakes.usage import prompt_tokens
from tests.running import SECRET, Account, Tollway

PRICE = {"prompt": "1", "completion": "10"}
RATES = Price(prompt=1_000_000, completion=10_000_000)
TOKEN = 10_000
"""Nano-USD of one completion token."""
OUTPUT_MAX = 100_000
COUNT = tokenizer("o200k_base").count


@dataclass(frozen=True)
class Ended:
    """A hold and, where it has one, its generation's row; `state` as in `metering.batch`."""

    state: int
    amount: int
    charge: int
    prompt: int | None
    completion: int | None
    usage_source: str | None


class Rig:
    """A database, and the settings that every process on it shares.

    `models`: a name (the public id is `fake/<name>`) and what the fake is asked for; `fees`: USD per request of some of them; `prices`:
    other prices than PRICE; `seconds`: what some of them ask for when the first endpoint has failed; `cold`:
    gateways start in new interpreters.
    """

    def __init__(
        self,
        *,
        database_url: str,
        fake_url: str,
        models: dict[str, str],
        folder: Path,
        fees: dict[str, str] | None = None,
        seconds: dict[str, str] | None = None,
        prices: dict[str, dict[str, str]] | None = None,
        cold: bool = False,
    ) -> None:
        self._cold = cold
        self.database_url = database_url
        self._folder = folder
        file = folder / f"catalog-{uuid.uuid4().hex}.toml"
        file.write_text(_catalog(fake_url, models, _prices(fees or {}, prices or {}), seconds or {}))
        self.settings = {"TOLLWAY_DATABASE_URL": database_url, "TOLLWAY_CATALOG": str(file), "TOLLWAY_HEALTH": "off"}
        self._settings = Settings(database_url=database_url, secret_key=SECRET)

    def gateway(self, name: str = "tollway", **settings: str) -> Tollway:
        """Not started yet; its log is `<name>.log`."""
        return Tollway({**self.settings, **settings}, self._folder / f"{name}.log", cold=self._cold)

    async def account(self, nano: int) -> Account:
        email = f"{uuid.uuid4().hex}@example.com"
        created = await accounts.create_account(self._settings, email=email, credit=_usd(nano))
        return Account(created["account_id"], created["key"])

    async def limited_key(self, account: Account, nano: int) -> Account:
        """The same account with a key that may spend so much."""
        options: dict[str, Any] = {"name": "limited", "limit": _usd(nano), "reset": None, "expires": None, "management": False}
        created = await accounts.create_key(self._settings, account_id=account.account_id, **options)
        return Account(account.account_id, created["key"])

    async def balance(self, account: Account) -> Balance:
        async with books.connected(self.database_url) as database:
            return await database.read(ledger.balance, account.account_id)

    async def verify(self) -> list[Check]:
        """What is wrong with the books, by `tollway ledger verify`'s own checks, beside the running servers."""
        async with books.connected(self.database_url) as database:
            checks = await database.read(verify, now=now_ms())
        return [check for check in checks if not check.ok]

    async def open_holds(self, ids: list[str] | None = None) -> list[str]:
        """Of all generations, or of those named."""
        rows = await books.sql(self.database_url, f"SELECT id FROM hold WHERE state = {OPEN}")
        return [str(id) for (id,) in rows if ids is None or id in ids]

    async def ended(self) -> dict[str, Ended]:
        """By generation."""
        rows = await books.sql(
            self.database_url,
            """SELECT h.id, h.state, h.amount, h.charge, g.prompt, g.completion, g.usage_source
            FROM hold h LEFT JOIN generation g ON g.id = h.id""",
        )
        return {str(row[0]): Ended(*row[1:]) for row in rows}  # type: ignore[arg-type]

    async def idle(self, within_s: float) -> float:
        """Seconds until nothing is held; AssertionError with what is, after `within_s`."""
        clock = asyncio.get_running_loop().time
        start = clock()
        while left := await self.open_holds():
            assert clock() - start < within_s, f"{len(left)} holds are still open after {within_s} s: {left[:3]}"
            await asyncio.sleep(0.05)
        return clock() - start


def prompt_bound(prompt: str) -> int:
    """The prompt's tokens by the fake's count or by ours, whichever is more."""
    return max(prompt_tokens([{"content": prompt}]), prompt_counted(prompt))


def prompt_counted(prompt: str) -> int:
    """OpenAI's published rule: three tokens around the message, three to open the answer."""
    return 6 + COUNT(prompt)


def charge_for(*, prompt: int, completion: int) -> int:
    """Nano-USD."""
    return cost(Usage(prompt=prompt, completion=completion), RATES).charge


def _usd(nano: int) -> str:
    return f"{nano // 10**9}.{nano % 10**9:09}"


def _prices(fees: dict[str, str], prices: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {**{name: {"request": fee} for name, fee in fees.items()}, **prices}


def _catalog(fake_url: str, models: dict[str, str], prices: dict[str, dict[str, str]], seconds: dict[str, str]) -> str:
    rows = [_row("provider", slug=slug, name=slug.title(), dialect="openai", base_url=fake_url) for slug in ("fake", "second")]
    for name, upstream in models.items():
        price = ", ".join(f"{unit} = {json.dumps(usd)}" for unit, usd in {**PRICE, "request": "0", **prices.get(name, {})}.items())
        rows.append(_row("model", id=f"fake/{name}", context_length=OUTPUT_MAX))
        offered = {"fake": upstream, **({"second": seconds[name]} if name in seconds else {})}
        for priority, (slug, wish) in enumerate(offered.items()):
            wanted = {"upstream_model": wish, "max_output_tokens": OUTPUT_MAX, "priority": priority}
            rows.append(_row("endpoint", model=f"fake/{name}", provider=slug, **wanted) + f"price = {{ {price} }}\n")
    return "".join(rows)


def _row(table: str, **fields: Any) -> str:
    return f"[[{table}]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())

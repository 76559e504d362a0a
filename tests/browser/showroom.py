"""A Tollway that looks lived in, for pictures: a company with four people, four keys and thirty days of requests to well-known models."""

import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy
from sqlmodel import Session, SQLModel

from gateway.generation import Attempt
from gateway.ids import Ids
from metering import credits, generations, ledger
from metering.money import NANO_PER_USD, now_ms
from metering.price import cost
from metering.tables import Account, Credit, Entry, Generation, Hold
from metering.usage import Usage
from policy import account_privacy, budgets
from policy.people_tables import AccountProfile
from providers import catalog
from providers.catalog import Catalog
from tests.books import connected
from tests.browser.house import Home, House
from tests.running import Account as Opened
from tests.running import Tollway

DAYS: Final = 30
DAY_MS: Final = 86_400_000
SEED: Final = 7
SHARES: Final = {
    "anthropic/claude-sonnet-5.5": 6, "deepseek/deepseek-v4.1-flash": 5, "google/gemini-3.8-flash": 4, "mistralai/mistral-small-2603": 3,
    "anthropic/claude-haiku-5.5": 3,
}  # fmt: skip
"""How often each model is asked; in place of one that the catalog has no more, another one is."""
MODELS_MIN: Final = 5
APPS: Final = (("https://chat.example.com", "Customer chat"), ("https://reports.example.com", "Nightly reports"), (None, None))
KEYS: Final = (("Customer chat", "200"), ("Nightly reports", "50"), ("Coding agents", "120"))
TALKS: Final = (
    "Summarise this week's support tickets in three sentences, the most frequent problem first.",
    "Write a friendly reply to a customer who asks why the charge of March differs from that of April.",
    "Which of these invoices are overdue? Answer as a table with number, customer and days.",
)


@contextlib.asynccontextmanager
async def showroom(folder: Path) -> AsyncIterator[House]:
    """Its history is written before the server starts, which then seals it and adds it up."""
    url = f"sqlite:///{folder / 'tollway.db'}"
    settings = {"TOLLWAY_DATABASE_URL": url, "TOLLWAY_MAIL_FOLDER": str(folder / "mails"), **dict.fromkeys(_key_variables(), "not-a-key")}
    running = Tollway(settings, folder / "tollway.log")
    created = running.cli_json("account", "create", "--email", "ann@example.com")
    home = Home(Opened(created["account_id"], created["key"]))
    keys = [_key(running, home.account.account_id, name, limit) for name, limit in KEYS]
    async with connected(url) as database:
        house = House(running, None, database, folder / "tollway.db", folder / "mails", home, home)  # type: ignore[arg-type]
        await database.write(partial(_history, home=home, keys=keys))
        await _people(house)
        running.start()
        try:
            _talk(house, keys[0]["key"])
            yield house
        finally:
            running.kill()


def _key_variables() -> set[str]:
    """With these set, every model is offered; none of them is called."""
    return {endpoint.provider.api_key_env for endpoint in catalog.load(None).every_endpoint() if endpoint.provider.api_key_env}


def _key(running: Tollway, account_id: str, name: str, limit: str) -> dict[str, Any]:
    made = running.cli_json("key", "create", "--account", account_id, "--name", name, "--limit", limit, "--reset", "monthly")
    assert isinstance(made, dict)
    return made


async def _people(house: House) -> None:
    account_id = house.home.account.account_id
    for who, role in (("ann", "owner"), ("ben", "admin"), ("carla", "developer"), ("dmitri", "billing")):
        await house.move_in(who, account_id=account_id, role=role, operator=who == "ann")
    fields = {"logging": "full", "retention_days": 30}
    await house.database.write(
        partial(account_privacy.change, account_id=account_id, fields=fields, actor=house.people["ann"], now=now_ms())
    )


def _talk(house: House, key: str) -> None:
    """A few requests of today with their logs."""
    for text in TALKS:
        messages = [{"role": "system", "content": "You help the support team of Example Ltd."}, {"role": "user", "content": text}]
        house.api(Opened(house.home.account.account_id, key), "POST", "chat/completions", {"model": "tollway/echo", "messages": messages})


def _history(session: Session, *, home: Home, keys: list[dict[str, Any]]) -> None:
    account_id, now = home.account.account_id, now_ms()
    known = catalog.load(None)
    began = now - DAYS * DAY_MS
    session.execute(sqlalchemy.update(Account).where(Account.id == account_id).values(created_at=began))
    _credit(session, account_id, began)
    generations.remember_prices(session, known.prices(), began)
    ledger.start_boot(session, id="boot_showroom", now=began)
    charged = 0
    for at, row in _requests(known, account_id, [key["id"] for key in keys], began, now):
        charged += row["charge"]
        _book(session, row, at)
        if row["charge"] and row["reasoning"] and len(row["attempts"]) > 300:
            home.ids["generation"] = row["id"]
    for table, column, sign in ((Account, "posted", -1), (Credit, "remaining", -1)):
        place = table.id == account_id if table is Account else Credit.account_id == account_id
        session.execute(sqlalchemy.update(table).where(place).values({column: getattr(table, column) + sign * charged}))
    session.add(AccountProfile(account_id=account_id, name="Example Ltd", updated_at=now))
    session.flush()
    budget = budgets.NewBudget(account_id=account_id, scope="account", subject_id=account_id, amount=400 * NANO_PER_USD, reset="monthly")
    budgets.add(session, budget, id="lim_showroom", now=now)
    home.ids |= {"key_id": keys[0]["id"], "account": account_id}
    home.ids["model"] = max(known.endpoints, key=lambda model: len(known.endpoints[model]))


def _credit(session: Session, account_id: str, at: int) -> None:
    credits.add(session, id="dep_showroom", account_id=account_id, amount=250 * NANO_PER_USD, reason="invoice 2026-118", now=at)


def _requests(known: Catalog, account_id: str, keys: list[str], began: int, now: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """More on working days and in office hours; now and then a provider fails and the next one answers."""
    draw, ids = random.Random(SEED), Ids()
    models = {model: share for model, share in SHARES.items() if model in known.endpoints}
    more = (model for model in sorted(known.endpoints) if model not in models and len(known.endpoints[model]) > 1)
    while len(models) < MODELS_MIN:
        models[next(more)] = 3
    for day in range(DAYS):
        start = began + day * DAY_MS
        weekend = (start // DAY_MS + 4) % 7 in (0, 6)
        for _ in range(draw.randint(4, 8) if weekend else draw.randint(14, 26)):
            at = min(now - 60_000, start + int(draw.gauss(12, 3) * 3_600_000))
            model = draw.choices(list(models), list(models.values()))[0]
            yield at, _request(known, draw, model, account_id, draw.choice(keys), ids.generation(at), at)


def _request(known: Catalog, draw: random.Random, model: str, account_id: str, key: str, id: str, at: int) -> dict[str, Any]:
    endpoints = known.endpoints[model]
    fell = len(endpoints) > 1 and draw.random() < 0.08
    endpoint, failed = endpoints[1 if fell else 0], draw.random() < 0.02
    prompt, first = draw.randint(300, 20_000), int(150 + draw.expovariate(1 / 350))
    usage = Usage() if failed else Usage(
        prompt=prompt, cached_prompt=draw.choice((0, 0, prompt // 2)), completion=draw.randint(80, 2500), reasoning=draw.choice((0, 0, 640))
    )  # fmt: skip
    last = first + 900 + usage.completion * 9
    begun = 214 if fell else 3
    tries = [
        Attempt(endpoint=each.id, provider=each.provider.slug, started_ms=3, status=503, ended_ms=210, error_class="ProviderOverloaded")
        for each in endpoints[:1] if fell
    ]  # fmt: skip
    last_try = Attempt(endpoint=endpoint.id, provider=endpoint.provider.slug, started_ms=begun, status=200, ended_ms=begun + last)
    if failed:
        last_try.status, last_try.error_class = 500, "UpstreamError"
    else:
        last_try.first_byte_ms = begun + first
    origin, title = draw.choice(APPS)
    record = generations.Record(
        id=id, account_id=account_id, key_id=key, created_at=at, model=model, provider=endpoint.provider.slug, endpoint=endpoint.id,
        price_id=endpoint.price_id, api_type="completions", streamed=draw.random() < 0.7, outcome="failed" if failed else "completed",
        finish_reason=None if failed else "stop", native_finish_reason=None if failed else "stop",
        error_type="upstream_error" if failed else None, upstream_id=None if failed else f"chatcmpl-{draw.randrange(10**12):012}",
        usage_source=None if failed else "provider", held=0, first_byte_ms=None if failed else begun + first, duration_ms=begun + last,
        attempts=[msgspec.to_builtins(each) for each in (*tries, last_try)], origin=origin, title=title,
    )  # fmt: skip
    exact = cost(usage, endpoint.price)
    return generations.row(record, usage, exact) | {"charge": exact.charge, "held": exact.charge * 3}


def _book(session: Session, row: dict[str, Any], at: int) -> None:
    """The generation, its hold, and what it was charged for, in both accounts."""
    tables = SQLModel.metadata.tables
    end, charge = at + row["duration_ms"], row["charge"]
    hold = {"id": row["id"], "account_id": row["account_id"], "limits": "", "amount": row["held"], "state": 1 if charge else 2,
            "charge": charge, "boot_id": "boot_showroom", "created_at": at, "closed_at": end, "progress": None}  # fmt: skip
    session.execute(tables[str(Generation.__tablename__)].insert().values(row))
    session.execute(tables[str(Hold.__tablename__)].insert().values(hold))
    for leg, owner, amount in ((0, row["account_id"], -charge), (1, "house:revenue", charge)) if charge else ():
        entry = {
            "transaction_id": row["id"],
            "leg": leg,
            "account_id": owner,
            "amount": amount,
            "kind": "charge",
            "reason": None,
            "at": end,
        }
        session.execute(tables[str(Entry.__tablename__)].insert().values(entry))

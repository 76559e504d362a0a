"""One fresh account with people in its roles, who look at pages and send forms as browsers do; the API and the database beside."""

import dataclasses
import html
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlmodel import Session

from metering.money import format_usd, now_ms
from policy import audit
from policy.people_tables import SignedIn
from policy.permissions import Right
from policy.privacy_tables import StoredContent
from policy.sessions import digest
from tests.browser.house import House
from tests.path.client import Answer, ask
from tests.path.routes import MODELS
from tests.running import Account

T = TypeVar("T")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SECONDS = 1.2
"""A change holds for every request by then."""
EVIL = "<script>alert('canary-9c1f')</script>\n\"&'{{7*7}}"
CHOICE = {"logging": "full", "retention_days": "14", "sampling_percent": "100", "which_keys": "all"}
POSTS: dict[str, tuple[Right, dict[str, str]]] = {
    "privacy": ("privacy.change", CHOICE),
    "privacy/export": ("privacy.change", {}),
    "privacy/close": ("privacy.change", {"account_id": "(own)"}),
    "privacy/close/cancel": ("privacy.change", {}),
    "privacy/requests": ("privacy.change", {"kind": "access", "law": "gdpr", "note": ""}),
    "logs/(log)/delete": ("logs.delete", {}),
    "logs/delete-before": ("logs.delete", {"before": "2099-01-01"}),
    "logs/delete-all": ("logs.delete", {}),
    "billing/budgets": ("budgets.change", {"subject": "account:(own)", "usd": "3"}),
    "billing/budgets/(budget)/remove": ("budgets.change", {}),
}
"""By path below /dashboard, who may and a form that is right; what stands in brackets is the account's own."""
GETS: dict[str, Right] = {
    "privacy": "privacy.read", **dict.fromkeys(("logs", "logs/(log)", "logs/(log)/json"), "logs.read"),
    **dict.fromkeys(("billing", "billing/proof", "billing/statement?month=2026-01", "billing/usage/export?month=2026-01"), "billing.read"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Family:
    """`number` makes the people's names their own; their role is how they are called here."""

    house: House
    account: Account
    number: int

    @property
    def id(self) -> str:
        return self.account.account_id

    async def join(self, *roles: str) -> None:
        for role in roles:
            await self.house.move_in(self.who(role), account_id=self.id, role=role)

    def who(self, role: str) -> str:
        return role if role in self.house.tokens else f"{role}{self.number}"

    def person(self, role: str = "owner") -> str:
        return self.house.people[self.who(role)]

    def look(self, path: str, role: str = "owner") -> Answer:
        return self.house.look(self.who(role), path)

    def read(self, path: str, role: str = "owner") -> str:
        answer = self.look(path, role)
        assert answer.status == 200, (answer.status, answer.body[-800:])
        return answer.body.decode()

    def post(self, path: str, form: dict[str, str] | list[tuple[str, str]], role: str = "owner", **headers: str) -> Answer:
        return self.house.post(self.who(role), path, form, **headers)

    def api(self, method: str, path: str, body: object = None) -> Any:
        return self.house.api(self.account, method, path, body)

    def ask(self, text: str = "Hello", key: str = "", **more: Any) -> Answer:
        return ask(self.house.tollway.port, key or self.account.key, MODELS[0], **{"messages": [{"role": "user", "content": text}], **more})

    async def find(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self.house.database.read(work, *args, **kwargs)

    async def forget_who_they_are(self, role: str = "owner") -> None:
        """It is an hour since they proved it."""
        await self.house.database.write(_age, self.house.tokens[self.who(role)])

    async def deeds(self) -> list[tuple[str, str]]:
        """(actor, action) of the account's audit log, oldest first."""
        return [(row.actor, row.action) for row in await self.find(audit.page, after=0, account_id=self.id)]


def _age(session: Session, token: str) -> None:
    row = session.get_one(SignedIn, digest(token))
    row.confirmed_at -= HOUR_MS
    session.add(row)


def families(house: House) -> Iterator[Family]:
    """Accounts one after another, with nobody in them yet."""
    number = 0
    while True:
        number += 1
        created = house.tollway.cli_json("account", "create", "--email", f"founder{number}@example.com", "--credit", "5")
        yield Family(house, Account(created["account_id"], created["key"]), number)


def choose(own: Family) -> None:
    """Full logging by the form of the page, for every request from then on."""
    answer = own.post("/dashboard/privacy", CHOICE)
    assert (answer.status, answer.headers["location"]) == (303, "/dashboard/privacy?done=privacy.changed"), answer.body[-800:]
    time.sleep(SECONDS)


def ask_and_keep(own: Family, text: str = EVIL) -> str:
    answer = own.ask(text)
    assert answer.status == 200, answer.body
    return answer.headers["x-generation-id"]


def kept(own: Family) -> list[str]:
    return [row["id"] for row in own.api("GET", "logs")["data"]]


def problem(page: bytes) -> str:
    """What the page says is wrong."""
    found = re.search(r'role="alert">([^<]*)<', page.decode())
    assert found, page[-1500:]
    return html.unescape(found[1])


def iso_day(ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(ms / 1000))


def usd(nano: int) -> str:
    return f"-${format_usd(-nano)}" if nano < 0 else f"${format_usd(nano)}"


def grow_old(session: Session, generation_id: str) -> None:
    session.get_one(StoredContent, generation_id).created_at -= 3 * DAY_MS


def stored(session: Session, account_id: str, count: int) -> None:
    for number in range(count):
        at = now_ms() - (count - number)
        row = StoredContent(
            generation_id=f"gen-page-{account_id}-{number:03}", account_id=account_id, key_id="key_none", content_key_id="0", version=1,
            created_at=at, expires_at=at + DAY_MS, size=1, sealed=b"x",
        )  # fmt: skip
        session.add(row)

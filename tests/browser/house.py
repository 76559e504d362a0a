"""A Tollway with people in it: an account with somebody in every role and one of everything, a stranger's account, and an operator."""

import contextlib
import http.client
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlmodel import Session, select

from gateway.dashboard.visitor import COOKIE, csrf_token
from gateway.settings import Settings
from metering import credits
from metering.database import Database
from metering.money import NANO_PER_USD, now_ms
from policy import account_privacy, budgets, links, members, sessions
from policy.people_tables import AccountProfile, Link, Passkey, Person
from policy.tables import Key, Member
from tests.books import connected
from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.path.routes import KEY, MODELS, catalog
from tests.running import Account, Tollway, tollway

ROLES = ("owner", "admin", "developer", "billing", "viewer")
EVERYBODY = ("nobody", *ROLES, "stranger", "operator")
"""`nobody` is not signed in, `stranger` owns another account, `operator` runs the installation and has an account of their own."""
PROMPT = "What is a toll way?"


@dataclass(repr=False)
class Home:
    """An account and one of everything that has an id, by the name of the thing: `key`, `generation`, `project`, `member`, ..."""

    account: Account
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(repr=False)
class House:
    """`tokens` are session cookies by who; `mails` is the folder in which mails arrive."""

    tollway: Tollway
    fake: Fake
    database: Database
    file: Path
    mails: Path
    home: Home
    abroad: Home
    tokens: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.tollway.port}"

    def api(self, account: Account, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The JSON of a call below /v1 that must succeed."""
        answer = self.send(method, f"/v1/{path}", json.dumps(body).encode() if body is not None else b"",
                           {"Authorization": f"Bearer {account.key}", "Content-Type": "application/json", **headers})  # fmt: skip
        assert answer.status < 300, (method, path, answer.status, answer.body[:500])
        return answer.json if answer.body else None

    def look(self, who: str, path: str, method: str = "GET") -> Answer:
        """A page as `who` gets it, without a browser; nothing is followed."""
        return self.send(method, path, b"", self.cookie(who))

    def post(self, who: str, path: str, form: dict[str, str] | list[tuple[str, str]], **headers: str) -> Answer:
        """A form sent as a browser sends it; the session's token is put in unless `form` has one."""
        fields = dict(form) if isinstance(form, dict) else {}
        pairs = list(form.items() if isinstance(form, dict) else form)
        if who != "nobody" and "csrf" not in fields:
            pairs.append(("csrf", self.csrf(who)))
        common = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, urlencode(pairs).encode(), {**self.cookie(who), **common, **headers})

    def cookie(self, who: str) -> dict[str, str]:
        return {} if who == "nobody" else {"Cookie": f"{COOKIE}={self.tokens[who]}"}

    def csrf(self, who: str) -> str:
        """The token that stands in the forms of this session, computed as the server does."""

        class At:
            settings = Settings(secret_key=self.tollway.environment["TOLLWAY_SECRET_KEY"])

        return csrf_token(At, sessions.digest(self.tokens[who]))  # type: ignore[arg-type]

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.tollway.port, timeout=30)) as connection:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, as it is now; without the columns and tables that move by themselves."""
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=10)) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            return {name: _rows(connection, name) for name in names if name not in MOVING}

    def rows_of(self, table: str, column: str) -> list[Any]:
        """One column of a table, the largest value first."""
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=10)) as connection:
            return [value for (value,) in connection.execute(f'SELECT "{column}" FROM "{table}" ORDER BY 1 DESC')]

    async def move_in(self, who: str, *, account_id: str | None, role: str = "owner", operator: bool = False, email: str = "") -> None:
        """A person with a session, and with a role in an account if one is given; the account's first owner becomes this person."""
        email = email or f"{who}@example.com"
        self.people[who], self.tokens[who] = f"per_{who}", secrets.token_urlsafe(32)
        now = now_ms()

        def work(session: Session) -> None:
            person = Person(id=self.people[who], email=email, name=who.title(), verified_at=now, created_at=now, updated_at=now)
            person.operator = int(operator)
            session.add(person)
            session.flush()
            if account_id is not None:
                _join(session, account_id, person, role, now)
            sessions.begin(session, person.id, token=self.tokens[who], agent="Chromium on Linux", account_id=account_id, now=now)

        await self.database.write(work)

    async def sign_in(self, who: str) -> str:
        """One more session of this person; its cookie."""
        token = secrets.token_urlsafe(32)
        begin = partial(sessions.begin, person_id=self.people[who], token=token, agent="Chromium on Linux", now=now_ms())
        await self.database.write(begin)
        return token


MOVING = frozenset(
    ("boot", "session", "seal", "signed_checkpoint", "sqlite_sequence", "usage_hour", "usage_day", "usage_mark", "retention_mark")
)
"""Written by the server's chores beside any request, or, in a session's row, the time it was last seen."""


@contextlib.asynccontextmanager
async def house(fake: Fake, folder: Path, **settings: str) -> AsyncIterator[House]:
    """On SQLite, with the fake provider behind it and the time of an hour for every bound that tests would otherwise wait for."""
    (folder / "catalog.toml").write_text(catalog(fake.base_url))
    file, mails = folder / "tollway.db", folder / "mails"
    mails.mkdir()
    wanted = {
        "TOLLWAY_DATABASE_URL": f"sqlite:///{file}",
        "TOLLWAY_CATALOG": str(folder / "catalog.toml"),
        "TOLLWAY_HEALTH": "off",
        KEY: "k",
    }
    wanted |= {"TOLLWAY_MAIL_FOLDER": str(mails), **settings}
    with tollway(wanted, folder) as running:
        async with connected(f"sqlite:///{file}") as database:
            home, abroad = Home(_account(running, "owner")), Home(_account(running, "stranger"))
            built = House(running, fake, database, file, mails, home, abroad)
            await _people(built)
            for place in (home, abroad):
                await _furnish(built, place)
            yield built


def _account(running: Tollway, who: str) -> Account:
    created = running.cli_json("account", "create", "--email", f"{who}@example.com", "--credit", "25")
    return Account(created["account_id"], created["key"])


async def _people(house: House) -> None:
    for role in ROLES:
        await house.move_in(role, account_id=house.home.account.account_id, role=role)
    await house.move_in("stranger", account_id=house.abroad.account.account_id)
    own = _account(house.tollway, "operator")
    await house.move_in("operator", account_id=own.account_id, operator=True)


async def _furnish(house: House, home: Home) -> None:
    """One of everything that has an id: by the API where there is one, else as rows."""
    account = home.account
    # Before the first call: a key that was just seen knows the choice of a second ago.
    choice = partial(account_privacy.change, account_id=account.account_id, fields={"logging": "full"}, actor="operator", now=now_ms())
    await house.database.write(choice)
    answer = ask(house.tollway.port, account.key, MODELS[0], messages=[{"role": "user", "content": PROMPT}])
    assert answer.status == 200, answer.body
    key = house.api(account, "POST", "keys", {"name": "Team key", "limit": 5})["data"]
    own = house.api(account, "POST", "account/provider-keys", {"provider": "dear", "key": "sk-own-key-of-the-customer"})["data"]
    document = {"presets": {"fast": {"model": MODELS[0]}}, "policies": {"mix": {"kind": "fallback", "models": list(MODELS)}}}
    house.api(account, "PUT", "account/routing", document)
    project = house.tollway.cli_json("project", "create", "--account", account.account_id, "--name", "Website")
    home.ids |= {"generation": answer.headers["x-generation-id"], "key": key["hash"], "provider_key": own["id"], "project": project["id"]}
    home.ids["key_id"] = await house.database.read(_id_of_key, key["hash"])
    await house.database.write(_rows_of_their_own, house, home)


def _rows_of_their_own(session: Session, house: House, home: Home) -> None:
    now, account_id = now_ms(), home.account.account_id
    owner = next(row for row in members.listed(session, account_id) if row.role == "owner")
    assert owner.person_id is not None
    keep = AccountProfile(account_id=account_id, name="Example Ltd" if home is house.home else "Stranger Ltd", updated_at=now)
    token = secrets.token_urlsafe(32)
    invitation = Link(
        digest=links.digest(token), id=f"lnk_{secrets.token_hex(6)}", purpose="invite", email="invited@example.com", account_id=account_id,
        role="viewer", invited_by=owner.person_id, created_at=now, expires_at=now + 86_400_000,
    )  # fmt: skip
    passkey = Passkey(id=secrets.token_urlsafe(16), person_id=owner.person_id, name="Laptop", public_key=b"k", created_at=now)
    spare = secrets.token_urlsafe(32)
    sessions.begin(session, owner.person_id, token=spare, agent="Firefox on Windows", account_id=account_id, now=now - 1)
    for row in (keep, invitation, passkey):
        session.add(row)
    session.flush()
    budget = budgets.NewBudget(account_id=account_id, scope="project", subject_id=home.ids["project"], amount=NANO_PER_USD, reset="daily")
    home.ids["budget"] = f"lim_{secrets.token_hex(12)}"
    budgets.add(session, budget, id=home.ids["budget"], now=now)
    home.ids |= {
        "account": account_id, "member": owner.id, "link": invitation.id, "passkey": passkey.id, "person": owner.person_id,
        "session": sessions.digest(spare), "invitation": token, "credit": credits.listed(session, account_id)[0].id,
    }  # fmt: skip


def _join(session: Session, account_id: str, person: Person, role: str, now: int) -> None:
    """As the one who is a member by this address already, or as a new one."""
    member = next((row for row in members.listed(session, account_id) if row.email == person.email), None)
    if member is None:
        member = Member(id=f"mem_{person.id}", account_id=account_id, email=person.email, role=role, created_at=now)
    member.person_id = person.id
    session.add(member)
    session.flush()


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return sorted(connection.execute(f'SELECT * FROM "{table}"').fetchall(), key=repr)


def _id_of_key(session: Session, hash: str) -> str:
    return session.exec(select(Key.id).where(Key.hash == hash)).one()

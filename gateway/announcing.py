"""Tells the owners of every account which third parties will receive data, before they do: once for each version of the list.

The list and its changes are `subprocessors.toml`; a change stands there at least `NOTICE_DAYS` before it holds.
"""

import datetime
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
from sqlmodel import Session, select

from gateway.subprocessors import File
from metering.database import Database
from policy import account_list, audit, members
from policy.audit import OPERATOR, Deed
from policy.letters import Letter
from policy.rights_tables import Audit


class Told(NamedTuple):
    """How many addresses; `failed`: the mail could not be handed over."""

    sent: int
    failed: int


async def announce(database: Database, file: File, send: Callable[[Letter], Awaitable[None]], *, today: datetime.date, now: int) -> Told:
    """ValueError if no change is to come, or this version was announced to everybody already. Whoever owns several accounts is told once.

    While one address failed it can be done again, to all: who is told twice loses less than who never is.
    """
    coming = [change for change in file.change if change.date > today]
    if not coming:
        raise ValueError(f"no change is to come in version {file.version} of the list; add a [[change]] with a date to come first")
    if await database.read(_announced, file.version):
        raise ValueError(f"version {file.version} of the list was announced already; a new change raises the version")
    words = {"changes": "\n".join(f"From {change.date.isoformat()}: {change.text}" for change in coming)}
    told, failed, after = set[str](), 0, ""
    while rows := await database.read(_owners, after):
        after = rows[-1][0]
        for email in {email for _, emails in rows for email in emails} - told:
            told.add(email)
            try:
                await send(Letter(kind="subprocessors", to=email, words=words))
            except OSError:
                failed += 1
    change = {"version": file.version, "sent": len(told) - failed, "failed": failed}
    await database.write(audit.record, Deed(actor=OPERATOR, action="subprocessors.announce", account_id="", change=change), now=now)
    return Told(len(told) - failed, failed)


def _announced(session: Session, version: int) -> bool:
    """To everybody, by the audit log, which keeps its deeds longer than a notice lasts."""
    deeds = session.exec(select(Audit.change).where(Audit.action == "subprocessors.announce"))
    made = [msgspec.json.decode(change) for change in deeds if change]
    return any(each["version"] == version and each["failed"] == 0 for each in made)


def _owners(session: Session, after: str) -> list[tuple[str, list[str]]]:
    """The next accounts that are not purged, each with its owners' addresses."""
    return [
        (row.id, [] if row.state == "purged" else [each.email for each in members.listed(session, row.id) if each.role == "owner"])
        for row in account_list.page(session, after=after)
    ]

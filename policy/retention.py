"""For how long what is kept: the closed list of categories, and what removes the rows of each when their days are over.

Every table names its category in `info["retention"]`, a column of another category its own beside it: as long as the
law or the work needs, and no longer. `enforce` is a chore of every day; the other ends are named in
`by`, and what lives in memory or in Redis has a lifetime from the moment it is written (`LIFETIMES`).
"""

from typing import Final, NamedTuple

import sqlalchemy
from sqlalchemy import text
from sqlmodel import Session, col

from metering import reduction, rollups
from metering.database import Database
from metering.reduction import Place
from policy import audit, health_redis, limits_redis, people_end, sticky, tapes
from policy.people_tables import Link, SignedIn, SignInFailure
from policy.privacy_tables import RetentionMark
from policy.tables import Key, ProviderKey

DAY_MS: Final = 86_400_000
METADATA_DAYS: Final = 396
"""13 months, so that a month can be compared with the same month of the year before."""
AUDIT_DAYS: Final = 180
SESSION_DAYS: Final = 30
DELETED_AT_ONCE: Final = 1000


class Category(NamedTuple):
    """`days` None: as `said` has it. `by`: the chore, or the act of the account, that removes it."""

    name: str
    days: int | None
    by: str
    said: str


CATEGORIES: Final = (
    Category("billing", 3653, "operator", "The books: at least 10 years, as tax law wants it; append-only, nothing here deletes them."),
    Category("metadata", METADATA_DAYS, "retention", "How and how long a generation ran: 13 months, then billing remains."),
    Category("attribution", METADATA_DAYS, "retention", "Origin and title of the app a request named: as metadata."),
    Category("content", 365, "content", "Prompts and answers, if the account keeps them: the days of its choice, 30 if it says nothing."),
    Category("idempotency", 1, "idempotency", "HMACs that tell a repeated request from a new one: 24 hours."),
    Category("credential", METADATA_DAYS, "retention", "Keys, hashed or sealed: until 13 months after they were revoked."),
    Category("profile", None, "account", "What an account set and who its people are: as long as the account; unconfirmed: 7 days."),
    Category("audit", AUDIT_DAYS, "retention", "Who changed what, in ids and numbers: 180 days; the newest deed stays as the chain's end."),
    Category("session", SESSION_DAYS, "retention", "Where somebody is signed in, links that were mailed, failures to sign in: 30 days."),
    Category("register", 3653, "operator", "Requests under privacy laws and what was disclosed to whom: 10 years, the operator's proof."),
    Category("installation", None, "installation", "Facts of the installation that say nothing of anybody: as long as it."),
)
NAMES: Final = {category.name: category for category in CATEGORIES}


class Lifetime(NamedTuple):
    """What is kept outside the database; `prefix` is that of its keys in Redis."""

    prefix: str
    ms: int
    said: str


LIFETIMES: Final = (
    Lifetime("tollway:sticky:", sticky.LIFETIME_MS, "Which endpoint a conversation went to last: an HMAC and an endpoint's id."),
    Lifetime("tollway:tape:", tapes.LIFETIME_SECONDS * 1000, "The bytes of a resumable stream, if owner and request asked."),
    Lifetime("tollway:limits:", 2 * 60_000 + limits_redis.GRACE_MS, "Requests and tokens of the last minutes, per key and account."),
    Lifetime("tollway:{health}:", health_redis.TURNS_KEPT_MS, "Successes and failures of endpoints; nothing of a request."),
)


async def enforce(database: Database, *, now: int) -> dict[str, int]:
    """Removes what is older than its category may be; how many rows of each. Transactions are short, and doing it twice is harmless."""
    until = now - METADATA_DAYS * DAY_MS
    done = {"generations": await _reduce(database, until=until), "keys": 0, "boots": await database.write(_old_boots, until=until)}
    while batch := await database.write(_old_keys, until=until):
        done["keys"] += batch
    done["deeds"] = 0
    while batch := await database.write(audit.prune, until=now - AUDIT_DAYS * DAY_MS):
        done["deeds"] += batch
    done["people"] = 0
    while batch := await database.write(people_end.forget_unconfirmed, until=now - people_end.UNCONFIRMED_DAYS * DAY_MS):
        done["people"] += batch
    done["sessions"] = await database.write(_old_sessions, until=now - SESSION_DAYS * DAY_MS, now=now)
    return {name: count for name, count in done.items() if count}


async def _reduce(database: Database, *, until: int) -> int:
    """From the mark of the last round to `until`, account by account; the mark moves when all are done."""
    since, reduced, after = await database.read(_mark, "metadata"), 0, ""
    if since >= until:
        return 0
    while names := await database.read(reduction.accounts, after=after):
        for account_id in names:
            place: Place | None = Place(since, "")
            while place is not None:
                count, place = await database.write(reduction.reduce, account_id, after=place, until=until)
                reduced += count
            await rollups.forget_origins(database, account_id, since=since, until=until)
        after = names[-1]
    await database.write(_set_mark, "metadata", until)
    return reduced


def _mark(session: Session, category: str) -> int:
    row = session.get(RetentionMark, category)
    return 0 if row is None else row.until


def _set_mark(session: Session, category: str, until: int) -> None:
    session.connection().execute(_MARK, {"category": category, "until": until})


def _old_keys(session: Session, *, until: int) -> int:
    """Keys that were revoked before `until`, with the name they had."""
    removed = 0
    for table in (Key, ProviderKey):
        old = sqlalchemy.select(col(table.id)).where(col(table.revoked_at) < until).limit(DELETED_AT_ONCE)
        removed += session.connection().execute(sqlalchemy.delete(table).where(col(table.id).in_(old))).rowcount
    return removed


def _old_sessions(session: Session, *, until: int, now: int) -> int:
    """Sessions and links that are over or began before `until`, and failures that began before it."""
    old = (
        (SignedIn, (col(SignedIn.expires_at) < now) | (col(SignedIn.created_at) < until)),
        (Link, (col(Link.expires_at) < now) | (col(Link.created_at) < until)),
        (SignInFailure, col(SignInFailure.first_at) < until),
    )
    return sum(session.connection().execute(sqlalchemy.delete(table).where(over)).rowcount for table, over in old)


def _old_boots(session: Session, *, until: int) -> int:
    return session.connection().execute(_OLD_BOOTS, {"until": until}).rowcount


_MARK: Final = text("""INSERT INTO retention_mark (category, until) VALUES (:category, :until)
    ON CONFLICT (category) DO UPDATE SET until = excluded.until""")
_OLD_BOOTS: Final = text("""DELETE FROM boot WHERE heartbeat_at < :until
    AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.boot_id = boot.id AND hold.state = 0)""")

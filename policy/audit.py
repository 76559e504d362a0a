"""Who changed what: an append-only chain of deeds, written in the transaction of the deed itself, checked by `tollway audit verify`.

A deed names ids, fields and numbers, never a secret, an address (also no IP) or anybody's own words. Recording comes last in its
transaction: the chain has one end, and whoever adds to it waits for whoever is adding. A message is as in `metering/chain.py`:

    hash of a deed     SHA-256(hash before it + message("tollway-audit-1", seq, at, actor, action, account_id, subject, change))

Deeds leave the chain at its front, when their days are over. A mark keeps how far that went (`retention_mark`, category `audit`: the
number of the newest deed that is gone), so that one that vanished otherwise is missed. The daily checkpoint signs the chain's head beside
the ledger's, so that an end that was cut off, or written anew, shows as far as the newest checkpoint reaches: what came after it shows
only once the next one is made.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Literal, TypeVar

import msgspec
from sqlalchemy import text
from sqlmodel import Session, col, select

from metering import notary
from metering.chain import message
from metering.seal import Head
from policy.privacy_tables import RetentionMark
from policy.rights_tables import Audit

T = TypeVar("T")
OPERATOR: Final = "operator"
PAGE: Final = 1000
SHOWN: Final = 100
GENESIS: Final = hashlib.sha256(message("tollway-audit-1")).hexdigest()

Action = Literal[
    "account.create", "account.suspend", "account.resume", "account.close", "account.cancel", "account.purge", "account.export",
    "privacy.change", "rules.change", "limits.change", "logs.delete",
    "key.create", "key.change", "key.delete", "provider_key.add", "provider_key.delete",
    "member.add", "member.change", "member.remove", "member.invite",
    "project.create", "budget.set", "budget.remove", "credit.add", "credit.refund", "keys.rotate",
    "request.open", "request.close", "disclosure.add", "subprocessors.announce", "profile.change",
    "person.create", "person.block", "person.unblock", "person.operator", "person.link",
]  # fmt: skip


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` is the id of what was changed; `change` what it is from then on, or the names of its fields where it may be words.

    What it was before is what the deed before it says.
    """

    actor: str
    action: Action
    account_id: str
    subject: str | None = None
    change: dict[str, Any] | None = None


def record(session: Session, deed: Deed, *, now: int) -> int:
    """Adds the deed to the end of the chain; its number. The last act of a transaction."""
    if session.connection().dialect.name == "postgresql":
        session.connection().execute(_ONE_AT_A_TIME)
    last = session.connection().execute(_LAST).one_or_none()
    seq, previous = (last.seq + 1, last.hash) if last else _after_the_mark(session)
    change = None if deed.change is None else msgspec.json.encode(deed.change, order="sorted").decode()
    row = Audit(
        seq=seq, at=now, actor=deed.actor, action=deed.action, account_id=deed.account_id, subject=deed.subject, change=change,
        previous=previous, hash="",
    )  # fmt: skip
    row.hash = _hash(row)
    session.add(row)
    session.flush()
    return seq


def noted(
    session: Session,
    deed: Deed,
    now: int,
    work: Callable[[Session], T],
    done: Callable[[T], bool] = lambda _: True,
) -> T:
    """Does the work and records it, in one transaction; not if it found nothing to do, which `done` sees in what it returned."""
    result = work(session)
    if done(result):
        record(session, deed, now=now)
    return result


def count(session: Session) -> int:
    return int(session.connection().execute(_COUNT).scalar_one())


def broken(session: Session) -> Iterator[str]:
    """What is wrong with the chain, in words; nothing if it is whole. Reads it all, a page at a time."""
    seq, previous = _after_the_mark(session)
    while rows := page(session, after=seq - 1):
        for row in rows:
            if row.seq != seq:
                yield f"{row.seq - seq} deeds are missing before number {row.seq}"
            elif row.previous != previous and previous:
                yield f"number {row.seq} does not follow the one before it"
            if row.hash != _hash(row):
                yield f"number {row.seq} was changed"
            seq, previous = row.seq + 1, row.hash
        session.expunge_all()


def head(session: Session) -> Head | None:
    """The newest deed."""
    last = session.connection().execute(_LAST).one_or_none()
    return Head(last.seq, last.hash) if last else None


def cut(session: Session, public_keys: Collection[str]) -> Iterator[str]:
    """What the newest checkpoint knows and the chain does not, in words. `public_keys`: those that may have signed it."""
    row = notary.latest(session)
    if row is None or row.beside_seq is None:
        return
    if row.public_key not in public_keys or not notary.is_genuine_beside(row):
        yield f"the checkpoint of {row.day} is not signed by this installation: its secret was changed, or the row was"
        return
    mark = session.get(RetentionMark, "audit")
    found = session.get(Audit, row.beside_seq)
    if found is None and (mark is None or mark.until < row.beside_seq):
        yield f"number {row.beside_seq} is missing, which the checkpoint of {row.day} knows: the end was cut off"
    elif found is not None and found.hash != row.beside_hash:
        yield f"number {row.beside_seq} is another than the checkpoint of {row.day} knows: the end was written anew"


def page(session: Session, *, after: int, account_id: str | None = None) -> list[Audit]:
    """The next `PAGE` deeds behind number `after`, oldest first; of one account, or of all."""
    wanted = select(Audit).where(Audit.seq > after)
    if account_id is not None:
        wanted = wanted.where(Audit.account_id == account_id)
    return list(session.exec(wanted.order_by(col(Audit.seq)).limit(PAGE)))


def newest(session: Session, *, before: int, account_id: str | None = None) -> list[Audit]:
    """At most `SHOWN` deeds in front of number `before`, the newest first; of one account, or of all."""
    wanted = select(Audit).where(Audit.seq < before)
    if account_id is not None:
        wanted = wanted.where(Audit.account_id == account_id)
    return list(session.exec(wanted.order_by(col(Audit.seq).desc()).limit(SHOWN)))


def prune(session: Session, *, until: int) -> int:
    """Removes the oldest deeds that are older than `until` (Unix ms), at most `PAGE`, and never the newest of all; how many."""
    rows = session.connection().execute(_OLD, {"until": until, "limit": PAGE}).all()
    if not rows:
        return 0
    newest = rows[-1].seq
    session.connection().execute(_PRUNE, {"seq": newest})
    session.connection().execute(_MARK, {"until": newest})
    return len(rows)


def _after_the_mark(session: Session) -> tuple[int, str]:
    """The number that the chain begins with, and what it is chained to: after a removal only the first deed itself says."""
    mark = session.get(RetentionMark, "audit")
    return (1, GENESIS) if mark is None else (mark.until + 1, "")


def _hash(row: Audit) -> str:
    fields = (str(row.seq), str(row.at), row.actor, row.action, row.account_id, row.subject, row.change)
    return hashlib.sha256(bytes.fromhex(row.previous) + message("tollway-audit-1", *fields)).hexdigest()


_ONE_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('tollway:audit', 0))")
_LAST: Final = text("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
_COUNT: Final = text("SELECT COUNT(*) FROM audit")
_OLD: Final = text("""SELECT seq FROM audit WHERE seq < (SELECT MAX(seq) FROM audit) AND at < :until
    AND seq < COALESCE((SELECT MIN(seq) FROM audit WHERE at >= :until), 9223372036854775807) ORDER BY seq LIMIT :limit""")
_PRUNE: Final = text("DELETE FROM audit WHERE seq <= :seq")
_MARK: Final = text("""INSERT INTO retention_mark (category, until) VALUES ('audit', :until)
    ON CONFLICT (category) DO UPDATE SET until = excluded.until""")

"""Requests under privacy laws that need a person: a register with due dates, opened by an account's owner or by the operator.

A request is due `DAYS` after it was opened: a month under the GDPR (Art. 12(3)), 45 days under the CCPA (Cal. Code Regs. 7021). The
register is the operator's proof and stays when the account goes; the words of its owner (`note`) go with the account.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, text
from sqlmodel import Session, col, func, select

from metering import ledger
from policy import audit
from policy.audit import Deed
from policy.errors import InvalidField
from policy.rights_tables import RightsRequest

DAY_MS: Final = 86_400_000
KINDS: Final = ("access", "portability", "correction", "deletion", "objection", "other")
DAYS: Final = {"gdpr": 30, "ccpa": 45}
"""By law, how many days after its opening a request is due."""
OPEN_MAX: Final = 20
"""Open requests of one account."""
WORDS_MAX: Final = 2000
PAGE: Final = 100


def open_request(session: Session, *, id: str, account_id: str | None, kind: str, law: str, note: str, by: str, now: int) -> RightsRequest:
    """`account_id` None: somebody without an account asks. InvalidField names the field; UnknownAccount."""
    if kind not in KINDS:
        raise InvalidField("kind", f"must be one of {', '.join(KINDS)}")
    if law not in DAYS:
        raise InvalidField("law", f"must be one of {', '.join(DAYS)}")
    check_words("note", note, most=WORDS_MAX)
    if account_id is not None:
        _check_room(session, account_id)
    row = RightsRequest(id=id, account_id=account_id, kind=kind, law=law, note=note, opened_at=now, due_at=now + DAYS[law] * DAY_MS)
    session.add(row)
    session.flush()
    change = {"kind": kind, "law": law, "due_at": row.due_at}
    audit.record(session, Deed(actor=by, action="request.open", account_id=account_id or "", subject=id, change=change), now=now)
    return row


def close_request(session: Session, id: str, *, outcome: str, by: str, now: int) -> RightsRequest:
    """InvalidField if there is none of this id, or it is closed already: what was answered is not answered otherwise later."""
    check_words("outcome", outcome, most=WORDS_MAX, least=1)
    row = session.exec(select(RightsRequest).where(RightsRequest.id == id).with_for_update()).one_or_none()
    if row is None:
        raise InvalidField("id", "is the id of no request")
    if row.closed_at is not None:
        raise InvalidField("id", "is a request that is closed already")
    row.closed_at, row.outcome = now, outcome
    session.add(row)
    session.flush()
    audit.record(session, Deed(actor=by, action="request.close", account_id=row.account_id or "", subject=id), now=now)
    return row


def open_page(session: Session, *, after: RightsRequest | None = None, account_id: str | None = None) -> list[RightsRequest]:
    """The next `PAGE` open requests behind `after`, what is due first in front: so what is overdue stands before all else."""
    due, id = col(RightsRequest.due_at), col(RightsRequest.id)
    wanted = select(RightsRequest).where(col(RightsRequest.closed_at).is_(None))
    if account_id is not None:
        wanted = wanted.where(RightsRequest.account_id == account_id)
    if after is not None:
        wanted = wanted.where((due > after.due_at) | ((due == after.due_at) & (id > after.id)))
    return list(session.exec(wanted.order_by(due, id).limit(PAGE)))


def last_closed(session: Session, *, account_id: str | None = None) -> list[RightsRequest]:
    """The `PAGE` that were closed last, the newest in front."""
    wanted = select(RightsRequest).where(col(RightsRequest.closed_at).is_not(None))
    if account_id is not None:
        wanted = wanted.where(RightsRequest.account_id == account_id)
    return list(session.exec(wanted.order_by(col(RightsRequest.closed_at).desc(), col(RightsRequest.id)).limit(PAGE)))


def is_overdue(row: RightsRequest, now: int) -> bool:
    return row.closed_at is None and row.due_at < now


def unsaid(session: Session, *, now: int) -> list[RightsRequest]:
    """At most `PAGE` open requests of which the operator is to hear: past half of their time, and again when they are overdue."""
    opened, due, alerted = col(RightsRequest.opened_at), col(RightsRequest.due_at), col(RightsRequest.alerted_at)
    halfway = alerted.is_(None) & (opened + due <= 2 * now)
    over = (due < now) & (alerted.is_(None) | (alerted <= due))
    wanted = select(RightsRequest).where(col(RightsRequest.closed_at).is_(None), halfway | over)
    return list(session.exec(wanted.order_by(due, col(RightsRequest.id)).limit(PAGE)))


def said(session: Session, ids: Sequence[str], *, now: int) -> None:
    session.connection().execute(_SAID, {"ids": list(ids), "now": now})


def forget_words(session: Session, account_id: str) -> None:
    """What the owner wrote goes with the account; that they asked, when, and what the operator answered stays."""
    session.connection().execute(_FORGET, {"account_id": account_id})


def check_words(name: str, words: str, *, most: int, least: int = 0) -> None:
    """InvalidField unless they are `least` to `most` printable characters, line ends among them."""
    if not (least <= len(words) <= most and words.replace("\n", "").replace("\t", "").isprintable()):
        raise InvalidField(name, f"must have {least} to {most} printable characters")


def _check_room(session: Session, account_id: str) -> None:
    """With the account locked, so that of two at once only one gets the last place."""
    ledger.locked(session, account_id)
    still = select(func.count()).where(RightsRequest.account_id == account_id, col(RightsRequest.closed_at).is_(None))
    if session.exec(still).one() >= OPEN_MAX:
        raise InvalidField("kind", f"cannot be asked for now: {OPEN_MAX} requests of this account are open, wait for an answer to one")


_SAID: Final = text("UPDATE rights_request SET alerted_at = :now WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
_FORGET: Final = text("UPDATE rights_request SET note = '' WHERE account_id = :account_id")

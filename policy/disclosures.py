"""The register of disclosures: what was handed to an authority or to somebody else, when, and on which basis. Rows are only added.

There is no function that changes or removes one, and it outlives the account; the account sees its own rows in its export.
"""

from typing import Final

from sqlmodel import Session, col, select

from metering import ledger
from policy import audit, retention
from policy.audit import Deed
from policy.errors import InvalidField
from policy.rights_requests import WORDS_MAX, check_words
from policy.rights_tables import Disclosure

NAME_MAX: Final = 200
PAGE: Final = 100


def add(
    session: Session,
    *,
    id: str,
    recipient: str,
    basis: str,
    categories: list[str],
    account_id: str | None,
    note: str,
    disclosed_at: int,
    by: str,
    now: int,
) -> Disclosure:
    """`account_id` None: what was disclosed is not about one account. `disclosed_at` in Unix ms, not in the future.

    InvalidField names the field; UnknownAccount.
    """
    check_words("recipient", recipient, most=NAME_MAX, least=1)
    check_words("basis", basis, most=NAME_MAX, least=1)
    check_words("note", note, most=WORDS_MAX)
    for category in categories:
        if category not in retention.NAMES:
            raise InvalidField("categories", "must be categories of `tollway privacy retention`, with commas")
    if not categories or len(set(categories)) < len(categories):
        raise InvalidField("categories", "must be one or more, each once")
    if disclosed_at > now:
        raise InvalidField("at", "must not be in the future")
    if account_id is not None:
        ledger.locked(session, account_id)
    row = Disclosure(
        id=id, account_id=account_id, recipient=recipient, basis=basis, categories=",".join(categories), note=note,
        disclosed_at=disclosed_at, created_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    deed = Deed(actor=by, action="disclosure.add", account_id=account_id or "", subject=id, change={"categories": categories})
    audit.record(session, deed, now=now)
    return row


def page(session: Session, *, after: Disclosure | None = None, account_id: str | None = None) -> list[Disclosure]:
    """The next `PAGE` behind `after`, in the order in which they were disclosed; of one account, or all."""
    at, id = col(Disclosure.disclosed_at), col(Disclosure.id)
    wanted = select(Disclosure)
    if account_id is not None:
        wanted = wanted.where(Disclosure.account_id == account_id)
    if after is not None:
        wanted = wanted.where((at > after.disclosed_at) | ((at == after.disclosed_at) & (id > after.id)))
    return list(session.exec(wanted.order_by(at, id).limit(PAGE)))

"""The rules of an account as they are stored: one JSON document per account, read with every look-up of a caller."""

from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlmodel import Session

from metering import ledger
from policy import rules
from policy.errors import InvalidRules
from policy.rules import NO, Rules
from policy.tables import AccountRules

BYTES_MAX: Final = 64 * 1024


def of(session: Session, account_id: str) -> Rules:
    row = session.get(AccountRules, account_id)
    return NO if row is None else _parsed(row.rules)


def document(session: Session, account_id: str) -> dict[str, Any]:
    """As the owner wrote it."""
    row = session.get(AccountRules, account_id)
    return {} if row is None else msgspec.json.decode(row.rules)


def put(session: Session, account_id: str, raw: dict[str, Any], *, now: int) -> None:
    """Replaces the document. InvalidRules names the field; UnknownAccount."""
    ledger.balance(session, account_id)
    rules.parse(raw)
    text = msgspec.json.encode(raw).decode()
    if len(text.encode()) > BYTES_MAX:
        raise InvalidRules(f"rules: the document may have {BYTES_MAX} bytes")
    session.merge(AccountRules(account_id=account_id, rules=text, updated_at=now))
    session.flush()


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Rules:
    """Parsed once per document, however often its account calls."""
    return rules.parse(msgspec.json.decode(text))

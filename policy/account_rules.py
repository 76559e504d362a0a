"""The rules of an account as they are stored: one JSON document per account, read with every look-up of a caller."""

from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import text
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
    written = msgspec.json.encode(raw).decode()
    if len(written.encode()) > BYTES_MAX:
        raise InvalidRules(f"rules: the document may have {BYTES_MAX} bytes")
    session.connection().execute(_PUT, {"account_id": account_id, "rules": written, "now": now})


def patch(session: Session, account_id: str, raw: dict[str, Any], *, now: int) -> dict[str, Any]:
    """A merge patch of the top level: a field replaces the one of its name, null removes it. Returns the document as it is then.

    The row is locked first, so that of two patches at the same time none is lost. Errors as of `put`.
    """
    ledger.balance(session, account_id)
    row = session.connection().execute(_LOCK, {"account_id": account_id, "now": now}).one()
    merged = {name: value for name, value in {**msgspec.json.decode(row.rules), **raw}.items() if value is not None}
    put(session, account_id, merged, now=now)
    return merged


_PUT: Final = text("""INSERT INTO account_rules (account_id, rules, updated_at) VALUES (:account_id, :rules, :now)
    ON CONFLICT (account_id) DO UPDATE SET rules = excluded.rules, updated_at = excluded.updated_at""")
_LOCK: Final = text("""INSERT INTO account_rules (account_id, rules, updated_at) VALUES (:account_id, '{}', :now)
    ON CONFLICT (account_id) DO UPDATE SET updated_at = excluded.updated_at RETURNING rules""")


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Rules:
    """Parsed once per document, however often its account calls."""
    return rules.parse(msgspec.json.decode(text))

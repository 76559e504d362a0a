"""The choice of an account as it is stored, with every change it ever had. Read with every look-up of a caller."""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import text
from sqlmodel import Session, col, select

from metering import ledger
from policy import privacy
from policy.privacy import DEFAULT, Privacy
from policy.privacy_tables import AccountPrivacy, PrivacyChange

HISTORY_MAX: Final = 1000


class Choice(NamedTuple):
    """`version` 0: never changed."""

    privacy: Privacy
    version: int


UNCHANGED: Final = Choice(DEFAULT, 0)


def of(session: Session, account_id: str) -> Choice:
    row = session.get(AccountPrivacy, account_id)
    return UNCHANGED if row is None else Choice(_parsed(row.document), row.version)


def change(session: Session, account_id: str, fields: dict[str, Any], *, actor: str, now: int) -> Choice:
    """A merge patch, with its line in the history. InvalidPrivacy names the field; UnknownAccount.

    The row is locked first: of two changes at once none is lost, and what is being stored at this moment ends before this does.
    """
    ledger.balance(session, account_id)
    row = session.connection().execute(_LOCK, {"account_id": account_id, "now": now, "document": _written(DEFAULT)}).one()
    changed = privacy.merged(_parsed(row.document), fields)
    if row.version and changed == _parsed(row.document):
        return Choice(changed, row.version)
    version = row.version + 1
    found = {"account_id": account_id, "version": version, "document": _written(changed), "now": now, "actor": actor}
    session.connection().execute(_CHANGE, found)
    session.connection().execute(_REMEMBER, found)
    return Choice(changed, version)


def history(session: Session, account_id: str) -> list[PrivacyChange]:
    """Newest first."""
    wanted = select(PrivacyChange).where(PrivacyChange.account_id == account_id).order_by(col(PrivacyChange.version).desc())
    return list(session.exec(wanted.limit(HISTORY_MAX)))


_LOCK: Final = text("""INSERT INTO account_privacy (account_id, version, document, updated_at) VALUES (:account_id, 0, :document, :now)
    ON CONFLICT (account_id) DO UPDATE SET updated_at = excluded.updated_at RETURNING document, version""")
_CHANGE: Final = text("""UPDATE account_privacy SET version = :version, document = :document, updated_at = :now
    WHERE account_id = :account_id""")
_REMEMBER: Final = text("""INSERT INTO privacy_change (account_id, version, at, actor, document)
    VALUES (:account_id, :version, :now, :actor, :document)""")


def _written(choice: Privacy) -> str:
    return msgspec.json.encode(choice).decode()


@lru_cache(maxsize=1024)
def _parsed(document: str) -> Privacy:
    return privacy.parse(msgspec.json.decode(document))

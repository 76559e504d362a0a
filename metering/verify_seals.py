"""I16, recomputed for `metering.verify`: the chains of sealed entries and the newest signed checkpoint, in constant memory per entry."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering import chain, notary

CLAIM: Final = "Every seal fits its entry and its predecessor, every entry is sealed within a day, the newest checkpoint is the books' own."
LATE_MS: Final = 24 * 60 * 60_000
_PAGE: Final = 1000


class Found(msgspec.Struct):
    """`rows` names at most `rows_max` of the `wrong` ones."""

    rows_max: int
    figure: str = ""
    wrong: int = 0
    rows: list[str] = []

    def report(self, row: str) -> None:
        self.wrong += 1
        if len(self.rows) < self.rows_max:
            self.rows.append(row)


def recompute(session: Session, *, now: int, rows_max: int) -> Found:
    """A seal that is wrong is named by its transaction, one that is missing by account and seq. `now` in Unix milliseconds."""
    found = Found(rows_max)
    sealed, since = _chains(session, found)
    if since is not None and since < now - LATE_MS:  # books that are new to sealing have a day, too
        _unsealed(session, found, before=now - LATE_MS)
    entries = session.connection().execute(text("SELECT COUNT(*) FROM entry WHERE leg = 0")).scalar_one()
    found.figure = f"{sealed:,} of {entries:,} entries sealed, {_checkpoint(session, found)}"
    return found


def _chains(session: Session, found: Found) -> tuple[int, int | None]:
    """How many seals there are, and since when."""
    account, head, seq, sealed, since = "", "", 0, 0, None
    for row in _pages(session):
        if row["account_id"] != account:
            account, head, seq = row["account_id"], chain.genesis(row["account_id"]), 0
        if row["seq"] != seq + 1:
            found.report(f"{account} seq {seq + 1} is missing")
        elif row["owner"] != account or row["hash"] != _hash(head, row):
            found.report(row["transaction_id"])
        head, seq, sealed = row["hash"], row["seq"], sealed + 1
        since = min(since or row["sealed_at"], row["sealed_at"])
    return sealed, since


def _pages(session: Session) -> Iterator[Any]:
    yield from session.connection().execute(_SEALS, execution_options={"yield_per": _PAGE}).mappings()


def _hash(before: str, row: Any) -> str | None:
    """None where what came before is no hash."""
    fields = ("account_id", "seq", "transaction_id", "kind", "amount", "reason", "at")
    try:
        return chain.link(before, **{name: row[name] for name in fields})
    except ValueError:
        return None


def _unsealed(session: Session, found: Found, *, before: int) -> None:
    listed = session.connection().execute(_OVERDUE, {"before": before, "rows": found.rows_max}).all()
    for row in listed:
        found.report(row.transaction_id)
    found.wrong += listed[0].number - len(listed) if listed else 0


def _checkpoint(session: Session, found: Found) -> str:
    """Computes the newest checkpoint again from the chains; returns the words for the figure."""
    row = notary.latest(session)
    if row is None:
        return "no checkpoint"
    heads: notary.Heads = []
    after: str | None = ""
    while after is not None:
        page, after = notary.heads_page(session, at=row.created_at, after=after)
        heads += page
    ids, tree = notary.plant(heads)
    if (len(ids), tree.root.hex()) != (row.accounts, row.root) or not notary.is_genuine(row):
        found.report(f"checkpoint {row.day}")
    return f"checkpoint {row.day} over {row.accounts:,} accounts"


_SEALS: Final = text(
    """SELECT s.account_id, s.seq, s.transaction_id, s.hash, s.sealed_at, e.account_id AS owner, e.kind, e.amount, e.reason, e.at
    FROM seal s LEFT JOIN entry e ON e.transaction_id = s.transaction_id AND e.leg = 0 ORDER BY s.account_id, s.seq"""
)
_OVERDUE: Final = text(
    """SELECT e.transaction_id, COUNT(*) OVER () AS number FROM entry e LEFT JOIN seal s ON s.transaction_id = e.transaction_id
    WHERE e.leg = 0 AND e.at < :before AND s.transaction_id IS NULL ORDER BY e.at, e.transaction_id LIMIT :rows"""
)

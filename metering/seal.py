"""Gives committed entries their place in their account's hash chain (`metering.chain`). Plain functions over a Session.

Only a customer's leg (0) is sealed, once, and never inside a settle. The chain's order is the order of sealing: an entry that was
committed late comes after younger ones. Two rules make the past fixed for signed checkpoints: along a chain `sealed_at` never falls,
and it is always after the moment of every checkpoint that exists.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import func, text
from sqlmodel import Session, select

from metering import chain
from metering.tables import Seal, SignedCheckpoint

Cursor = tuple[int, str]
"""A place in the order (at, transaction_id) of entries."""

BEGIN: Final[Cursor] = (0, "")

_Row = tuple[str, int, str, str, int]
"""Of table `seal`: account_id, seq, transaction_id, hash, sealed_at."""


class Link(msgspec.Struct, frozen=True):
    """A sealed entry. `amount` in nano-USD, `at` in Unix milliseconds."""

    seq: int
    transaction_id: str
    kind: str
    amount: int
    reason: str | None
    at: int
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The end of a chain: its newest entry's place and hash; seq 0 and the genesis hash of a chain without entries."""

    seq: int
    hash: str
    sealed_at: int = 0


class Window(msgspec.Struct, frozen=True):
    """Of the entries looked at: the ids of those `unsealed`, in order; where the next window begins; whether there may be more."""

    unsealed: list[str]
    next: Cursor
    full: bool


def window(session: Session, *, after: Cursor, limit: int) -> Window:
    """The `limit` entries after a place, whether sealed or not, so that a look costs the same however large the books are."""
    rows = session.connection().execute(_WINDOW, {"at": after[0], "id": after[1], "rows": limit}).all()
    unsealed = sorted((at, id) for at, id, looked_at in rows if not looked_at)
    end, count = next((((at, id), looked_at) for at, id, looked_at in rows if looked_at), (after, 0))
    return Window([id for _, id in unsealed], end, count == limit)


def newest(session: Session, *, before: int, limit: int) -> tuple[int | None, int | None]:
    """The time of the newest sealed entry among the `limit` entries up to `before`, and up to when to look next; None: there is none.

    Of many entries of one millisecond some may be left out, which makes what is found older, never younger.
    """
    rows = session.connection().execute(_NEWEST, {"before": before, "rows": limit}).all()
    sealed = next((row.at for row in rows if row.seq is not None), None)
    return sealed, rows[-1].at - 1 if len(rows) == limit else None


def unsealed_of(session: Session, account_id: str, *, limit: int) -> list[str]:
    """The ids of an account's entries that are not sealed, in order, among its newest `limit`; all of them: the sealing is far behind."""
    rows = session.connection().execute(_OF_ACCOUNT, {"account_id": account_id, "rows": limit}).all()
    return [row.transaction_id for row in reversed(rows) if row.seq is None]


def seal(session: Session, ids: Sequence[str], *, now: int) -> int:
    """Seals those of the entries that nobody has sealed yet, oldest first; returns how many. One at a time on either database."""
    lock(session)
    connection, dialect = session.connection(), session.get_bind().dialect.name
    entries = connection.execute(_UNSEALED[dialect], {"ids": _json(ids)}).all()
    if not entries:
        return 0
    floor = max(now, 1 + (session.exec(select(func.max(SignedCheckpoint.created_at))).one() or 0))
    heads = heads_of(session, {account_id for _, account_id, *_ in entries})
    connection.execute(_ADD[dialect], {"rows": _json([_next(heads, floor, *entry) for entry in entries])})
    return len(entries)


def lock(session: Session) -> None:
    """Whoever adds to the chains or fixes a checkpoint's moment goes alone until the end of the transaction; SQLite's writers do anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(text("SELECT pg_advisory_xact_lock(hashtextextended('tollway:seal', 0))"))


def heads_of(session: Session, account_ids: set[str]) -> dict[str, Head]:
    """The head of every chain, by account."""
    statement = _HEADS[session.get_bind().dialect.name]
    rows = session.connection().execute(statement, {"ids": _json(sorted(account_ids))}).all()
    known = {row.account_id: Head(row.seq, row.hash, row.sealed_at) for row in rows}
    return {id: known.get(id) or Head(0, chain.genesis(id)) for id in account_ids}


def links(session: Session, account_id: str, *, after: int, upto: int, limit: int) -> list[Link]:
    """A page of a chain: the sealed entries after seq `after`, up to and including seq `upto`."""
    where = {"account_id": account_id, "after": after, "upto": upto, "rows": limit}
    return [Link(*row) for row in session.connection().execute(_LINKS, where)]


def head_at(session: Session, account_id: str, seq: int) -> Head | None:
    """The chain as it ended when it had `seq` entries; None if it never had so many."""
    if seq == 0:
        return Head(0, chain.genesis(account_id))
    row = session.get(Seal, (account_id, seq))
    return Head(row.seq, row.hash, row.sealed_at) if row else None


def _json(rows: Sequence[str] | Sequence[_Row]) -> str:
    return msgspec.json.encode(rows).decode()


def _next(heads: dict[str, Head], floor: int, id: str, account_id: str, kind: str, amount: int, reason: str | None, at: int) -> _Row:
    """The seal of an entry; its account's head moves on to it."""
    head = heads[account_id]
    seq, sealed_at = head.seq + 1, max(floor, head.sealed_at)
    hash = chain.link(
        head.hash, account_id=account_id, seq=seq, transaction_id=id, kind=kind, amount=amount, reason=reason, at=at,
    )  # fmt: skip
    heads[account_id] = Head(seq, hash, sealed_at)
    return account_id, seq, id, hash, sealed_at


# A subquery per row is always an index look-up; for a join Postgres would rather read all seals while there are a few 100,000.
_SEQ: Final = "(SELECT s.seq FROM seal s WHERE s.transaction_id = e.transaction_id)"
_WINDOW: Final = text(
    f"""WITH e AS MATERIALIZED (SELECT at, transaction_id FROM entry
        WHERE leg = 0 AND at >= :at AND (at > :at OR transaction_id > :id) ORDER BY at, transaction_id LIMIT :rows)
    SELECT at, transaction_id, 0 FROM e WHERE {_SEQ} IS NULL UNION ALL
    SELECT * FROM (SELECT at, transaction_id, (SELECT COUNT(*) FROM e) FROM e ORDER BY at DESC, transaction_id DESC LIMIT 1) l"""  # noqa: S608 - our own text
)
"""What is not sealed, and the last entry of all with how many were looked at: rows that are sealed never reach Python."""
_NEWEST: Final = text(
    f"""SELECT e.at, {_SEQ} AS seq FROM (SELECT at, transaction_id FROM entry
        WHERE leg = 0 AND at <= :before ORDER BY at DESC LIMIT :rows) e
    ORDER BY e.at DESC"""  # noqa: S608 - our own text
)
_OF_ACCOUNT: Final = text(
    f"""SELECT e.transaction_id, {_SEQ} AS seq FROM (SELECT at, transaction_id FROM entry WHERE account_id = :account_id AND leg = 0
        ORDER BY at DESC, transaction_id DESC LIMIT :rows) e
    ORDER BY e.at DESC, e.transaction_id DESC"""  # noqa: S608 - our own text
)
_LINKS: Final = text(
    """SELECT s.seq, e.transaction_id, e.kind, e.amount, e.reason, e.at, s.hash FROM seal s
    JOIN entry e ON e.transaction_id = s.transaction_id AND e.leg = 0
    WHERE s.account_id = :account_id AND s.seq > :after AND s.seq <= :upto ORDER BY s.seq LIMIT :rows"""
)
_UNSEALED_OF: Final = """SELECT e.transaction_id, e.account_id, e.kind, e.amount, e.reason, e.at FROM {ids} i
    JOIN entry e ON e.transaction_id = i.value AND e.leg = 0 WHERE {seq} IS NULL ORDER BY e.at, e.transaction_id"""
_UNSEALED: Final = {
    "sqlite": text(_UNSEALED_OF.format(ids="json_each(:ids)", seq=_SEQ)),
    "postgresql": text(_UNSEALED_OF.format(ids="json_array_elements_text(CAST(:ids AS json))", seq=_SEQ)),
}
_ADD_OF: Final = "INSERT INTO seal (account_id, seq, transaction_id, hash, sealed_at) SELECT {columns} FROM {rows}"
_ADD: Final = {
    "sqlite": text(_ADD_OF.format(columns=", ".join(f"value ->> {n}" for n in range(5)), rows="json_each(:rows)")),
    "postgresql": text(
        _ADD_OF.format(
            columns="value ->> 0, CAST(value ->> 1 AS bigint), value ->> 2, value ->> 3, CAST(value ->> 4 AS bigint)",
            rows="json_array_elements(CAST(:rows AS json))",
        )
    ),
}
_HEADS: Final = {
    "sqlite": text(
        """SELECT s.account_id, s.seq, s.hash, s.sealed_at FROM json_each(:ids) i JOIN seal s ON s.account_id = i.value
        AND s.seq = (SELECT MAX(x.seq) FROM seal x WHERE x.account_id = i.value)"""
    ),
    "postgresql": text(
        """SELECT s.account_id, s.seq, s.hash, s.sealed_at FROM json_array_elements_text(CAST(:ids AS json)) i(value),
        LATERAL (SELECT * FROM seal WHERE account_id = i.value ORDER BY seq DESC LIMIT 1) s"""
    ),
}

"""The daily signed checkpoint: one root over the heads of all chains at one moment, and the place of an account in it.

A head is the newest entry of a chain whose `sealed_at` is not after the checkpoint's `created_at`. That moment is fixed first, under the
sealers' lock and by a row without a signature; from then on it belongs to the past (see `metering.seal`), so the heads can be read page
by page beside running sealers, and a row that a dead process left unsigned is finished by the next one with the same result.

    leaf       message("tollway-head-1", account_id, seq, hash), ordered by the bytes of account_id; tree as in `metering.merkle`
    signature  over message("tollway-checkpoint-1", day, created_at, accounts, root); message as in `metering.chain`

The head of one more chain, of whoever makes the notary (the audit log's), can be signed beside it, over message("tollway-beside-1", day,
seq, hash). It is no part of the proofs that accounts get.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from sqlalchemy import func, text, update
from sqlmodel import Session, col, select

from metering import merkle, seal
from metering.chain import Hash, message
from metering.database import Database
from metering.merkle import Tree
from metering.signing import PublicKey, Signature, Signer, is_signed
from metering.tables import SignedCheckpoint

PAGE: Final = 500
_UNSIGNED: Final = ""

Heads = list[tuple[str, bytes]]
"""(account_id, hash of its leaf) of every account that has a head."""


class Placed(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed checkpoint and where the head of one account (`seq`, `hash`) stands among its leaves."""

    day: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    created_at: int
    accounts: int
    root: Hash
    public_key: PublicKey
    signature: Signature
    seq: int
    hash: Hash
    index: int
    path: list[Hash]


class Notary:
    """Makes checkpoints and places accounts in the newest one, whose tree it keeps: about 200 bytes per account."""

    def __init__(self, database: Database, signer: Signer, *, beside: Callable[[Session], seal.Head | None] = lambda _: None) -> None:
        """`beside` gives the head of the chain that is signed beside the accounts'."""
        self._database = database
        self.signer = signer
        self._beside = beside
        self._reading = asyncio.Lock()
        self._kept: tuple[str, list[str], Tree] | None = None

    async def checkpoint(self, *, now: int) -> tuple[SignedCheckpoint, bool]:
        """The checkpoint of the UTC day of `now`, and whether it was made just now; whatever is unsigned is signed first."""
        day = day_of(now)
        made = await self._database.write(_fix, day=day, now=now)
        for row in await self._database.read(_unsigned):
            ids, tree = await self._tree(row.created_at)
            signed = _signed(row, accounts=len(ids), root=tree.root.hex(), signer=self.signer)
            head = await self._database.read(self._beside)
            await self._database.write(_sign, row.day, {**signed, **_signed_beside(row.day, head, self.signer)})
        found = await self._database.read(lambda session: session.get_one(SignedCheckpoint, day))
        return found, made

    async def has(self, *, now: int) -> bool:
        """Whether the checkpoint of the UTC day of `now` is made, and all are signed."""
        unsigned = await self._database.read(_unsigned)
        return not unsigned and await self._database.read(lambda session: session.get(SignedCheckpoint, day_of(now))) is not None

    async def place(self, account_id: str) -> Placed | None:
        """An account's place in the newest checkpoint; None if there is no checkpoint, or the account had no sealed entry by then."""
        row = await self._database.read(latest)
        head = await self._database.read(_head, account_id, row.created_at) if row else None
        if row is None or head is None:
            return None
        ids, tree = await self._kept_tree(row)
        index = bisect_left(ids, account_id.encode(), key=str.encode)
        path = [neighbour.hex() for neighbour in tree.path(index)] if index < len(ids) else []
        return Placed(
            day=row.day, created_at=row.created_at, accounts=row.accounts, root=row.root, public_key=row.public_key,
            signature=row.signature, seq=head.seq, hash=head.hash, index=index, path=path,
        )  # fmt: skip

    async def _kept_tree(self, row: SignedCheckpoint) -> tuple[list[str], Tree]:
        async with self._reading:  # one reads, the others wait for what it keeps
            if self._kept is None or self._kept[0] != row.day:
                self._kept = (row.day, *await self._tree(row.created_at))
            return self._kept[1:]

    async def _tree(self, at: int) -> tuple[list[str], Tree]:
        heads: Heads = []
        after: str | None = ""
        while after is not None:
            page, after = await self._database.read(heads_page, at=at, after=after)
            heads += page
        return await asyncio.to_thread(plant, heads)


def day_of(now: int) -> str:
    """The UTC day of a moment, YYYY-MM-DD."""
    return datetime.fromtimestamp(now // 1000, UTC).date().isoformat()


def heads_page(session: Session, *, at: int, after: str) -> tuple[Heads, str | None]:
    """The heads at a moment of the next `PAGE` accounts, and where to go on; None after the last."""
    rows = session.connection().execute(_HEADS_AT, {"at": at, "after": after, "rows": PAGE}).all()
    heads = [(row.id, leaf(row.id, row.seq, row.hash)) for row in rows if row.seq is not None]
    return heads, rows[-1].id if len(rows) == PAGE else None


def plant(heads: Heads) -> tuple[list[str], Tree]:
    """The accounts in the order of their leaves, which no database's collation may change, and the tree over them."""
    ordered = sorted(heads, key=lambda head: head[0].encode())
    return [id for id, _ in ordered], Tree([hashed for _, hashed in ordered])


def leaf(account_id: str, seq: int, hashed: str) -> bytes:
    return merkle.leaf(message("tollway-head-1", account_id, str(seq), hashed))


def latest(session: Session) -> SignedCheckpoint | None:
    """The newest checkpoint that is signed."""
    signed = select(SignedCheckpoint).where(SignedCheckpoint.signature != _UNSIGNED)
    return session.exec(signed.order_by(col(SignedCheckpoint.created_at).desc()).limit(1)).first()


def is_genuine(row: SignedCheckpoint | Placed) -> bool:
    """The signature is right, by the public key that stands beside it."""
    signed = _to_sign(day=row.day, created_at=row.created_at, accounts=row.accounts, root=row.root)
    return is_signed(signed, signature=row.signature, public_key=row.public_key)


def is_genuine_beside(row: SignedCheckpoint) -> bool:
    """The same of the head that was signed beside it; False if there is none."""
    if row.beside_seq is None or row.beside_hash is None or row.beside_signature is None:
        return False
    signed = _to_sign_beside(row.day, seal.Head(row.beside_seq, row.beside_hash))
    return is_signed(signed, signature=row.beside_signature, public_key=row.public_key)


def _to_sign(*, day: str, created_at: int, accounts: int, root: str) -> bytes:
    return message("tollway-checkpoint-1", day, str(created_at), str(accounts), root)


def _fix(session: Session, *, day: str, now: int) -> bool:
    """Fixes the moment of a day's checkpoint; False if it is fixed already."""
    seal.lock(session)
    if session.get(SignedCheckpoint, day) is not None:
        return False
    before = session.exec(select(func.max(SignedCheckpoint.created_at))).one()
    moment = max(now, (before or 0) + 1)
    session.add(SignedCheckpoint(day=day, accounts=0, root="", public_key="", signature=_UNSIGNED, created_at=moment))
    session.flush()
    return True


def _unsigned(session: Session) -> Sequence[SignedCheckpoint]:
    return session.exec(select(SignedCheckpoint).where(SignedCheckpoint.signature == _UNSIGNED)).all()


def _signed(row: SignedCheckpoint, *, accounts: int, root: str, signer: Signer) -> dict[str, Any]:
    signature = signer.sign(_to_sign(day=row.day, created_at=row.created_at, accounts=accounts, root=root))
    return {"accounts": accounts, "root": root, "public_key": signer.public_key, "signature": signature}


def _signed_beside(day: str, head: seal.Head | None, signer: Signer) -> dict[str, Any]:
    if head is None:
        return {}
    return {"beside_seq": head.seq, "beside_hash": head.hash, "beside_signature": signer.sign(_to_sign_beside(day, head))}


def _to_sign_beside(day: str, head: seal.Head) -> bytes:
    return message("tollway-beside-1", day, str(head.seq), head.hash)


def _sign(session: Session, day: str, signed: dict[str, Any]) -> None:
    """What is signed stays as it is."""
    unsigned = (col(SignedCheckpoint.day) == day, col(SignedCheckpoint.signature) == _UNSIGNED)
    session.connection().execute(update(SignedCheckpoint).where(*unsigned).values(**signed))


def _head(session: Session, account_id: str, at: int) -> seal.Head | None:
    row = session.connection().execute(_HEAD_AT, {"at": at, "account_id": account_id}).first()
    return seal.Head(row.seq, row.hash) if row else None


_NEWEST_BY: Final = "s.sealed_at <= :at ORDER BY s.sealed_at DESC, s.seq DESC LIMIT 1"
_HEAD_AT: Final = text(f"SELECT s.seq, s.hash FROM seal s WHERE s.account_id = :account_id AND {_NEWEST_BY}")  # noqa: S608 - our own text
_HEADS_AT: Final = text(
    f"""SELECT a.id, h.seq, h.hash FROM (SELECT id FROM account WHERE id > :after AND kind = 'prepaid' ORDER BY id LIMIT :rows) a
    LEFT JOIN seal h ON h.account_id = a.id AND h.seq = (SELECT s.seq FROM seal s WHERE s.account_id = a.id AND {_NEWEST_BY})
    ORDER BY a.id"""  # noqa: S608 - our own text
)

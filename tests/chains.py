"""Chains for tests: entries past every balance, all of them sealed, a chain recomputed, a proof made and checked."""

import io

from sqlmodel import Session

from gateway.api.ledger import proof as written
from metering import chain, proof, seal
from metering.database import Database
from metering.money import now_ms
from metering.notary import Notary
from metering.seal import BEGIN, Link
from metering.signing import Signer
from metering.tables import Entry
from metering.verify import Check, verify
from tests.books import START

SIGNER = Signer(b"k" * 32)
DAY_MS = 24 * 60 * 60_000
CASH = "house:cash"


async def add(database: Database, *ids: str, account_id: str = "acc", at: int = START, amount: int = 5) -> None:
    """Entries whose other leg is the house's, past the account's balance: here only the chain is of interest."""

    def work(session: Session) -> None:
        for id in ids:
            legs = ((account_id, amount), (CASH, -amount))
            for leg, (owner, signed) in enumerate(legs):
                session.add(Entry(transaction_id=id, leg=leg, account_id=owner, amount=signed, kind="adjustment", reason=None, at=at))

    await database.write(work)


async def seal_all(database: Database, *, now: int = START, limit: int = 1000) -> int:
    sealed, after, full = 0, BEGIN, True
    while full:
        found = await database.read(seal.window, after=after, limit=limit)
        sealed += await database.write(seal.seal, found.unsealed, now=now)
        after, full = found.next, found.full
    return sealed


async def chain_of(database: Database, account_id: str = "acc") -> list[Link]:
    return await database.read(seal.links, account_id, after=0, upto=2**62, limit=100_000)


def assert_chained(links: list[Link], account_id: str = "acc") -> None:
    before = chain.genesis(account_id)
    for seq, link in enumerate(links, start=1):
        assert link.seq == seq
        before = chain.link(
            before, account_id=account_id, seq=seq, transaction_id=link.transaction_id, kind=link.kind, amount=link.amount,
            reason=link.reason, at=link.at,
        )  # fmt: skip
        assert link.hash == before


async def i16(database: Database, *, now: int | None = None) -> Check:
    return (await database.read(verify, now=now or now_ms()))[-1]


async def proven(database: Database, keeper: Notary, account_id: str = "acc", after_seq: int = 0) -> proof.Checked:
    after = await database.read(seal.head_at, account_id, after_seq)
    assert after is not None
    data = b"".join([part async for part in written(database, keeper, account_id, after=after, unsealed=0)])
    return proof.check(io.BytesIO(data), public_keys=[SIGNER.public_key])

"""GET ledger/proof: an account's entries with their hash chain and the signed checkpoint above them, to be checked by anybody."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from litestar import Request, get
from litestar.datastructures import State
from litestar.params import FromQuery
from litestar.types import ASGIApp

from gateway.api.account import caller_of
from gateway.download import Download
from gateway.errors import BadRequest
from gateway.services import Services
from metering import seal, sealer
from metering.database import Database
from metering.money import now_ms
from metering.notary import Notary
from metering.proof import Writer
from metering.seal import Head
from policy.errors import Forbidden

PAGE: Final = 500
LOOK_BACK: Final = 1000
"""The newest entries of an account that are sealed for a proof, if nobody has; when there are more, the sealing is far behind."""

Plain = Request[Any, Any, Any]


@get(
    ["/v1/ledger/proof", "/api/v1/ledger/proof"],
    summary="The account's ledger as a hash chain under a signed checkpoint, JSON Lines",
    media_type="application/x-ndjson",
)
async def get_proof(request: Plain, state: State, after_seq: FromQuery[int] = 0) -> ASGIApp:
    at: Services = state.services
    caller = await caller_of(request, at)
    if caller.kind == "inference":
        raise Forbidden("An inference key may not read the account's ledger: use the owner's key or a management key.")
    unsealed = await seal_newest(at.database, caller.account_id, rows_max=sealer.rows_max(at.settings.database_url))
    after = await at.database.read(seal.head_at, caller.account_id, after_seq) if 0 <= after_seq < 2**63 else None
    if after is None:
        raise BadRequest("after_seq: this account has no sealed entry of that number.", param="after_seq")
    lines = proof(at.database, at.notary, caller.account_id, after=after, unsealed=unsealed)
    file_name = f"tollway-proof-{caller.account_id}.jsonl"
    return Download(lines, media_type="application/x-ndjson", file_name=file_name, stall_seconds=at.settings.idle_seconds)


async def seal_newest(database: Database, account_id: str, *, rows_max: int) -> int:
    """So that a proof is up to date; returns how many entries are left (at most `LOOK_BACK` are counted), for the worker to seal."""
    unsealed = await database.read(seal.unsealed_of, account_id, limit=LOOK_BACK)
    if len(unsealed) == LOOK_BACK:
        return LOOK_BACK
    for first in range(0, len(unsealed), rows_max):
        await database.write(seal.seal, unsealed[first : first + rows_max], now=now_ms())
    return 0


async def proof(database: Database, notary: Notary, account_id: str, *, after: Head, unsealed: int) -> AsyncGenerator[bytes, None]:
    """The file, a page at a time; what is sealed meanwhile is for the next proof."""
    head = (await database.read(seal.heads_of, {account_id}))[account_id]
    placed = await notary.place(account_id)
    covered = placed if placed and after.seq <= placed.seq <= head.seq else None
    writer = Writer(notary.signer, account_id=account_id, after=after)
    yield writer.header(made_at=now_ms(), unsealed=unsealed, checkpoint=covered)
    seq = after.seq
    while seq < head.seq:
        links = await database.read(seal.links, account_id, after=seq, upto=head.seq, limit=PAGE)
        if not links:
            raise RuntimeError("the chain has a gap")  # the file ends without its end, and no checker takes it
        yield writer.entries(links)
        seq = links[-1].seq
    yield writer.end()

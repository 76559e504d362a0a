"""`tollway ledger check-proof` and `tollway ledger checkpoint`."""

import re
from typing import IO, Any

import click
import msgspec

from gateway import workers
from gateway.commands.running import Json, migrated, run, show
from gateway.settings import Settings
from gateway.timespan import iso
from metering import proof, sealer
from metering.money import now_ms
from metering.notary import Notary
from metering.proof import Checked
from metering.signing import Signer
from policy import audit, keys


@click.command("check-proof")
@click.argument("file", type=click.File("rb"))
@click.option("--public-key", "public_keys", multiple=True, help="Accept only this signer, 64 hexadecimal digits; may be repeated.")
@Json
def ledger_check_proof(file: IO[bytes], public_keys: tuple[str, ...], as_json: bool) -> None:
    """Recompute a proof of GET /api/v1/ledger/proof with nothing but FILE (- is standard input); exit status 1 if anything is wrong."""
    if not all(re.fullmatch("[0-9a-fA-F]{64}", key) for key in public_keys):
        raise ValueError("--public-key must be 64 hexadecimal digits")
    found = proof.check(file, public_keys=public_keys)
    show(result(found, known=bool(public_keys)), as_json)


def result(found: Checked, *, known: bool) -> dict[str, Any]:
    """What was checked, with figures. `signer` says whether anybody but the file vouches for the public keys."""
    return {
        "result": "good",
        **msgspec.structs.asdict(found),
        "made_at": iso(found.made_at),
        "signer": "as given with --public-key" if known else "as named in the file: compare it with the operator's public key",
    }


@click.command("checkpoint")
@Json
def ledger_checkpoint(as_json: bool) -> None:
    """Seal all entries and make today's signed checkpoint, if nobody has; print it."""
    show(run(make_checkpoint), as_json)


async def make_checkpoint(settings: Settings) -> dict[str, Any]:
    async with migrated(settings) as database:
        notary = Notary(database, Signer(keys.derive(settings.secret_key, "ledger-checkpoints")), beside=audit.head)
        await workers.checkpoint(database, notary, rows_max=sealer.rows_max(settings.database_url), clock=now_ms)
        made, _ = await notary.checkpoint(now=now_ms())
    fields = ("day", "accounts", "root", "public_key", "signature")
    return {**{name: getattr(made, name) for name in fields}, "created_at": iso(made.created_at)}

"""`tollway secrets`: what is sealed under the secrets of this installation, and all of it under a new one."""

import sys
from functools import partial
from secrets import token_bytes
from typing import Any

import click
from sqlmodel import Session

from gateway.commands.running import Json, migrated, moment, run, show
from gateway.settings import Settings
from metering.database import Database
from metering.money import now_ms
from metering.signing import Signer
from policy import audit, key_use, keys, resealing
from policy.audit import OPERATOR, Deed
from policy.keyring import keyring
from policy.resealing import Counted
from policy.tables import Key


@click.group("secrets")
def secrets_group() -> None:
    """The secrets that others are derived from."""


@secrets_group.command("rotate")
@click.option("--check", is_flag=True, help="Only count.")
@click.option(
    "--revoke-unused-before",
    "unused_before",
    help="Revoke API keys still waiting for their next use that nobody has used since this moment (ISO 8601).",
)
@Json
def secrets_rotate(check: bool, unused_before: str | None, as_json: bool) -> None:
    """Seal everything under the current secret, beside running servers.

    First give every process the new TOLLWAY_SECRET_KEY, and the old one as TOLLWAY_SECRET_KEY_PREVIOUS; of several processes, first all
    the other way round, so that none meets what it cannot open. Then run this until nothing waits but API keys: each of those is taken
    over when it is next used. The old secret can go when none waits any more. Keys of stored content follow the first of
    TOLLWAY_CONTENT_KEYS. The operator's own keys at providers stand in the environment: change them there and restart.

    Exit status 1 if something cannot be opened; it is named.
    """
    if check and unused_before is not None:
        raise ValueError("--check only counts: leave out --revoke-unused-before")
    before = None if unused_before is None else moment(unused_before, "--revoke-unused-before")
    shown, broken = run(rotate, write=not check, unused_before=before)
    show(shown, as_json)
    for row in broken:
        click.echo(f"tollway: cannot be opened: {row}", err=True)
    sys.exit(1 if broken else 0)


async def rotate(settings: Settings, *, write: bool, unused_before: int | None) -> tuple[dict[str, Any], list[str]]:
    """What is shown, and the rows that do not open. An end in the middle leaves nothing half done: run it again."""
    ring, now = keyring(settings.content_keys, settings.secrets, token_bytes), now_ms()
    public_key, *older = (Signer(keys.derive(secret, "ledger-checkpoints")).public_key for secret in settings.secrets)
    async with migrated(settings) as database:
        counts = {
            kind.name: await resealing.walk(database, kind, write=write) for kind in resealing.kinds(settings.secrets, ring, token_bytes)
        }
        pepper = keys.pepper_name(keys.derive(settings.secret_key, "key-pepper"))
        revoked = 0 if unused_before is None else await _revoke(database, pepper, unused_before, now)
        current, waiting = await database.read(keys.counted, pepper=pepper, now=now)
        rotated = {name: count.rotated for name, count in counts.items() if count.rotated}
        if rotated:
            deed = Deed(actor=OPERATOR, action="keys.rotate", account_id="", change={**rotated, "content_key": ring.current})
            await database.write(audit.record, deed, now=now)
    shown = {
        "api_keys": {"current": current, "revoked": revoked, "waiting": waiting},
        **{name: _shown(count) for name, count in counts.items()},
        "content_key": ring.current,
        "public_key": public_key,
        "public_keys_before": older,
    }
    return shown, [row for count in counts.values() for row in count.named]


def _shown(count: Counted) -> dict[str, int]:
    return {"current": count.current, "rotated": count.rotated, "waiting": count.waiting, "broken": count.broken}


async def _revoke(database: Database, pepper: str, before: int, now: int) -> int:
    """How many of the waiting keys were revoked, each with its deed: those made before the moment and not used since."""
    revoked, after = 0, ""
    while rows := await database.read(keys.waiting, pepper=pepper, now=now, after=after, limit=resealing.PAGE):
        used = {seen.key.id: seen.use.last_used_at or 0 for seen in await database.read(key_use.seen, rows, now=now)}
        for row in rows:
            if row.created_at < before and used[row.id] < before:
                revoked += await database.write(_revoked, row, now=now)
        after = rows[-1].id
    return revoked


def _revoked(session: Session, key: Key, *, now: int) -> bool:
    deed = Deed(actor=OPERATOR, action="key.delete", account_id=key.account_id, subject=key.id)
    return audit.noted(session, deed, now, partial(keys.revoke, key_id=key.id, now=now))

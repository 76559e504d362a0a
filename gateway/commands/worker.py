"""`tollway worker`: a process that does nothing but the chores of `gateway/workers.py`, until SIGTERM.

It has no boot: it holds no money, and it ends the holds of dead boots only on Postgres, where a lock tells the living from the dead. On
SQLite nobody but the one serving process can know, so there it leaves them to its next start.
"""

import asyncio
import signal
from typing import Final

import click

from gateway import logs
from gateway.commands.running import migrated
from gateway.lifeline import Lifeline
from gateway.settings import Settings
from gateway.watch import Watch
from gateway.workers import Chore, Chores, everyday
from metering import sealer
from metering.database import Database
from metering.ledger import Ledger
from metering.notary import Notary
from metering.signing import Signer
from policy import audit, keys

RECOVER_EVERY_SECONDS: Final = 5.0


def work(settings: Settings) -> int:
    """Returns the exit status; the first SIGTERM or SIGINT ends it."""
    logs.install(settings.log_format)
    asyncio.run(_work(settings))
    return 0


async def _work(settings: Settings) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    async with migrated(settings) as database:
        notary = Notary(database, Signer(keys.derive(settings.secret_key, "ledger-checkpoints")), beside=audit.head)
        chores = everyday(database, notary, rows_max=sealer.rows_max(settings.database_url))
        running = Chores(database, (*chores, *_recovery(settings, database)))
        running.start()
        click.echo("Tollway does the chores: sealing, checkpoints, expiry, pruning")
        await ended.wait()
        await running.stop()


def _recovery(settings: Settings, database: Database) -> tuple[Chore, ...]:
    if settings.database_url.startswith("sqlite"):
        return ()
    lifeline = Lifeline(database, Ledger(database), Watch(settings))

    async def recover() -> None:
        await lifeline.recover()  # which logs what it did

    return (Chore(name="recovery", every_seconds=RECOVER_EVERY_SECONDS, do=recover),)

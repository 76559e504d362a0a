"""Holds whose process died: fence its boot first, then end them with what was delivered at their last checkpoint, or with nothing.

A boot proves that it lives by a lock that dies with its process and by a heartbeat. On SQLite the lock is a file lock that admits one
serving process, so every other boot is dead. On Postgres it is an advisory lock: a boot is dead when it is free and the heartbeat is
older than `database.SILENT_MS`, or when the heartbeat alone is older than `LEASE_MS` (a process that is stopped keeps its lock). A
fenced boot can hold nothing new, and what it held ends only once, so a process that wakes up after having been fenced changes nothing.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session, col, select, update

from metering.batch import OPEN, RECOVERED, CloseJob
from metering.tables import Boot, Hold

BEAT_SECONDS: Final = 1.0
BATCH_MAX: Final = 500


def beat(session: Session, *, boot_id: str, now: int) -> bool:
    """False if this boot was fenced: its process must start a new one before it can hold anything."""
    alive = update(Boot).where(col(Boot.id) == boot_id, col(Boot.fenced) == 0).values(heartbeat_at=now)
    return session.connection().execute(alive).rowcount == 1


def fence(session: Session, *, own: str, now: int, is_dead: Callable[[Session, str, int], bool]) -> list[str]:
    """Fences the boots that are dead; returns every fenced boot that still has open holds."""
    others = session.exec(select(Boot).where(Boot.id != own, Boot.fenced == 0)).all()
    for boot in others:
        if is_dead(session, boot.id, now - boot.heartbeat_at):
            boot.fenced = 1
            session.add(boot)
    session.flush()
    open_holds = select(Hold.boot_id).join(Boot, col(Boot.id) == col(Hold.boot_id)).where(Hold.state == OPEN, Boot.fenced == 1)
    return sorted(set(session.exec(open_holds.distinct()).all()))


def orphans(session: Session, boot_ids: list[str]) -> list[CloseJob]:
    """How to end the next holds of fenced boots: at most `BATCH_MAX`, each charged what its checkpoint says, never more than held."""
    rows = session.exec(select(Hold).where(Hold.state == OPEN, col(Hold.boot_id).in_(boot_ids)).limit(BATCH_MAX)).all()
    return [_end(hold) for hold in rows]


def strays(session: Session, *, boot_id: str, before: int, live: set[str]) -> list[CloseJob]:
    """How to end holds of this very boot, made `before` (Unix ms), whose generations are not live any more: their end was lost."""
    own = select(Hold).where(Hold.state == OPEN, Hold.boot_id == boot_id, Hold.created_at < before).limit(BATCH_MAX)
    return [_end(hold) for hold in session.exec(own).all() if hold.id not in live]


def checkpoint(session: Session, progress: dict[str, dict[str, Any]]) -> None:
    """Writes the rows of live generations to their holds, all in one statement; ended holds are left alone."""
    rows = msgspec.json.encode([[id, msgspec.json.encode(row).decode()] for id, row in progress.items()]).decode()
    session.connection().execute(_CHECKPOINT[session.get_bind().dialect.name], {"rows": rows})


def _end(hold: Hold) -> CloseJob:
    if hold.progress is None:
        return CloseJob(id=hold.id, charge=0, state=RECOVERED)
    row = msgspec.json.decode(hold.progress)
    charge = min(row["charge"], hold.amount)
    shortfall = row["charge"] + row["shortfall"] - charge
    later = {"own_key_id": None}  # a column that a checkpoint written before an upgrade does not have
    generation = {**later, **row, "held": hold.amount, "charge": charge, "shortfall": shortfall}
    return CloseJob(id=hold.id, charge=charge, state=RECOVERED, generation=generation)


_CHECKPOINT: Final = {
    "sqlite": text(
        """UPDATE hold SET progress = r.progress FROM (SELECT value ->> 0 AS id, value ->> 1 AS progress FROM json_each(:rows)) r
        WHERE hold.id = r.id AND hold.state = 0"""
    ),
    "postgresql": text(
        """UPDATE hold SET progress = r.value ->> 1 FROM json_array_elements(CAST(:rows AS json)) r
        WHERE hold.id = r.value ->> 0 AND hold.state = 0"""
    ),
}

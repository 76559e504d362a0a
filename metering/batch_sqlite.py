"""One ledger batch on SQLite: jobs in their order of arrival, inside one BEGIN IMMEDIATE on the only writer connection."""

import sqlite3
from operator import itemgetter
from typing import Final

from metering.batch import FENCED, OPEN, REVENUE, Closed, CloseJob, Column, ExtendJob, Held, HoldJob, Job, Outcome, Refused
from metering.periods import present
from metering.tables import Generation

_HOLD: Final = """INSERT INTO hold (id, account_id, limits, amount, state, charge, boot_id, created_at)
    SELECT ?1, ?2, ?3, ?4, 0, 0, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM boot WHERE id = ?5 AND fenced = 1)
    ON CONFLICT (id) DO NOTHING"""
_FENCED: Final = "SELECT 1 FROM boot WHERE id = ? AND fenced = 1"
_EXTEND: Final = "UPDATE hold SET amount = amount + ? WHERE id = ? AND state = 0"
_CLOSE: Final = """UPDATE hold SET state = ?, charge = MIN(?, amount), closed_at = ? WHERE id = ? AND state = 0
    RETURNING account_id, limits, amount, charge"""
_ENTRY: Final = "INSERT INTO entry (transaction_id, leg, account_id, amount, kind, at) VALUES (?, ?, ?, ?, 'charge', ?)"
_READ: Final = "SELECT account_id, limits, amount, charge, state FROM hold WHERE id = ?"
_ACCOUNT: Final = "SELECT posted - held + overdraft, held FROM account WHERE id = ?"
_RESERVE: Final = "UPDATE account SET held = held + ? WHERE id = ?"
_MOVE: Final = """UPDATE account SET held = held + :held,
    posted = CASE WHEN period_start > :now THEN posted WHEN period_end <= :now THEN :posted ELSE posted + :posted END,
    period_start = CASE WHEN period_end <= :now THEN :starts ->> reset ELSE period_start END,
    period_end = CASE WHEN period_end <= :now THEN :ends ->> reset ELSE period_end END WHERE id = :id"""
_COLUMNS: Final = tuple(Generation.__table__.columns.keys())  # type: ignore[attr-defined]
_GENERATION: Final = (
    f"INSERT INTO generation ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our own column names
    " ON CONFLICT (id) DO NOTHING"
)
_in_columns: Final = itemgetter(*_COLUMNS)


def run(connection: sqlite3.Connection, jobs: list[Job], now: int) -> list[Outcome]:
    """All jobs or, when one of them raises, none. `now` in Unix milliseconds."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        batch = _Batch(connection, now)
        outcomes = [batch.do(job) for job in jobs]
        batch.write()
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return outcomes


class _Batch:
    """Accounts are read when first touched and written once at the end, with the new rows; in between the room left is kept here."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._entries: list[tuple[str | int, ...]] = []
        self._generations: list[tuple[Column, ...]] = []
        self._now = now
        self._room: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._posted: dict[str, int] = {}
        self._held_before: dict[str, int] = {}
        self._ended: set[str] = set()

    def do(self, job: Job) -> Outcome:
        if isinstance(job, HoldJob):
            return self._hold(job)
        return self._close(job) if isinstance(job, CloseJob) else self._extend(job)

    def _hold(self, job: HoldJob) -> Outcome:
        buckets = (job.account_id, *job.limits)
        refused = self._lacking(buckets, job.amount)
        if refused is not None:
            return self._existing(job) or refused
        row = (job.id, job.account_id, ",".join(job.limits), job.amount, job.boot_id, self._now)
        if self._execute(_HOLD, row).rowcount:
            self._take(buckets, held=job.amount, posted=0)
            return Held(job.amount)
        return self._existing(job) or self._fenced(job) or self._tightest(buckets)

    def _fenced(self, job: HoldJob) -> Refused | None:
        return FENCED if self._execute(_FENCED, (job.boot_id,)).fetchone() else None

    def _existing(self, job: HoldJob) -> Held | None:
        row = self._execute(_READ, (job.id,)).fetchone()
        return Held(row[2]) if row and row[4] == OPEN else None

    def _extend(self, job: ExtendJob) -> Outcome:
        row = self._execute(_READ, (job.id,)).fetchone()
        if row is None or row[4] != OPEN:
            return Refused("", 0)
        buckets, amount = _buckets(row[0], row[1]), row[2]
        missing = job.target - amount
        if missing <= 0:
            return Held(amount)
        refused = self._lacking(buckets, missing)
        if refused is not None:
            if not job.partly:
                return refused
            missing = max(0, refused.available)
        self._execute(_EXTEND, (missing, job.id))
        self._take(buckets, held=missing, posted=0)
        return Held(amount + missing)

    def _close(self, job: CloseJob) -> Outcome:
        row = self._execute(_CLOSE, (job.state, job.charge, self._now, job.id)).fetchone()
        if row is None:
            existing = self._execute(_READ, (job.id,)).fetchone()
            return Closed(existing[3], existing[4], False) if existing else Closed(0, job.state, False)
        account_id, limits, amount, charge = row
        buckets = _buckets(account_id, limits)
        self._take(buckets, held=-amount, posted=-charge)
        self._ended.update(buckets)
        if charge:
            self._entries += ((job.id, 0, account_id, -charge, self._now), (job.id, 1, REVENUE, charge, self._now))
        if job.generation is not None:
            self._generations.append(_in_columns(job.generation))
        return Closed(charge, job.state, True)

    def _lacking(self, buckets: tuple[str, ...], amount: int) -> Refused | None:
        """The bucket with the least room, if it has less than `amount`."""
        for bucket in buckets:
            if bucket not in self._room:
                room, held = self._execute(_ACCOUNT, (bucket,)).fetchone() or (0, 0)
                self._room[bucket] = room - self._held.get(bucket, 0) + self._posted.get(bucket, 0)
                self._held_before[bucket] = held
        tightest = self._tightest(buckets)
        return tightest if tightest.available < amount else None

    def _tightest(self, buckets: tuple[str, ...]) -> Refused:
        room, bucket = min((self._room[bucket], bucket) for bucket in buckets)
        return Refused(bucket, room, self._held_before[bucket] + self._held.get(bucket, 0))

    def _take(self, buckets: tuple[str, ...], *, held: int, posted: int) -> None:
        for bucket in buckets:
            self._held[bucket] = self._held.get(bucket, 0) + held
            self._posted[bucket] = self._posted.get(bucket, 0) + posted
            if bucket in self._room:
                self._room[bucket] += posted - held

    def write(self) -> None:
        """The end of a hold starts a limit's present period if nothing has yet; what ended before that period does not count in it."""
        self._execute_many(_ENTRY, self._entries)
        self._execute_many(_GENERATION, self._generations)
        starts, ends = present(self._now)
        for bucket, held in self._held.items():
            if bucket not in self._ended:
                self._execute(_RESERVE, (held, bucket))
                continue
            values = {"id": bucket, "held": held, "posted": self._posted[bucket], "now": self._now, "starts": starts, "ends": ends}
            self._execute(_MOVE, values)


def _buckets(account_id: str, limits: str) -> tuple[str, ...]:
    return (account_id, *limits.split(",")) if limits else (account_id,)

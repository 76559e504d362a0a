"""Runs a function in a transaction, on SQLite or on Postgres. The functions are the same; only this file knows the difference.

    await database.write(fn, ...)     fn(session, ...) in one transaction; returning commits, raising rolls back
    await database.read(fn, ...)      the same, read only
    await database.commit(jobs)       the ledger's hot path: a batch of jobs in raw statements

A function is plain and synchronous, so nothing can be awaited inside a transaction. SQLite: one writer connection in one thread
(WAL, synchronous=FULL) and one reader beside it. Postgres: SQLAlchemy over asyncpg, and a small asyncpg pool for the batches.
"""

import asyncio
import fcntl
import sqlite3
from collections.abc import Callable
from typing import IO, Any, Concatenate, ParamSpec, Protocol, TypeVar

import asyncpg
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from metering import batch_postgres, batch_sqlite
from metering.batch import Job, Outcome
from metering.errors import DatabaseUnavailable
from metering.money import now_ms
from metering.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")

Work = Callable[Concatenate[Session, P], T]

STATEMENT_SECONDS_MAX = 30
SILENT_MS = 3_000
LEASE_MS = 30_000
LOST = (
    OSError,
    TimeoutError,
    PoolTimeout,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke off in the middle of an answer
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # starting, stopping, a cancelled statement
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is not the primary yet
)

REFUSALS = (sqlite3.Error, asyncpg.PostgresError, asyncpg.DataError, ValueError, OverflowError)
"""What a database or its driver says to a row that it cannot take."""


_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=10000",
    "secure_delete=ON",
    "cache_size=-16000",  # KiB; with SQLite's own 2,000 a full batch does not fit, and its pages are read again
    "wal_autocheckpoint=4000",  # pages; of SQLite's own 1,000 the same few are written back four times as often
)


class Database(Protocol):
    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def commit(self, jobs: list[Job]) -> list[Outcome]: ...
    async def live(self, boot_id: str) -> None:
        """Takes the lock that proves this boot alive, or makes sure that it is still held. DatabaseUnavailable if it cannot be."""
        ...

    def is_dead(self, session: Session, boot_id: str, silent_ms: int) -> bool:
        """Whether another boot, whose last heartbeat is `silent_ms` old, can do nothing any more."""
        ...

    async def lead(self) -> bool:
        """Whether this process does the chores that one process does for all; who does, goes on until it ends or loses its connection."""
        ...

    def clock(self, session: Session) -> int:
        """Unix milliseconds by the clock that all processes share: who is silent must not depend on whose clock it is."""
        ...

    async def ping(self) -> None: ...
    async def aclose(self) -> None: ...


def open_database(url: str) -> Database:
    """`sqlite:///path` or `postgresql://...`. ValueError names what is accepted."""
    if url.startswith("sqlite:///"):
        return Sqlite(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return Postgres("postgresql://" + url.partition("://")[2])
    raise ValueError("TOLLWAY_DATABASE_URL must start with sqlite:/// or postgresql://")


class Sqlite:
    """Opens nothing until it is used, so that a missing file is the caller's error and not an import's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer, self._write_thread = _sqlite_engine(self._write_connection, begin="BEGIN IMMEDIATE"), Worker("sqlite-writer")
        self._reader, self._read_thread = _sqlite_engine(lambda: connect_sqlite(path), begin="BEGIN"), Worker("sqlite-reader")
        self._connection: sqlite3.Connection | None = None
        self._lock: IO[bytes] | None = None

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(self._write_thread, lambda: _in_session(self._writer, work, *args, **kwargs))

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(self._read_thread, lambda: _in_session(self._reader, work, *args, **kwargs))

    async def commit(self, jobs: list[Job]) -> list[Outcome]:
        return await self._run(self._write_thread, lambda: self._commit(jobs))

    def _commit(self, jobs: list[Job]) -> list[Outcome]:
        return batch_sqlite.run(self._write_connection(), jobs, now_ms())

    def _write_connection(self) -> sqlite3.Connection:
        """One for all that is written: what another connection writes makes SQLite forget every page that it has in memory."""
        if self._connection is None:
            self._connection = connect_sqlite(self._path)
        return self._connection

    async def live(self, boot_id: str) -> None:
        if self._lock is None:
            lock = open(f"{self._path}.lock", "ab")  # noqa: ASYNC230, SIM115 - held as long as the process lives
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                raise DatabaseUnavailable(f"another process serves {self._path}; SQLite takes one, use Postgres for more") from None
            self._lock = lock

    def is_dead(self, session: Session, boot_id: str, silent_ms: int) -> bool:
        return self._lock is not None

    def clock(self, session: Session) -> int:
        return now_ms()

    async def lead(self) -> bool:
        return True  # its writers go one after another anyway, and two may do the same chore

    async def _run(self, thread: Worker, work: Callable[[], T]) -> T:
        try:
            return await thread.run(work)
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailable(f"SQLite: {error}") from error
        except OperationalError as error:
            raise DatabaseUnavailable(f"SQLite: {error.orig}") from error

    async def ping(self) -> None:
        await self.read(_ping)

    async def aclose(self) -> None:
        def close() -> None:
            self._writer.dispose()
            if self._connection is not None:
                self._connection.close()

        if self._lock is not None:
            self._lock.close()
        await self._run(self._write_thread, close)
        await self._run(self._read_thread, self._reader.dispose)
        self._write_thread.stop()
        self._read_thread.stop()


class Postgres:
    def __init__(self, url: str) -> None:
        self._url = url
        options = {"timeout": 5, "command_timeout": STATEMENT_SECONDS_MAX}
        self._engine = create_async_engine(
            "postgresql+asyncpg://" + url.partition("://")[2],
            pool_size=5,
            max_overflow=5,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=options,
        )
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self._lock: asyncpg.Connection[asyncpg.Record] | None = None
        self._locked: str | None = None
        self._leader: asyncpg.Connection[asyncpg.Record] | None = None
        self._leads = False

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                result = await session.run_sync(lambda plain: work(plain, *args, **kwargs))  # type: ignore[arg-type]
                await session.commit()
                return result
        except DBAPIError as error:
            cause = getattr(error.orig, "__cause__", None)
            if error.connection_invalidated or isinstance(cause, LOST):
                raise DatabaseUnavailable(f"Postgres: {type(cause or error).__name__}") from error
            raise
        except LOST as error:
            raise DatabaseUnavailable(f"Postgres: {type(error).__name__}") from error

    read = write

    async def commit(self, jobs: list[Job]) -> list[Outcome]:
        try:
            async with (await self._opened_pool()).acquire() as connection:
                return await batch_postgres.run(connection, jobs, now_ms())
        except LOST as error:
            raise DatabaseUnavailable(f"Postgres: {type(error).__name__}") from error

    async def _opened_pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=2, timeout=5, command_timeout=STATEMENT_SECONDS_MAX)
            return self._pool

    async def live(self, boot_id: str) -> None:
        try:
            if self._lock is None or self._lock.is_closed():
                self._lock, self._locked = await asyncpg.connect(self._url, timeout=5, command_timeout=STATEMENT_SECONDS_MAX), None
            if self._locked != boot_id:
                await self._lock.fetch("SELECT pg_advisory_lock(hashtextextended($1, 0))", boot_id)
                self._locked = boot_id
        except LOST as error:
            raise DatabaseUnavailable(f"Postgres: {type(error).__name__}") from error

    def is_dead(self, session: Session, boot_id: str, silent_ms: int) -> bool:
        if silent_ms <= SILENT_MS:
            return False
        free = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:id, 0))")
        return silent_ms > LEASE_MS or bool(session.connection().execute(free, {"id": boot_id}).scalar_one())

    def clock(self, session: Session) -> int:
        return int(session.connection().execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one())

    async def lead(self) -> bool:
        try:
            if self._leader is None or self._leader.is_closed():
                self._leader, self._leads = await asyncpg.connect(self._url, timeout=5, command_timeout=STATEMENT_SECONDS_MAX), False
            take = "SELECT pg_try_advisory_lock(hashtextextended('tollway:chores', 0))"
            self._leads = bool(await self._leader.fetchval("SELECT true" if self._leads else take))
            return self._leads
        except LOST as error:
            if self._leader is not None:
                self._leader.terminate()
            raise DatabaseUnavailable(f"Postgres: {type(error).__name__}") from error

    async def ping(self) -> None:
        await self.read(_ping)

    async def aclose(self) -> None:
        if self._leader is not None:
            await self._leader.close()
        if self._lock is not None:
            await self._lock.close()
        if self._pool is not None:
            await self._pool.close()
        await self._engine.dispose()


def connect_sqlite(path: str) -> sqlite3.Connection:
    """Autocommit (transactions are begun by hand), and every acknowledged commit is on disk: WAL with synchronous=FULL."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _sqlite_engine(connect: Callable[[], sqlite3.Connection], *, begin: str) -> Engine:
    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _in_session(engine: Engine, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    with Session(engine, expire_on_commit=False) as session:
        result = work(session, *args, **kwargs)
        session.commit()
        return result


def _ping(session: Session) -> None:
    session.connection().execute(text("SELECT 1 FROM account LIMIT 1"))

"""Everything that is kept of an account as one zip: its own rows, its usage, its statement, and its prompts and answers if it keeps them.

Made while it is sent, a page at a time, so that neither memory nor a read grows with the account. Secrets are not in it.
"""

import asyncio
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO, Any, Final

import msgspec

from gateway.timespan import iso
from gateway.usage_export import usage_export
from metering import statement
from metering.database import Database
from metering.money import format_usd
from policy import account_copy, content_store
from policy.content_store import PAGE_MAX, Log
from policy.errors import SealBroken
from policy.keyring import Keyring

README: Final = """# What Tollway keeps of account {account_id}, as of {at}

`tables/<name>.jsonl`   one JSON object per row: keys (never the keys themselves), members, projects, budgets, rules, limits, the
                        privacy choice and its history, credits, what was done to the account (`audit`), its requests under
                        privacy laws, what was disclosed of it to others (`disclosure`), and one row per generation with all
                        that is kept of it. Times are Unix milliseconds, amounts decimal USD.
`usage.csv`             one row per generation with its charge, as of `tollway usage export`
`statement.jsonl`       every entry of the ledger with the balance after it; the charges here are those of `usage.csv`
`content.jsonl`         the prompts and answers that the account chose to keep; without that choice the file is empty

Times without a unit are ISO 8601 in UTC. What each table is kept for and how long: `tollway privacy retention`.
"""


async def account_export(database: Database, account_id: str, *, wrapper: Keyring, now: int) -> AsyncGenerator[bytes, None]:
    """The chunks of the zip. UnknownAccount before the first of them."""
    await database.read(statement.check_account, account_id)
    pipe = _Pipe()
    files = {
        "README.md": _readme(account_id, now),
        **{f"tables/{name}.jsonl": _table(database, name, account_id) for name in account_copy.TABLES},
        "usage.csv": usage_export(database, account_id, start=0, end=now + 1, format="csv", by="generation"),
        "statement.jsonl": _statement(database, account_id, now),
        "content.jsonl": _contents(database, account_id, wrapper, now),
    }
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, chunks in files.items():
            async with aclosing(chunks):
                with archive.open(name, "w", force_zip64=True) as file:
                    async for chunk in chunks:
                        await asyncio.to_thread(_write, file, chunk)
                        yield pipe.taken()
    yield pipe.taken()


class _Pipe:
    """A file that only grows at its end, and from whose front what was written is taken."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        """zipfile asks for it; there is nothing behind this."""

    def taken(self) -> bytes:
        data = bytes(self._waiting)
        self._waiting.clear()
        return data


def _write(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)


async def _readme(account_id: str, now: int) -> AsyncGenerator[bytes, None]:
    yield README.format(account_id=account_id, at=iso(now)).encode()


async def _table(database: Database, name: str, account_id: str) -> AsyncGenerator[bytes, None]:
    after: tuple[Any, ...] | None = None
    while True:
        rows, after = await database.read(account_copy.page, name, account_id, after=after)
        yield _lines(rows)
        if after is None:
            return


async def _statement(database: Database, account_id: str, now: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(statement.lines(database, account_id, start=0, end=now + 1)) as pages:
        async for page in pages:
            yield _lines([_entry(line) for line in page])


def _entry(line: statement.Line) -> dict[str, Any]:
    amount = None if line.amount is None else format_usd(line.amount)
    return {
        "at": iso(line.at),
        "kind": line.kind,
        "id": line.id,
        "amount_usd": amount,
        "balance_usd": format_usd(line.balance),
        "reason": line.reason,
    }


async def _contents(database: Database, account_id: str, wrapper: Keyring, now: int) -> AsyncGenerator[bytes, None]:
    before: tuple[int, str] | None = None
    while logs := await database.read(content_store.page, account_id, before=before, limit=PAGE_MAX, now=now):
        for log in logs:
            yield _lines([await _content(database, account_id, log, wrapper, now)])
        before = (logs[-1].created_at, logs[-1].generation_id)


async def _content(database: Database, account_id: str, log: Log, wrapper: Keyring, now: int) -> dict[str, Any]:
    """One that does not open, or was deleted a moment ago, is named without its words."""
    named = {"id": log.generation_id, "created_at": iso(log.created_at), "expires_at": iso(log.expires_at)}
    try:
        found = await database.read(content_store.find, generation_id=log.generation_id, account_id=account_id, wrapper=wrapper, now=now)
    except SealBroken:
        found = None
    return {**named, "content": None if found is None else found.reveal()}


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)

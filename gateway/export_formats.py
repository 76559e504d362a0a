"""Rows of an export as bytes: CSV, JSON Lines or Parquet, page by page, in memory that does not grow with the export.

Amounts are decimal text in USD with every digit that counts (Parquet: decimal128(38, 9)), moments ISO 8601 in UTC (Parquet:
timestamps), absent values empty, null. In CSV alone, text that an account's people wrote themselves and that a spreadsheet would take
for a formula (it begins with = + - @, tab, carriage return, line feed or a full-width form) gets an apostrophe in front.
"""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from gateway.timespan import iso
from metering.exports import Column, Row
from metering.money import format_usd

MEDIA_TYPES: Final = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
ROW_GROUP_ROWS: Final = 10_000
"""Rows that a Parquet writer keeps in memory, as columns; smaller groups make larger files."""

_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


Convert = Callable[[Any], Any]


class Encoder(Protocol):
    """Fed one page after another, then ended once; what each returns is appended to the file."""

    def page(self, rows: list[Row]) -> bytes: ...
    def end(self) -> bytes: ...


async def encoded(pages: AsyncGenerator[list[Row], None], format: str, columns: Sequence[Column]) -> AsyncGenerator[bytes, None]:
    """The chunks of the file. Encoding runs in a thread, so that requests beside it are not kept waiting."""
    encoder = await asyncio.to_thread(_ENCODERS[format], columns)
    async with aclosing(pages):
        async for rows in pages:
            if chunk := await asyncio.to_thread(encoder.page, rows):
                yield chunk
    yield await asyncio.to_thread(encoder.end)


class _Csv:
    """A header and one line per row, ended by a line feed; fields are quoted where RFC 4180 wants it."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._header: list[list[str]] = [[column.name for column in columns]]
        self._cells = [_CELLS.get(column.kind) for column in columns]

    def page(self, rows: list[Row]) -> bytes:
        lines = _Lines()
        writer = csv.writer(lines, lineterminator=_Lines.END)
        writer.writerows(self._header)
        self._header = []
        writer.writerows(_converted(self._cells, rows))
        return lines.content()

    def end(self) -> bytes:
        return self.page([])


class _Lines:
    """Lines end in a line feed alone, as pipes want it; the writer is told CR LF, or it would leave a field with a CR unquoted."""

    END: Final = "\r\n"

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line.removesuffix(self.END) + "\n")

    def content(self) -> bytes:
        return "".join(self._lines).encode()


class _JsonLines:
    """One JSON object per line."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._values = [_VALUES.get(column.kind) for column in columns]

    def page(self, rows: list[Row]) -> bytes:
        objects = (dict(zip(self._names, row, strict=True)) for row in _converted(self._values, rows))
        return b"".join(msgspec.json.encode(each) + b"\n" for each in objects)

    def end(self) -> bytes:
        return b""


class _Parquet:
    """Row groups of `ROW_GROUP_ROWS`; until one is full its pages wait as columns, not as rows."""

    def __init__(self, columns: Sequence[Column]) -> None:
        import pyarrow  # type: ignore[import-untyped]  # a quarter of a second and 40 MB: only for who asks for Parquet
        from pyarrow import parquet

        types = {
            "moment": pyarrow.timestamp("ms", tz="UTC"), "date": pyarrow.date32(), "count": pyarrow.int64(), "flag": pyarrow.bool_(),
            "usd": pyarrow.decimal128(38, 9),
        }  # fmt: skip
        self._arrow = pyarrow
        self._values = [_ARROW.get(column.kind) for column in columns]
        self._schema = pyarrow.schema([(column.name, types.get(column.kind, pyarrow.string())) for column in columns])
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[Any] = []

    def page(self, rows: list[Row]) -> bytes:
        arrays = [
            self._arrow.array(values, type=field.type) for values, field in zip(_columns(self._values, rows), self._schema, strict=True)
        ]
        self._waiting.append(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= ROW_GROUP_ROWS:
            self._write()
        return self._sink.drain()

    def end(self) -> bytes:
        self._write()
        self._writer.close()
        return self._sink.drain()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting))
            self._waiting = []


class _Sink(io.RawIOBase):
    """A file that remembers how long it is, and only the bytes that nobody has taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._length += len(self._parts[-1])
        return len(self._parts[-1])

    def drain(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _converted(converters: list[Convert | None], rows: list[Row]) -> Iterator[Row]:
    return zip(*_columns(converters, rows), strict=True) if rows else iter(())


def _columns(converters: list[Convert | None], rows: list[Row]) -> Iterator[Sequence[Any]]:
    """Column by column, because most columns need no conversion."""
    for convert, values in zip(converters, zip(*rows, strict=True), strict=True):
        yield values if convert is None else [None if value is None else convert(value) for value in values]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _usd(nano: int) -> Decimal:
    return Decimal(nano).scaleb(-9)


def _flag(value: int) -> str:
    return "true" if value else "false"


_VALUES: Final[dict[str, Convert]] = {"moment": iso, "usd": format_usd, "flag": bool}
_CELLS: Final[dict[str, Convert]] = {**_VALUES, "user text": _harmless, "flag": _flag}
_ARROW: Final[dict[str, Convert]] = {"date": date.fromisoformat, "flag": bool, "usd": _usd}
_ENCODERS: Final[dict[str, Callable[[Sequence[Column]], Encoder]]] = {"csv": _Csv, "jsonl": _JsonLines, "parquet": _Parquet}

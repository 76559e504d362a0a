"""What an export looks like in each format, and how a span of time may be written."""

import csv
import io
import json
from collections.abc import AsyncGenerator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyarrow import parquet

from gateway.export_formats import ROW_GROUP_ROWS, encoded
from gateway.timespan import WrongSpan, iso, span
from metering.exports import Column, Row

COLUMNS = (
    Column("id", "text"), Column("title", "user text"), Column("at", "moment"), Column("date", "date"), Column("tokens", "count"),
    Column("streamed", "flag"), Column("charge_usd", "usd"),
)  # fmt: skip
NOON = 1_760_011_200_001
ROWS: list[Row] = [
    ("gen-1", 'a "b", c\nd', NOON, "2025-10-09", 7, 1, 262_650),
    ("=gen-2", "=1+1", None, "2025-10-10", None, 0, 0),
    ("gen-3", None, NOON, "2025-10-10", 2**40, None, 9_223_372_036_854_775_807),
]
DANGEROUS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x")
HARMLESS = ("a=1", "'=1", " =1", "", "1-1", "Ünïcode")


async def pages(*parts: list[Row]) -> AsyncGenerator[list[Row], None]:
    for part in parts:
        yield part


async def file(format: str, *parts: list[Row], columns: tuple[Column, ...] = COLUMNS) -> bytes:
    return b"".join([chunk async for chunk in encoded(pages(*parts), format, columns)])


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


async def test_csv_is_one_header_and_one_line_per_row() -> None:
    content = await file("csv", ROWS[:1], ROWS[1:])
    assert content.startswith(b"id,title,at,date,tokens,streamed,charge_usd\ngen-1,")
    first, second, third = table(content)
    assert list(first.values()) == ["gen-1", 'a "b", c\nd', "2025-10-09T12:00:00.001Z", "2025-10-09", "7", "true", "0.00026265"]
    assert list(second.values()) == ["=gen-2", "'=1+1", "", "2025-10-10", "", "false", "0"]
    assert (third["streamed"], third["charge_usd"]) == ("", "9223372036.854775807")


async def test_json_lines_have_strings_for_amounts_and_null_for_nothing() -> None:
    first, second, third = map(json.loads, (await file("jsonl", ROWS[:1], ROWS[1:])).splitlines())
    assert first == {
        "id": "gen-1", "title": 'a "b", c\nd', "at": "2025-10-09T12:00:00.001Z", "date": "2025-10-09", "tokens": 7, "streamed": True,
        "charge_usd": "0.00026265",
    }  # fmt: skip
    assert (second["title"], second["at"], second["streamed"]) == ("=1+1", None, False)
    assert third["charge_usd"] == "9223372036.854775807"


async def test_parquet_keeps_types_and_every_digit() -> None:
    found = parquet.read_table(io.BytesIO(await file("parquet", ROWS[:1], ROWS[1:])))
    assert [str(field.type) for field in found.schema] == [
        "string", "string", "timestamp[ms, tz=UTC]", "date32[day]", "int64", "bool", "decimal128(38, 9)",
    ]  # fmt: skip
    first, second, third = found.to_pylist()
    assert (first["at"], first["date"]) == (datetime(2025, 10, 9, 12, 0, 0, 1000, UTC), date(2025, 10, 9))
    assert (first["charge_usd"], first["streamed"]) == (Decimal("0.000262650"), True)
    assert second == {**second, "id": "=gen-2", "title": "=1+1", "at": None, "tokens": None, "streamed": False}
    assert (third["tokens"], third["charge_usd"]) == (2**40, Decimal("9223372036.854775807"))


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
async def test_an_export_without_rows_is_still_a_file(format: str) -> None:
    content = await file(format)
    if format == "csv":
        assert content == b"id,title,at,date,tokens,streamed,charge_usd\n"
    elif format == "jsonl":
        assert content == b""
    else:
        assert parquet.read_table(io.BytesIO(content)).num_rows == 0


async def test_parquet_is_handed_over_in_row_groups() -> None:
    page = [("x", None, None, None, number, None, number) for number in range(1000)]
    chunks = [chunk async for chunk in encoded(pages(*[page] * 40), "parquet", COLUMNS)]
    assert len(chunks) >= 40_000 // ROW_GROUP_ROWS + 1
    found = parquet.ParquetFile(io.BytesIO(b"".join(chunks)))
    assert found.num_row_groups == 40_000 // ROW_GROUP_ROWS
    assert found.read(["tokens"])["tokens"].to_pylist() == [*range(1000)] * 40


async def test_csv_disarms_what_a_spreadsheet_would_compute_and_nothing_else() -> None:
    columns = (Column("id", "text"), Column("title", "user text"))
    rows: list[Row] = [(text, text) for text in (*DANGEROUS, *HARMLESS)]
    found = table(await file("csv", rows, columns=columns))
    assert [row["title"] for row in found] == [*(f"'{text}" for text in DANGEROUS), *HARMLESS]
    assert [row["id"] for row in found] == [*DANGEROUS, *HARMLESS]


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("first", "last", "start", "end"),
    [
        ("2027-01-01", "2027-01-01", "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"),
        ("2024-02-28", "2024-02-29", "2024-02-28T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("2027-01-01T12:00:00Z", "2027-01-01T12:00:00.001Z", "2027-01-01T12:00:00Z", "2027-01-01T12:00:00.001Z"),
        ("2027-01-01T00:30:00+02:00", "2027-01-01", "2026-12-31T22:30:00Z", "2027-01-02T00:00:00Z"),
        ("2027-01-01 12:00:00", "2027-01-01T12:00:00.0001Z", "2027-01-01T12:00:00Z", "2027-01-01T12:00:00.001Z"),
        ("2026-01-01", "2027-02-04", "2026-01-01T00:00:00Z", "2027-02-05T00:00:00Z"),
    ],
)
def test_a_span_is_two_days_or_two_moments(first: str, last: str, start: str, end: str) -> None:
    assert span(first, last, names=("from", "to")) == (ms(start), ms(end))
    assert iso(ms(start)) == datetime.fromisoformat(start).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("first", "last", "param", "words"),
    [
        (None, "2027-01-01", "from", "is required"),
        ("2027-01-01", "", "to", "is required"),
        ("soon", "2027-01-01", "from", "2027-01-31"),
        ("2027-01-01", "2027-02-30", "to", "not '2027-02-30'"),
        ("20270101", "2027-01-01", "from", "not '20270101'"),
        ("2027-W01-1", "2027-01-01", "from", "not '2027-W01-1'"),
        ("1800000000", "2027-01-01", "from", "not '1800000000'"),
        ("2027-01-02", "2027-01-01", "from", "must be before to"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "from", "must be before to"),
        ("2026-01-01", "2027-02-05", "to", "at most 400 days"),
        ("0001-01-01", "0001-01-02", "from", "not '0001-01-01'"),
        ("9999-12-31", "9999-12-31", "from", "not '9999-12-31'"),
        ("0001-01-01T00:00:00+14:00", "2027-01-01", "from", "not '0001"),
        ("2027-01-01", "x" * 500, "to", "not 'xxxx"),
    ],
)
def test_a_span_that_is_none_names_its_parameter(first: Any, last: Any, param: str, words: str) -> None:
    with pytest.raises(WrongSpan) as refused:
        span(first, last, names=("from", "to"))
    assert refused.value.param == param
    assert str(refused.value).startswith(f"{param} ")
    assert words in str(refused.value)
    assert len(str(refused.value)) < 250

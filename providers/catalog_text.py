"""Catalog rows as TOML: an operator's file with rows put in the place of others."""

import datetime
from collections.abc import Iterable, Iterator
from typing import Any

Row = dict[str, Any]


def merged(own: dict[str, list[Row]], rows: Iterable[tuple[str, Row]]) -> dict[str, list[Row]]:
    """An operator's rows by table, with `rows` (table, row) in the place of those that they replace, or behind them."""
    tables = {table: {_id(table, row): row for row in found} for table, found in own.items()}
    for table, row in rows:
        tables.setdefault(table, {})[_id(table, row)] = row
    return {table: list(found.values()) for table, found in tables.items()}


def _id(table: str, row: Row) -> str:
    return f"{row['provider']}/{row['model']}" if table == "endpoint" else str(row["id" if table == "model" else "slug"])


def toml(tables: dict[str, list[Row]]) -> Iterator[str]:
    """The rows as a catalog file, line by line."""
    for table in ("company", "model", "provider", "endpoint"):
        for row in tables.get(table, ()):
            yield f"[[{table}]]"
            yield from (f"{key} = {_value(value)}" for key, value in row.items())
            yield ""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | datetime.date):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """A basic string; what it may not hold as it is stands as its code."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each >= " " and each != "\x7f" else f"\\u{ord(each):04X}" for each in escaped) + '"'

"""Every table and column names for how long it is kept, in one of the known categories, and every category has somebody who ends it."""

import importlib
import re

from sqlmodel import SQLModel

from metering.generations import NOTHING_BUT_BILLING
from policy import retention
from tests.tidy.tree import PACKAGES, listed, python_files

REDIS_KEYS = re.compile(r'PREFIX: Final = "(tollway:[^"]+)"')


def _columns() -> dict[str, str | None]:
    """`table.column` -> its category."""
    for package in PACKAGES:
        for path in python_files(package):
            if path.name.endswith("tables.py"):
                importlib.import_module(f"{package}.{path.stem}")
    columns = [column for table in SQLModel.metadata.tables.values() for column in table.columns]
    return {str(column): column.info.get("retention") or column.table.info.get("retention") for column in columns}


def test_every_column_is_of_a_known_category() -> None:
    assert not listed(f"{column}: {category}" for column, category in _columns().items() if category not in retention.NAMES)


def test_every_category_is_used_and_ended_by_somebody_that_exists() -> None:
    from gateway.workers import everyday

    chores = {chore.name for chore in everyday(None, None, rows_max=1)}  # type: ignore[arg-type]
    assert set(_columns().values()) | {"attribution"} == set(retention.NAMES)
    acts = {"operator", "installation"}
    assert {category.name for category in retention.CATEGORIES if category.by not in chores | acts} == set()
    assert {category.name for category in retention.CATEGORIES if category.days is None} == {"profile", "installation"}


def test_what_is_cut_from_old_generations_is_exactly_what_is_not_billing() -> None:
    found = {column for column, category in _columns().items() if column.startswith("generation.") and category != "billing"}
    assert found == {f"generation.{name}" for name in NOTHING_BUT_BILLING}


def test_every_key_in_redis_has_a_declared_lifetime() -> None:
    prefixes = [found for path in python_files("policy") for found in REDIS_KEYS.findall(path.read_text())]
    assert len(prefixes) >= 4
    declared = tuple(lifetime.prefix for lifetime in retention.LIFETIMES)
    assert not listed(prefix for prefix in prefixes if not prefix.startswith(declared))

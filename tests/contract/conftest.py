"""An open database with one boot and its ledger, whose invariants must hold at the end of every test that used it."""

from collections.abc import AsyncIterator

import pytest

from metering.database import Database
from metering.ledger import Ledger
from metering.money import now_ms
from metering.verify import verify
from tests import books


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        yield database
        checks = await database.read(verify, now=now_ms())
        assert [check for check in checks if not check.ok] == []


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, "boot_1")

"""Books that are older than credits: what an account had is one paid credit, and its old deposits need none of their own."""

from metering import credits
from metering.database import Database
from metering.verify import verify
from tests import books

ACCOUNT = "INSERT INTO account (id, kind, posted, held, overdraft, created_at) VALUES"
ENTRY = "INSERT INTO entry (transaction_id, leg, account_id, amount, kind, at) VALUES"
OLD = (
    f"{ACCOUNT} ('rich', 'prepaid', 70, 0, 0, 1), ('empty', 'prepaid', 0, 0, 0, 1), ('new', 'prepaid', 0, 0, 0, 1)",
    f"{ACCOUNT} ('lim', 'limit', 0, 0, 9, 1)",
    f"{ENTRY} ('d1', 0, 'rich', 100, 'deposit', 1), ('d1', 1, 'house:cash', -100, 'deposit', 1)",
    f"{ENTRY} ('d2', 0, 'rich', -30, 'deposit', 1), ('d2', 1, 'house:cash', 30, 'deposit', 1)",
    f"{ENTRY} ('d3', 0, 'empty', 50, 'deposit', 1), ('d3', 1, 'house:cash', -50, 'deposit', 1)",
    f"{ENTRY} ('d4', 0, 'empty', -50, 'deposit', 1), ('d4', 1, 'house:cash', 50, 'deposit', 1)",
)


async def test_what_an_account_had_before_there_were_credits_is_one_paid_credit(database_url: str) -> None:
    async with books.connected(database_url) as database:
        await database.write(books.migrate, "0002")
        await books.sql(database_url, *OLD)
        await database.write(books.migrate, "head")
        assert [await _remaining(database, account) for account in ("rich", "empty", "new")] == [
            {"opening_rich": 70},
            {"opening_empty": 0},
            {},
        ]
        await database.write(books.move, id="dep_1", account_id="rich", amount=5, now=books.START)
        await database.write(books.move, id="dep_2", account_id="rich", amount=-72, now=books.START)
        assert await _remaining(database, "rich") == {"opening_rich": 0, "dep_1": 3}
        checks = await database.read(verify, now=books.START)
        assert [check for check in checks if not check.ok] == []


async def _remaining(database: Database, account_id: str) -> dict[str, int]:
    return {credit.id: credit.remaining for credit in await database.read(credits.listed, account_id)}

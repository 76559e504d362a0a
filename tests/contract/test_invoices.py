"""Every paid credit has an invoice, numbered without gaps within its account."""

from metering import credits, invoices
from metering.database import Database
from metering.invoices import Invoice
from tests import books

START = books.START


async def test_paid_credits_are_numbered_in_order_without_gaps_and_gifts_have_no_invoice(database: Database) -> None:
    await books.fund(database, "acc", 0)
    await books.fund(database, "other", 0)
    for number, (account_id, kind, at) in enumerate(
        [("acc", "paid", 1), ("other", "paid", 1), ("acc", "promotional", 2), ("acc", "paid", 3), ("acc", "paid", 3)]
    ):
        given = {"id": f"dep_{number}", "account_id": account_id, "amount": 1_000 + number, "kind": kind, "refundable": kind == "paid"}
        await database.write(credits.add, reason="test", now=START + at, **given)

    async def found(account_id: str, id: str) -> Invoice | None:
        return await database.read(invoices.find, account_id, id)

    assert [await found("acc", f"dep_{number}") for number in (0, 3, 4)] == [
        Invoice("dep_0", 1, 1_000, START + 1),
        Invoice("dep_3", 2, 1_003, START + 3),
        Invoice("dep_4", 3, 1_004, START + 3),
    ]
    assert await found("other", "dep_1") == Invoice("dep_1", 1, 1_001, START + 1)
    assert [await found("acc", "dep_2"), await found("acc", "dep_1"), await found("acc", "nothing")] == [None, None, None]

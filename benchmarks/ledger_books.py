"""The books that a ledger is measured on: funded accounts, the bills of their generations, and the audit when all are paid."""

import random

from sqlalchemy import text
from sqlmodel import Session

from benchmarks.ledger_load import Bill
from gateway.ids import Ids
from metering import credits, ledger, verify
from metering.batch import REVENUE, SETTLED, Column
from metering.database import Database
from metering.money import NANO_PER_USD, now_ms
from metering.usage import Usage
from tests import books

FUNDS = 1_000_000 * NANO_PER_USD  # per account, and the limit: nothing is ever refused
LIMIT = "limit_1"
VARIANTS = 64
HELD_OF_CHARGE = 4
ATTEMPTS = (
    '[{"provider":"maker","endpoint":"maker-1","status":200,"started_ms":3,"first_byte_ms":412,"duration_ms":1733,"error_class":null}]'
)
ABOUT: dict[str, Column] = {
    "attempts": ATTEMPTS,
    "upstream_id": "chatcmpl-9rXlHcZ0a1bQwErTyUiOpAsDfGhJk",
    "native_finish_reason": "stop",
    "origin": "https://app.example.com",
    "title": "Example App",
}


class BooksBroken(Exception):
    """What was measured does not add up, so its figures are not reported."""


class Bills:
    """Generations of different prices, all columns of their rows filled; accounts are drawn at random, the same ones in every run."""

    def __init__(self, accounts: int, limited: bool) -> None:
        self.accounts = [f"acct_{number:04d}" for number in range(accounts)]
        self.limits = (LIMIT,) if limited else ()
        self.count, self.charged = 0, 0
        usages = [Usage(prompt=200 + 37 * number, cached_prompt=64, completion=20 + 11 * number, reasoning=5) for number in range(VARIANTS)]
        self._rows = [books.generation("", "", usage=usage) | ABOUT for usage in usages]
        self._charges = [int(row["total_pico"] or 0) // 1000 for row in self._rows]
        self._ids, self._draw = Ids(), random.Random(1)

    def next_bill(self) -> Bill:
        now, variant = now_ms(), self.count % VARIANTS
        id, account_id, charge = self._ids.generation(now), self._draw.choice(self.accounts), self._charges[variant]
        self.count += 1
        self.charged += charge
        row = {**self._rows[variant], "id": id, "account_id": account_id, "created_at": now}
        return Bill(id=id, account_id=account_id, limits=self.limits, amount=charge * HELD_OF_CHARGE, charge=charge, row=row)

    def open(self, session: Session) -> None:
        """The accounts with `FUNDS` in each, and the limit."""
        for id in self.accounts:
            ledger.open_account(session, id=id, now=books.START)
            credits.add(session, id=f"dep_{id}", account_id=id, amount=FUNDS, reason="bench", now=books.START)
        if self.limits:
            ledger.open_limit(session, id=LIMIT, amount=FUNDS, reset=None, now=books.START)


async def audit(database: Database, bills: Bills) -> str:
    """One line with what was counted. BooksBroken if an invariant or a sum is wrong."""
    checks = await database.read(verify.verify, now=now_ms())
    if wrong := [f"{check.id} {check.claim} ({check.figure})" for check in checks if not check.ok]:
        raise BooksBroken(f"the books are broken: {'; '.join(wrong)}")
    funded = FUNDS * len(bills.accounts)
    expected = {
        "settled holds": bills.count,
        "generations": bills.count,
        "charged": bills.charged,
        "revenue": bills.charged,
        "posted": funded - bills.charged,
        "held": 0,
        "spent of the limit": bills.charged if bills.limits else 0,
    }
    found = await database.read(totals)
    if found != expected:
        raise BooksBroken(f"the sums are wrong: {found} instead of {expected}")
    return f"{bills.count:,} generations, {len(checks)} checks"


def totals(session: Session) -> dict[str, int]:
    statements = {
        "settled holds": f"SELECT COUNT(*) FROM hold WHERE state = {SETTLED}",
        "generations": "SELECT COUNT(*) FROM generation",
        "charged": "SELECT COALESCE(SUM(charge), 0) FROM generation",
        "revenue": f"SELECT COALESCE(SUM(amount), 0) FROM entry WHERE account_id = '{REVENUE}'",
        "posted": "SELECT COALESCE(SUM(posted), 0) FROM account WHERE kind = 'prepaid'",
        "held": "SELECT COALESCE(SUM(held), 0) FROM account",
        "spent of the limit": "SELECT COALESCE(-SUM(posted), 0) FROM account WHERE kind = 'limit'",
    }
    return {name: int(session.connection().execute(text(statement)).scalar_one()) for name, statement in statements.items()}

"""Recomputes on live data what must always hold: one snapshot, beside a running server, in memory that does not grow with the books.

The database adds up and hands over only what is wrong; I7 alone reads every generation, one page at a time. I8, I9, I13 and I14
cannot be seen in the tables and are held by tests.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering import verify_seals
from metering.batch import OPEN, REVENUE, SETTLED, VOID
from metering.price import UNITS, Price, cost
from metering.usage import Usage

ROWS_MAX: Final = 20
HOLD_MINUTES_MAX: Final = 20
_MINUTE_MS: Final = 60_000
_PAGE: Final = 1000


class Check(msgspec.Struct, frozen=True):
    """One invariant: `figure` says what was counted, `rows` are the ids of at most `ROWS_MAX` violating rows."""

    id: str
    claim: str
    ok: bool
    figure: str
    rows: list[str]


class _Rule(msgspec.Struct, frozen=True):
    """`wrong` selects the id of every row that breaks the claim, `{named}` in it stands for the holds by the limits they name."""

    id: str
    claim: str
    noun: str
    counted: str
    wrong: str


_ACCOUNTS: Final = "SELECT COUNT(*) FROM account"

_I1: Final = _Rule(
    "I1",
    "The legs of every transaction sum to zero.",
    "transactions",
    "SELECT COUNT(DISTINCT transaction_id) FROM entry",
    "SELECT transaction_id AS id FROM entry GROUP BY transaction_id HAVING SUM(amount) <> 0",
)
_I2: Final = _Rule(
    "I2",
    "An account's posted is the sum of its entries; a limit's is what the holds naming it were charged in its period.",
    "accounts and limits",
    _ACCOUNTS,
    """SELECT id FROM (SELECT id, posted AS amount FROM account
        UNION ALL SELECT account_id, -amount FROM entry WHERE account_id NOT LIKE 'house:%'
        UNION ALL SELECT n.bucket, n.charge FROM ({named}) n LEFT JOIN account a ON a.id = n.bucket
            WHERE n.charge <> 0 AND n.closed_at >= COALESCE(a.period_start, 0)) s
    GROUP BY id HAVING SUM(amount) <> 0""",
)
_I3: Final = _Rule(
    "I3",
    "What an account or limit holds is the sum of the open holds that name it.",
    "accounts and limits",
    _ACCOUNTS,
    f"""SELECT id FROM (SELECT id, held AS amount FROM account
        UNION ALL SELECT account_id, -amount FROM hold WHERE state = {OPEN}
        UNION ALL SELECT n.bucket, -n.amount FROM ({{named}}) n WHERE n.state = {OPEN}) s
    GROUP BY id HAVING SUM(amount) <> 0""",  # noqa: S608 - our own constants
)
_I4: Final = _Rule(
    "I4",
    "No prepaid account is below zero: posted - held + overdraft >= 0.",
    "prepaid accounts",
    "SELECT COUNT(*) FROM account WHERE kind = 'prepaid'",
    "SELECT id FROM account WHERE kind = 'prepaid' AND posted - held + overdraft < 0",
)
_I5: Final = _Rule(
    "I5",
    "Every generation has one hold, which has ended, and every charge is booked once, in two legs.",
    "generations",
    "SELECT COUNT(*) FROM generation",
    f"""SELECT g.id FROM generation g LEFT JOIN hold h ON h.id = g.id
        WHERE h.id IS NULL OR h.state = {OPEN} OR h.account_id <> g.account_id
    UNION SELECT h.id FROM hold h
        LEFT JOIN entry d ON d.transaction_id = h.id AND d.leg = 0 LEFT JOIN entry c ON c.transaction_id = h.id AND c.leg = 1
        WHERE COALESCE(d.amount, 0) <> -h.charge OR COALESCE(c.amount, 0) <> h.charge
        OR d.account_id <> h.account_id OR c.account_id <> '{REVENUE}'
        OR (h.charge <> 0 AND h.state IN ({OPEN}, {VOID})) OR (h.state = {OPEN}) <> (h.closed_at IS NULL)
    UNION SELECT e.transaction_id FROM entry e LEFT JOIN hold h ON h.id = e.transaction_id
        WHERE (e.kind = 'charge') <> (h.id IS NOT NULL) OR (h.id IS NOT NULL AND (h.charge = 0 OR e.leg NOT IN (0, 1)))""",  # noqa: S608
)
_I6: Final = _Rule(
    "I6",
    "No charge exceeds its hold, and charge plus shortfall is the price of the generation.",
    "holds",
    "SELECT COUNT(*) FROM hold",
    f"""SELECT id FROM hold WHERE charge > amount OR charge < 0
    UNION SELECT g.id FROM generation g JOIN hold h ON h.id = g.id
        WHERE g.charge <> h.charge OR g.shortfall < 0
        OR (h.state = {SETTLED} AND g.charge + g.shortfall <> g.total_pico / 1000)""",  # noqa: S608
)
_I12: Final = _Rule(
    "I12",
    "Per account, the charges of its generations are the charges in the ledger.",
    "charges",
    "SELECT COUNT(*) FROM entry WHERE kind = 'charge' AND leg = 0",
    """SELECT id FROM (SELECT account_id AS id, charge AS amount FROM generation
        UNION ALL SELECT account_id, amount FROM entry WHERE kind = 'charge' AND account_id NOT LIKE 'house:%') s
    GROUP BY id HAVING SUM(amount) <> 0""",
)

_I15: Final = _Rule(
    "I15",
    "What remains of an account's credits covers its balance, is never above what was given, and every deposit is one credit.",
    "credits",
    "SELECT COUNT(*) FROM credit",
    # A credit named opening_<account> stands for all that was deposited before there were credits.
    """SELECT id FROM (SELECT id, posted AS amount FROM account WHERE kind = 'prepaid' AND posted > 0
        UNION ALL SELECT account_id, -remaining FROM credit) s GROUP BY id HAVING SUM(amount) > 0
    UNION SELECT id FROM credit WHERE remaining < 0 OR remaining > amount
    UNION SELECT c.id FROM credit c LEFT JOIN entry e ON e.transaction_id = c.id AND e.leg = 0
        WHERE c.id <> 'opening_' || c.account_id
        AND (e.kind IS NULL OR e.kind <> 'deposit' OR e.account_id <> c.account_id OR e.amount <> c.amount)
    UNION SELECT e.transaction_id FROM entry e LEFT JOIN credit c ON c.id IN (e.transaction_id, 'opening_' || e.account_id)
        WHERE e.leg = 0 AND e.kind = 'deposit' AND e.amount > 0 AND e.account_id NOT LIKE 'house:%' AND c.id IS NULL""",
)

_NAMED: Final = {
    "sqlite": """SELECT h.amount, h.charge, h.state, h.closed_at, j.value AS bucket
        FROM hold h, json_each('["' || replace(h.limits, ',', '","') || '"]') j WHERE h.limits <> ''""",
    "postgresql": """SELECT h.amount, h.charge, h.state, h.closed_at, b.bucket
        FROM hold h, unnest(string_to_array(h.limits, ',')) AS b(bucket) WHERE h.limits <> ''""",
}
_TRIGGERS: Final = {
    "sqlite": """SELECT v.verb FROM (SELECT 'UPDATE' AS verb UNION ALL SELECT 'DELETE') v WHERE NOT EXISTS (SELECT 1 FROM sqlite_master
        WHERE type = 'trigger' AND tbl_name = 'entry' AND sql LIKE '%BEFORE ' || v.verb || ' ON entry%RAISE(ABORT%')""",
    # tgtype: 1 = for each row, 2 = before, 8 = delete, 16 = update; tgenabled 'D' is off, 'R' is on for replicas only.
    "postgresql": """SELECT v.verb FROM (VALUES ('UPDATE', 16), ('DELETE', 8)) v(verb, bit) WHERE NOT EXISTS (SELECT 1 FROM pg_trigger t
        JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = 'entry'::regclass AND t.tgtype & 3 = 3 AND t.tgtype & v.bit > 0
        AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL AND p.prosrc LIKE '%RAISE EXCEPTION%')""",
}
_PRICED: Final = text(f"""SELECT g.id, g.total_pico, g.remainder, h.state, p.rates, {", ".join(f"g.{unit}" for unit in UNITS)}
    FROM generation g JOIN hold h ON h.id = g.id LEFT JOIN price_version p ON p.id = g.price_id""")  # noqa: S608 - our own column names


def verify(session: Session, *, now: int) -> list[Check]:
    """Every check that live data allows, in the order of the ids. The session must not have run a statement yet."""
    if session.connection().dialect.name == "postgresql":
        session.connection().execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    rules = [_follow(session, rule) for rule in (_I1, _I2, _I3, _I4, _I5, _I6)]
    others = [_prices(session), _append_only(session), _open_holds(session, now)]
    return [*rules, *others, _follow(session, _I12), _follow(session, _I15), _seals(session, now)]


def _follow(session: Session, rule: _Rule) -> Check:
    connection = session.connection()
    counted = connection.execute(text(rule.counted)).scalar_one()
    selected = rule.wrong.format(named=_NAMED[connection.dialect.name])
    found = connection.execute(text(f"SELECT id, COUNT(*) OVER () FROM ({selected}) w ORDER BY id LIMIT {ROWS_MAX}")).all()  # noqa: S608
    return _check(rule.id, rule.claim, f"{counted:,} {rule.noun}", [row[0] for row in found], found[0][1] if found else 0)


def _prices(session: Session) -> Check:
    """I7: what was booked is computed again from the stored units and the price they were admitted at."""
    counted, wrong = 0, 0
    rows: list[str] = []
    for row in _pages(session):
        counted += 1
        if (row["total_pico"], row["remainder"]) != _recomputed(row):
            wrong += 1
            rows += [row["id"]] if len(rows) < ROWS_MAX else []
    claim = "Every generation's price is its stored units at the rates it was admitted at, to the pico-dollar."
    return _check("I7", claim, f"{counted:,} generations", sorted(rows), wrong)


def _pages(session: Session) -> Iterator[Any]:
    yield from session.connection().execute(_PRICED, execution_options={"yield_per": _PAGE}).mappings()


def _recomputed(row: Any) -> tuple[int, int] | None:
    """(total_pico, remainder); a hold that was voided cost nothing; None if the units have no price."""
    if row["state"] == VOID:
        return 0, 0
    if row["rates"] is None:
        return None
    try:
        exact = cost(Usage(**{unit: row[unit] for unit in UNITS}), _price(row["rates"]))
    except ValueError:
        return None
    return exact.total_pico, exact.remainder


@lru_cache(maxsize=1024)
def _price(rates: str) -> Price:
    return msgspec.json.decode(rates, type=Price)


def _append_only(session: Session) -> Check:
    connection = session.connection()
    missing = list(connection.execute(text(_TRIGGERS[connection.dialect.name])).scalars())
    entries = connection.execute(text("SELECT COUNT(*) FROM entry")).scalar_one()
    rows = [f"no trigger refuses {verb} of entries" for verb in missing]
    claim = "Entries are only ever added: the database refuses to change or delete one."
    return _check("I10", claim, f"{entries:,} entries", rows, len(rows))


def _open_holds(session: Session, now: int) -> Check:
    too_old = now - HOLD_MINUTES_MAX * _MINUTE_MS
    totals = text(f"""SELECT COUNT(*), MIN(created_at), COUNT(CASE WHEN created_at < :too_old THEN 1 END) FROM hold
        WHERE state = {OPEN}""")  # noqa: S608 - our own constant
    number, oldest, wrong = session.connection().execute(totals, {"too_old": too_old}).one()
    listed = text(f"SELECT id FROM hold WHERE state = {OPEN} AND created_at < :too_old ORDER BY created_at, id LIMIT {ROWS_MAX}")  # noqa: S608
    rows = list(session.connection().execute(listed, {"too_old": too_old}).scalars())
    age = f", the oldest {max(0, now - oldest) // 1000:,} s old" if number else ""
    return _check("I11", f"No hold has been open for more than {HOLD_MINUTES_MAX} minutes.", f"{number:,} open holds{age}", rows, wrong)


def _seals(session: Session, now: int) -> Check:
    found = verify_seals.recompute(session, now=now, rows_max=ROWS_MAX)
    return _check("I16", verify_seals.CLAIM, found.figure, found.rows, found.wrong)


def _check(id: str, claim: str, figure: str, rows: list[str], wrong: int) -> Check:
    return Check(id=id, claim=claim, ok=not wrong, figure=f"{figure}, {wrong:,} wrong" if wrong else figure, rows=rows)

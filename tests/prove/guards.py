"""The guards on which the books stand: each is taken away by name, and a test must turn red by name."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Guard:
    """In `file` each `old` of `changes` stands once and is replaced by its `new`; `tests` are asked, the Postgres ones too."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def applied(self, root: Path) -> str:
        """The file without its guard; ValueError if the guard is not where this table says."""
        source = (root / self.file).read_text()
        for old, new in self.changes:
            if source.count(old) != 1:
                raise ValueError(f"{self.name}: {old!r} stands {source.count(old)} times in {self.file}; correct tests/prove/guards.py")
            source = source.replace(old, new)
        return source


LEDGER = "tests/contract/test_ledger.py"
EDGES = "tests/contract/test_ledger_edges.py"
RECOVERY = "tests/contract/test_recovery.py"

UNSETTLED = """    usage, source, cost = await settlement._priced(generation, end, at)
    told = settlement.usage_object(usage, cost, charge=cost.charge, held=generation.held, source=source or "provider")
    receipt = settlement.Receipt(usage=told, tokens=0)
"""

GUARDS = (
    Guard(
        "an end only ends what is open (SQLite)",
        "metering/batch_sqlite.py",
        (("closed_at = ? WHERE id = ? AND state = 0", "closed_at = ? WHERE id = ?"),),
        (LEDGER,),
    ),
    Guard(
        "an end only ends what is open (Postgres)",
        "metering/batch_postgres.py",
        (
            ("WHERE h.id = r.id AND h.state + 0 = 0 RETURNING h.id, h.account_id", "WHERE h.id = r.id RETURNING h.id, h.account_id"),
            ("AS b(bucket) WHERE h.state + 0 = 0),", "AS b(bucket)),"),
        ),
        (LEDGER,),
    ),
    Guard(
        "the database itself keeps an account from going below zero",
        "migrations/versions/0001_start.py",
        (("kind <> 'prepaid' OR posted - held + overdraft >= 0", "1 = 1"),),
        (EDGES,),
    ),
    Guard(
        "the database itself keeps a charge within its hold",
        "migrations/versions/0001_start.py",
        (("charge >= 0 AND charge <= amount", "1 = 1"),),
        (EDGES,),
    ),
    Guard(
        "a fenced process holds nothing new (SQLite)",
        "metering/batch_sqlite.py",
        (("WHERE NOT EXISTS (SELECT 1 FROM boot WHERE id = ?5 AND fenced = 1)", "WHERE true"),),
        (RECOVERY,),
    ),
    Guard(
        "a fenced process holds nothing new (Postgres)",
        "metering/batch_postgres.py",
        (("AND NOT EXISTS (SELECT 1 FROM boot b WHERE b.id = r.boot_id AND b.fenced = 1)", ""),),
        (RECOVERY,),
    ),
    Guard(
        "settled before the final chunk leaves",
        "gateway/pipeline.py",
        (
            ("    receipt = await settlement.settle(generation, end, at)\n", UNSETTLED),
            ("    return receipt.tokens\n", "    await settlement.settle(generation, end, at)\n    return receipt.tokens\n"),
        ),
        ("tests/contract/test_crash_points.py",),
    ),
)

"""Mutants that no test can notice, each with the reason: they change nothing that anybody sees."""

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "metering/batch_sqlite.py",
        "SQL 'AND state = 0' -> '' in 'UPDATE hold SET amount = amount + ? WHERE id = ? AND state = 0'",
    ): "the state was read a moment before, in the same transaction of the only writer",
    ("metering/meter.py", "64  ->  65"): "how much text is kept uncounted is a bound on memory, not a figure that anybody is told",
    ("metering/meter.py", "64  ->  63"): "the same",
}

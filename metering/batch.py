"""The jobs of the ledger's hot path and their outcomes: what `commit` gathers and a database carries out in one transaction.

The statements stand once per database in `batch_sqlite` and `batch_postgres`; `tests/contract` runs the same operations on both.
"""

from typing import Final

import msgspec

OPEN: Final = 0
SETTLED: Final = 1
VOID: Final = 2
RECOVERED: Final = 3

REVENUE: Final = "house:revenue"

Column = str | int | None


class HoldJob(msgspec.Struct, frozen=True, kw_only=True):
    """Set `amount` nano-USD aside in the account and in every limit, or in none of them."""

    id: str
    account_id: str
    limits: tuple[str, ...]
    amount: int
    boot_id: str


class ExtendJob(msgspec.Struct, frozen=True, kw_only=True):
    """Raise an open hold to `target` nano-USD, or as far towards it as every bucket can give when `partly`; repeating it adds nothing."""

    id: str
    target: int
    partly: bool = False


class CloseJob(msgspec.Struct, frozen=True, kw_only=True):
    """End an open hold: charge at most what it holds, release the rest, and add the generation's row in the same transaction."""

    id: str
    charge: int
    state: int
    generation: dict[str, Column] | None = None


Job = HoldJob | ExtendJob | CloseJob


class Held(msgspec.Struct, frozen=True):
    """The hold is durable with this amount, nano-USD."""

    amount: int


class Refused(msgspec.Struct, frozen=True):
    """Not held: `bucket` (an account or limit id) can give only `available` nano-USD; `held` more is set aside for running generations."""

    bucket: str
    available: int
    held: int = 0


FENCED: Final = Refused("", 0)
"""Not held, whatever there is: the process was taken for dead while it was stopped."""


class Closed(msgspec.Struct, frozen=True):
    """The hold has ended in `state` with this charge, nano-USD; `changed` is False when it had already ended before this job."""

    charge: int
    state: int
    changed: bool


Outcome = Held | Refused | Closed

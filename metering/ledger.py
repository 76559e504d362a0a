"""The prepaid ledger: hold -> settle | void, each step idempotent by the generation's id, each durable before it is reported.

The hot verbs go through group commit (`Ledger`); everything else is a plain function over a Session, run by `database.write`.
"""

import logging

import msgspec
from sqlalchemy import func, insert, literal_column, text, update
from sqlmodel import Session, col, select

from metering.batch import FENCED, SETTLED, VOID, Closed, CloseJob, Column, ExtendJob, Held, HoldJob, Refused
from metering.commit import Commit
from metering.database import REFUSALS, Database
from metering.errors import DatabaseUnavailable, UnknownAccount
from metering.money import AMOUNT_MAX, format_usd
from metering.periods import period
from metering.tables import Account, Boot, Entry

CASH = "house:cash"
BALANCE_MAX = 2**63 - 1
"""Nano-USD: what the databases can keep."""
_log = logging.getLogger("tollway.ledger")


class Ledger:
    """Holds and charges of one serving process, under its `boot_id` (set by its lifeline before the first hold)."""

    def __init__(self, database: Database, boot_id: str = "") -> None:
        self._commit = Commit(database.commit)
        self.boot_id = boot_id

    async def hold(self, id: str, *, account_id: str, limits: tuple[str, ...], amount: int) -> Held | Refused:
        """Sets `amount` nano-USD aside in the account and every limit, or in none. Durable when it returns Held.

        DatabaseUnavailable also when this process was taken for dead while it was stopped: it may not hold until its next heartbeat.
        """
        job = HoldJob(id=id, account_id=account_id, limits=limits, amount=amount, boot_id=self.boot_id)
        outcome = await self._commit.submit(job)
        assert isinstance(outcome, Held | Refused)
        if outcome == FENCED:
            raise DatabaseUnavailable("this process was taken for dead; it starts anew in a second")
        return outcome

    async def extend(self, id: str, target: int) -> Held | Refused:
        """Raises an open hold to `target` nano-USD, in all its buckets or in none; asking again after a lost answer adds nothing."""
        outcome = await self._commit.submit(ExtendJob(id=id, target=target))
        assert isinstance(outcome, Held | Refused)
        return outcome

    async def settle(self, id: str, *, charge: int, held: int, generation: dict[str, Column]) -> Closed:
        """Charges exactly `charge`, extending the hold first where it is too small; what no bucket can give is the house's.

        `generation` is its row without `charge` and `shortfall`, which are set here and written in the same transaction.
        """
        if charge > held:
            outcome = await self._commit.submit(ExtendJob(id=id, target=charge, partly=True))
            held = outcome.amount if isinstance(outcome, Held) else held
        charged = min(charge, held)
        row = {**generation, "held": held, "charge": charged, "shortfall": charge - charged}
        return await self._close(CloseJob(id=id, charge=charged, state=SETTLED, generation=row))

    async def void(self, id: str, *, generation: dict[str, Column] | None) -> Closed:
        """Releases the whole hold and charges nothing."""
        return await self._close(CloseJob(id=id, charge=0, state=VOID, generation=generation))

    def void_later(self, id: str) -> None:
        """After a hold whose outcome is not known: if it was written, it is released as soon as the database answers."""
        self._commit.post(CloseJob(id=id, charge=0, state=VOID))

    async def _close(self, job: CloseJob) -> Closed:
        """A row that the database refuses must not keep the money: then the hold ends without it."""
        try:
            outcome = await self._commit.submit(job)
        except REFUSALS as error:
            _log.error("the row of generation %s was refused (%s); its hold ends without it", job.id, type(error).__name__)
            outcome = await self._commit.submit(msgspec.structs.replace(job, generation=None))
        assert isinstance(outcome, Closed)
        return outcome

    async def recover(self, job: CloseJob) -> Closed:
        """Ends a hold of a process that died, as `metering.recovery` found it; does nothing if it has ended meanwhile."""
        return await self._close(job)

    @property
    def waiting_ms(self) -> int:
        """How long the oldest job that waits to be written has waited."""
        return self._commit.waiting_ms

    @property
    def waiting(self) -> int:
        """Jobs that wait to be written."""
        return self._commit.waiting

    async def flush(self) -> None:
        await self._commit.flush()


class Balance(msgspec.Struct, frozen=True):
    """Nano-USD: `credits` ever deposited less what was refunded, expired or taken back, `usage` ever charged, `held` by running
    generations, `available` for new ones. `credits` - `usage` is the balance."""

    credits: int
    usage: int
    held: int
    available: int


def open_account(session: Session, *, id: str, now: int) -> None:
    """A prepaid account with nothing in it."""
    session.connection().execute(insert(Account).values(id=id, kind="prepaid", posted=0, held=0, overdraft=0, created_at=now))


def open_limit(session: Session, *, id: str, amount: int, reset: str | None, now: int) -> None:
    """A budget of `amount` nano-USD, for ever or per period; a hold that names it must fit into it too."""
    start, end = period(reset, now) if reset else (None, None)
    row = Account(id=id, kind="limit", overdraft=amount, reset=reset, period_start=start, period_end=end, created_at=now)
    session.add(row)
    session.flush()


def forbid(session: Session, *, id: str, account_id: str, now: int) -> bool:
    """From now on no hold of this id can begin: it counts as one that was void from the start. False if there is one already."""
    row = {"id": id, "account_id": account_id, "state": VOID, "boot_id": "", "now": now}
    return session.connection().execute(_FORBID, row).rowcount == 1


def room(limit: Account, now: int) -> int:
    """Nano-USD that a limit can still give, also when its period is over and nobody has started the next one yet."""
    over = limit.period_end is not None and limit.period_end <= now
    return limit.overdraft - limit.held + (0 if over else limit.posted)


def start_period(session: Session, *, id: str, now: int) -> None:
    """Sets a limit whose period is over back to zero spent; does nothing if another process already has."""
    limit = session.get(Account, id)
    if limit is None or limit.reset is None:
        return
    start, end = period(limit.reset, now)
    passed = (col(Account.id) == id, col(Account.period_end) <= now)
    session.connection().execute(update(Account).where(*passed).values(posted=0, period_start=start, period_end=end))


def deposit(session: Session, *, id: str, account_id: str, amount: int, kind: str, reason: str, now: int, house: str = CASH) -> None:
    """The two entries that move `amount` nano-USD (negative: back) from `house` into the account; `id` makes a repetition harmless.

    `metering.credits` calls this and keeps the credits in step. ValueError for zero, for more than `AMOUNT_MAX`, for a balance beyond
    64 bits, or when a withdrawal exceeds what is available.
    """
    check_amount(abs(amount))
    account = locked(session, account_id)
    if session.get(Entry, (id, 0)) is not None:
        return
    if account.posted - account.held + account.overdraft + amount < 0:
        raise ValueError(too_little(-amount))
    if account.posted + amount > BALANCE_MAX:
        raise ValueError(f"account {account_id} cannot have more than {format_usd(BALANCE_MAX)} USD")
    account.posted += amount
    for leg, (owner, signed) in enumerate(((account_id, amount), (house, -amount))):
        session.add(Entry(transaction_id=id, leg=leg, account_id=owner, amount=signed, kind=kind, reason=reason, at=now))
    session.flush()


def locked(session: Session, account_id: str) -> Account:
    """The prepaid account as it is now, its row locked until the transaction ends. UnknownAccount; ValueError for a limit."""
    fresh = select(Account).where(Account.id == account_id).with_for_update(key_share=True)
    account = session.exec(fresh, execution_options={"populate_existing": True}).one_or_none()
    if account is None:
        raise UnknownAccount(f"there is no account {account_id}")
    if account.kind != "prepaid":
        raise ValueError(f"{account_id} is a limit: it has no credit")
    return account


def check_amount(amount: int) -> None:
    if not 0 < amount <= AMOUNT_MAX:
        raise ValueError(f"an amount must be between 0.000000001 and {format_usd(AMOUNT_MAX)} USD")


def too_little(amount: int) -> str:
    return f"the account has less than {format_usd(amount)} USD available"


def balance(session: Session, account_id: str) -> Balance:
    """UnknownAccount if there is none. One statement, so that all four figures are of the same moment."""
    total = func.coalesce(func.sum(Entry.amount), 0)
    other = (Entry.leg == literal_column("0"), Entry.kind != literal_column("'charge'"))  # written out: the index is a partial one
    deposits = select(total).where(Entry.account_id == account_id, *other).scalar_subquery()
    found = session.exec(select(Account.posted, Account.held, Account.overdraft, deposits).where(Account.id == account_id)).first()
    if found is None:
        raise UnknownAccount(f"there is no account {account_id}")
    posted, held, overdraft, credits = found
    return Balance(credits=int(credits), usage=int(credits) - posted, held=held, available=posted - held + overdraft)


def available(session: Session, account_id: str) -> int:
    """What may be held now, nano-USD; costs the same however long the books are. UnknownAccount."""
    row = session.get(Account, account_id)
    if row is None:
        raise UnknownAccount(f"there is no account {account_id}")
    return row.posted - row.held + row.overdraft


def start_boot(session: Session, *, id: str, now: int) -> None:
    session.add(Boot(id=id, started_at=now, heartbeat_at=now))
    session.flush()


def account_ids(session: Session) -> list[str]:
    return list(session.exec(select(Account.id).where(Account.kind == "prepaid").order_by(Account.id)))


_FORBID = text(
    """INSERT INTO hold (id, account_id, limits, amount, state, charge, boot_id, created_at, closed_at)
    VALUES (:id, :account_id, '', 0, :state, 0, :boot_id, :now, :now) ON CONFLICT (id) DO NOTHING"""
)

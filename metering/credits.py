"""Credit as it was given: burned soonest expiry first, refunded by what was paid and is unused, expired by what is left.

A charge does not come here: it lowers `account.posted` and nothing else. What charges have burned is derived when somebody looks, as the
sum of `remaining` less `posted`, and taken from the credits in one fixed order. That is exact, because whoever changes which credits
there are derives it first, with the account's row locked: in between, the order in which charges burn them cannot change.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import func, literal_column
from sqlmodel import Session, col, select

from metering import ledger
from metering.batch import OPEN
from metering.errors import UnknownAccount
from metering.ledger import BALANCE_MAX, CASH, check_amount
from metering.money import AMOUNT_MAX, NANO_PER_USD, format_usd
from metering.tables import Account, Credit, Entry, Hold

PROMOTION: Final = "house:promotion"
EXPIRED: Final = "house:expired"
CENT: Final = NANO_PER_USD // 100
CREDITS_MAX: Final = 10_000
"""Unused credits of one account: every look at them reads them all."""
_YEAR_10000: Final = 253_402_300_800_000


class Listed(msgspec.Struct, frozen=True):
    """One credit, nano-USD and Unix milliseconds. `remaining` counts every charge so far."""

    id: str
    kind: str
    refundable: bool
    amount: int
    remaining: int
    expires_at: int | None
    created_at: int


def add(
    session: Session,
    *,
    id: str,
    account_id: str,
    amount: int,
    kind: str = "paid",
    refundable: bool = True,
    expires_at: int | None = None,
    reason: str,
    now: int,
) -> bool:
    """Deposits `amount` nano-USD as one credit; False if `id` has done so before.

    ValueError for an amount, kind or expiry that makes no sense, and where the account's balance or all that it was ever given would
    leave 64 bits. Promotional credit is never refundable.
    """
    if kind not in ("paid", "promotional"):
        raise ValueError(f"a credit is paid or promotional, not {kind!r}")
    if refundable and kind == "promotional":
        raise ValueError("promotional credit cannot be refundable")
    check_amount(amount)
    account = ledger.locked(session, account_id)
    if _recorded(session, id, account_id, "deposit", lambda before: before == amount) is not None:
        return False
    if expires_at is not None and not now < expires_at < _YEAR_10000:
        raise ValueError("a credit must expire in the future, before the year 10000")
    if len(_burned(session, account)) >= CREDITS_MAX:
        raise ValueError(f"account {account_id} has {CREDITS_MAX:,} unused credits; add fewer and larger ones")
    given = session.exec(select(func.sum(Credit.amount)).where(Credit.account_id == account_id)).one() or 0
    if int(given) + amount > BALANCE_MAX:
        raise ValueError(f"account {account_id} cannot be given more than {format_usd(BALANCE_MAX)} USD in all")
    house = CASH if kind == "paid" else PROMOTION
    ledger.deposit(session, id=id, account_id=account_id, amount=amount, kind="deposit", reason=reason, now=now, house=house)
    credit = Credit(id=id, account_id=account_id, kind=kind, refundable=int(refundable), amount=amount, remaining=amount, created_at=now)
    credit.expires_at = expires_at
    session.add(credit)
    session.flush()
    return True


def take_back(session: Session, *, id: str, account_id: str, amount: int, reason: str, now: int) -> None:
    """The operator takes `amount` nano-USD of unused credit out of the account, in the order in which it would be burned.

    What was promotional goes back to the promotions, under `<id>_promotion` if there is paid credit in it too. ValueError for more
    than is available.
    """
    check_amount(amount)
    account = ledger.locked(session, account_id)
    if _recorded(session, id, account_id, "deposit", lambda before: before < 0) is not None:
        return
    credits = _live(session, account, now)
    if amount > account.posted - account.held + account.overdraft:
        raise ValueError(ledger.too_little(amount))
    taken = list(_take(credits, amount))
    _collect(taken)
    promotional = sum(part for credit, part in taken if credit.kind == "promotional")
    parts = [part for part in ((CASH, amount - promotional), (PROMOTION, promotional)) if part[1]]
    for suffix, (house, part) in zip(("", "_promotion"), parts, strict=False):
        ledger.deposit(session, id=id + suffix, account_id=account_id, amount=-part, kind="deposit", reason=reason, now=now, house=house)


def refund(session: Session, *, id: str, account_id: str, amount: int | None, reason: str, now: int) -> int:
    """Returns unused refundable paid credit, in whole cents: `amount` nano-USD, or with None all there is (at most `AMOUNT_MAX` at once).

    Returns what was refunded; the same `id` again refunds nothing more and returns the same. What is held is not refunded, nor is what
    has expired. ValueError for more than can be refunded; it says how much can.
    """
    if amount is not None:
        check_amount(amount)
    account = ledger.locked(session, account_id)
    before = _recorded(session, id, account_id, "refund", lambda before: amount in (None, -before))
    if before is not None:
        return -before
    credits = [credit for credit in _live(session, account, now) if credit.refundable and not _has_expired(credit, now)]
    most = min(sum(credit.remaining for credit in credits), account.posted - account.held, AMOUNT_MAX)
    most = max(0, most // CENT * CENT)
    amount = most if amount is None else amount
    if amount > most:
        raise ValueError(f"{format_usd(amount)} USD is more than can be refunded: {format_usd(most)} USD")
    if amount % CENT:
        raise ValueError(f"a refund is in whole cents, not {format_usd(amount)} USD")
    if amount:
        _collect(_take(credits, amount))
        ledger.deposit(session, id=id, account_id=account_id, amount=-amount, kind="refund", reason=reason, now=now)
    return amount


def expire(session: Session, *, account_id: str, now: int) -> int:
    """Moves what remains of expired credit out of the account; returns how much, nano-USD.

    A running generation keeps what it holds: never more goes than nobody holds, and a hold made before the expiry keeps the credit
    itself. What stays for that reason goes with the next call after the hold has ended.
    """
    account = ledger.locked(session, account_id)
    before = account.posted
    _live(session, account, now)
    return before - account.posted


def due(session: Session, *, now: int, limit: int) -> list[str]:
    """At most `limit` accounts that have expired credit, those where something is not held first; for `expire`."""
    nothing_free = col(Account.posted) - col(Account.held) <= 0
    found = (
        select(Credit.account_id)
        .join(Account, col(Account.id) == col(Credit.account_id))
        .where(col(Credit.expires_at) <= now, Credit.remaining > 0)
        .group_by(col(Credit.account_id), col(Account.posted), col(Account.held))
        .order_by(nothing_free, func.min(Credit.expires_at), col(Credit.account_id))
    )
    return list(session.exec(found.limit(limit)))


def next_expiry(session: Session, account_id: str) -> int | None:
    """When the account's next credit expires, Unix milliseconds; in the past where `expire` is due."""
    return session.exec(select(func.min(Credit.expires_at)).where(Credit.account_id == account_id, Credit.remaining > 0)).one()


def listed(session: Session, account_id: str) -> list[Listed]:
    """The account's credits, oldest first: the unused ones and the newest of the others, `CREDITS_MAX` at most. Writes nothing.

    One statement, so that balance and credits are of the same moment.
    """
    found = (
        select(Account.posted, Credit)
        .outerjoin(Credit, col(Credit.account_id) == col(Account.id))
        .where(Account.id == account_id, Account.kind == "prepaid")
        .order_by(func.coalesce(Credit.remaining, 0) == 0, col(Credit.created_at).desc(), col(Credit.id).desc())
        .limit(CREDITS_MAX)
    )
    rows = session.exec(found, execution_options={"populate_existing": True}).all()
    if not rows:
        raise UnknownAccount(f"there is no account {account_id}")
    credits = [credit for _, credit in rows if credit is not None]
    burned = {credit.id: taken for credit, taken in _take(sorted(credits, key=_burning), _burnt(credits, rows[0][0]))}
    return [
        Listed(
            id=credit.id, kind=credit.kind, refundable=bool(credit.refundable), amount=credit.amount,
            remaining=credit.remaining - burned.get(credit.id, 0), expires_at=credit.expires_at, created_at=credit.created_at,
        )
        for credit in sorted(credits, key=lambda credit: (credit.created_at, credit.id))
    ]  # fmt: skip


def _live(session: Session, account: Account, now: int) -> list[Credit]:
    """The account's unused credits in the order in which they burn, after all that charges and expiries took. Its row is locked."""
    credits = _burned(session, account)
    kept = 0
    for credit in credits:
        if credit.expires_at is None or not _has_expired(credit, now):
            break
        held = _held_before(session, account, credit.expires_at) - kept
        keeps = min(credit.remaining, max(0, held))
        kept += keeps
        _expire(session, account, credit, min(credit.remaining - keeps, account.posted - account.held), now)
    return credits


def _expire(session: Session, account: Account, credit: Credit, amount: int, now: int) -> None:
    """What remains falls with every expiry of a credit, so it makes an id that two processes cannot both write."""
    if amount <= 0:
        return
    id = f"exp_{credit.id}_{credit.remaining}"
    house = EXPIRED if credit.kind == "paid" else PROMOTION
    credit.remaining -= amount
    ledger.deposit(session, id=id, account_id=account.id, amount=-amount, kind="expiry", reason="expired", now=now, house=house)


def _held_before(session: Session, account: Account, moment: int) -> int:
    """By the holds that were made before `moment` and are open."""
    if not account.held:
        return 0
    is_open = col(Hold.state) == literal_column(str(OPEN))  # written out: the index of open holds is a partial one
    held = select(func.coalesce(func.sum(Hold.amount), 0)).where(Hold.account_id == account.id, is_open, Hold.created_at < moment)
    return int(session.exec(held).one())


def _burned(session: Session, account: Account) -> list[Credit]:
    """The account's credits in the order in which they burn, less what charges took since the last look."""
    found = select(Credit).where(Credit.account_id == account.id, Credit.remaining > 0)
    credits = sorted(session.exec(found, execution_options={"populate_existing": True}), key=_burning)
    _collect(_take(credits, _burnt(credits, account.posted)))
    return [credit for credit in credits if credit.remaining]


def _burnt(credits: Iterable[Credit], posted: int) -> int:
    return max(0, sum(credit.remaining for credit in credits) - posted)


def _burning(credit: Credit) -> tuple[bool, int, bool, bool, int, str]:
    """Soonest expiry first, never last; then what cost the customer nothing, what cannot be refunded, and the oldest."""
    never = credit.expires_at is None
    return (never, credit.expires_at or 0, credit.kind == "paid", bool(credit.refundable), credit.created_at, credit.id)


def _take(credits: Sequence[Credit], amount: int) -> Iterator[tuple[Credit, int]]:
    """Which credits give `amount`, each as much as it has, in the order given."""
    for credit in credits:
        taken = min(amount, credit.remaining)
        amount -= taken
        if taken:
            yield credit, taken


def _collect(taken: Iterable[tuple[Credit, int]]) -> None:
    for credit, amount in taken:
        credit.remaining -= amount


def _has_expired(credit: Credit, now: int) -> bool:
    return credit.expires_at is not None and credit.expires_at <= now


def _recorded(session: Session, id: str, account_id: str, kind: str, agrees: Callable[[int], bool]) -> int | None:
    """The amount of transaction `id` if it was written before; ValueError if it was something else than what is asked for now."""
    entry = session.get(Entry, (id, 0))
    if entry is None:
        return None
    if (entry.account_id, entry.kind) != (account_id, kind) or not agrees(entry.amount):
        raise ValueError(f"{id} is the id of another transaction")
    return entry.amount

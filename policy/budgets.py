"""Budgets: limits of the ledger that bound what a whole account, a project, a member or one key may spend, for ever or per period.

A budget is an account row of kind `limit`; every hold of a caller in its scope must fit into it too, or nothing is held at all.
"""

from typing import Final

import msgspec
from sqlmodel import Session, col, delete, select

from metering import ledger
from metering.errors import UnknownAccount
from metering.tables import Account
from policy.tables import Budget, Key, Member, Project

SCOPES: Final = ("account", "project", "member", "key")
PER_ACCOUNT_MAX: Final = 1000
PER_SUBJECT_MAX: Final = 4
"""One for ever and one for each kind of period."""


class NewBudget(msgspec.Struct, frozen=True, kw_only=True):
    """`amount` in nano-USD; `reset` daily, weekly, monthly or None = for ever; `subject_id` is of the kind that `scope` says."""

    account_id: str
    scope: str
    subject_id: str
    amount: int
    reset: str | None = None


def add(session: Session, new: NewBudget, *, id: str, now: int) -> None:
    """ValueError for a subject that is not the account's, or one that has a budget of this period already."""
    ledger.balance(session, new.account_id)
    _check_subject(session, new)
    there = [limit.reset for limit, _ in of(session, (new.subject_id,))]
    if new.reset in there:
        raise ValueError(f"{new.subject_id} has a {new.reset or 'lifetime'} budget already; remove it first")
    if len(session.exec(select(Budget.limit_id).where(Budget.account_id == new.account_id)).all()) >= PER_ACCOUNT_MAX:
        raise ValueError(f"an account can have {PER_ACCOUNT_MAX} budgets")
    ledger.open_limit(session, id=id, amount=new.amount, reset=new.reset, now=now)
    session.add(Budget(limit_id=id, account_id=new.account_id, scope=new.scope, subject_id=new.subject_id, created_at=now))
    session.flush()


def remove(session: Session, *, account_id: str, id: str) -> bool:
    """False if the account has no such budget. Its limit row stays: holds that are running name it."""
    gone = delete(Budget).where(col(Budget.limit_id) == id, col(Budget.account_id) == account_id)
    return session.connection().execute(gone).rowcount == 1


def of(session: Session, subjects: tuple[str, ...]) -> list[tuple[Account, str]]:
    """The limits that bound these subjects (ids of an account, a project, a member, a key), each with its scope."""
    found = select(Account, Budget.scope).join(Budget, col(Budget.limit_id) == col(Account.id)).where(col(Budget.subject_id).in_(subjects))
    return list(session.exec(found.order_by(col(Account.id))).all())


def listed(session: Session, account_id: str) -> list[tuple[Budget, Account]]:
    found = select(Budget, Account).join(Account, col(Account.id) == col(Budget.limit_id)).where(Budget.account_id == account_id)
    return list(session.exec(found.order_by(col(Budget.created_at), col(Budget.limit_id))).all())


def add_project(session: Session, *, id: str, account_id: str, name: str, now: int) -> None:
    """ValueError for a name that is empty, too long, or taken in this account."""
    ledger.balance(session, account_id)
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise ValueError("a project's name must have 1 to 64 printable characters")
    if session.exec(select(Project.id).where(Project.account_id == account_id, Project.name == name)).first() is not None:
        raise ValueError(f"the account has a project {name!r} already")
    session.add(Project(id=id, account_id=account_id, name=name, created_at=now))
    session.flush()


def projects(session: Session, account_id: str) -> list[Project]:
    return list(session.exec(select(Project).where(Project.account_id == account_id).order_by(col(Project.created_at), col(Project.id))))


def check_owned(session: Session, kind: type[Project] | type[Member] | type[Key], id: str, account_id: str) -> None:
    """UnknownAccount's sibling for everything else that an account owns: ValueError if it is not there, or is another account's."""
    if session.exec(select(kind).where(kind.id == id, kind.account_id == account_id)).first() is None:
        raise ValueError(f"the account has no {kind.__name__.lower()} {id[:80]!r}")


def _check_subject(session: Session, new: NewBudget) -> None:
    if new.scope == "account":
        if new.subject_id != new.account_id:
            raise UnknownAccount(f"there is no account {new.subject_id}")
        return
    check_owned(session, _OWNED[new.scope], new.subject_id, new.account_id)


_OWNED: Final[dict[str, type[Project] | type[Member] | type[Key]]] = {"project": Project, "member": Member, "key": Key}

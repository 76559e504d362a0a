"""What a role may do on the pages: one closed table, which the pages ask and the authorisation matrix of the tests reads.

An API key has its own kinds (`policy/keys.py`); a person has the role of their membership. What no role is listed for is forbidden.
"""

from typing import Final, Literal

from policy.errors import Forbidden

Role = Literal["owner", "admin", "developer", "billing", "viewer"]
Right = Literal[
    "usage.read", "logs.read", "logs.delete", "keys.read", "keys.change", "billing.read", "privacy.read", "privacy.change",
    "routing.read", "routing.change", "playground.use", "members.read", "members.change", "budgets.change", "account.change",
]  # fmt: skip

EVERYBODY: Final[frozenset[str]] = frozenset(("owner", "admin", "developer", "billing", "viewer"))
ROLES_BY_RIGHT: Final[dict[Right, frozenset[str]]] = {
    "usage.read": EVERYBODY,
    "logs.read": frozenset(("owner", "admin", "developer")),
    "logs.delete": frozenset(("owner", "admin")),
    "keys.read": EVERYBODY - {"billing"},
    "keys.change": frozenset(("owner", "admin", "developer")),
    "billing.read": frozenset(("owner", "admin", "billing")),
    "privacy.read": EVERYBODY,
    "privacy.change": frozenset(("owner",)),
    "routing.read": EVERYBODY - {"billing"},
    "routing.change": frozenset(("owner", "admin")),
    "playground.use": frozenset(("owner", "admin", "developer")),
    "members.read": EVERYBODY,
    "members.change": frozenset(("owner", "admin")),
    "budgets.change": frozenset(("owner", "admin", "billing")),
    "account.change": frozenset(("owner",)),
}
"""A developer changes only keys that are their own; an admin makes nobody owner and changes no owner (the pages hold to both)."""


def may(role: str | None, right: Right) -> bool:
    return role in ROLES_BY_RIGHT[right]


def demand(role: str | None, right: Right) -> None:
    """Forbidden names who may."""
    if not may(role, right):
        allowed = ", ".join(name for name in ("owner", "admin", "developer", "billing", "viewer") if name in ROLES_BY_RIGHT[right])
        raise Forbidden(f"Your role ({role or 'none'}) may not do this; these may: {allowed}.")

"""How often signing in may fail: per address and per network, then not at all for a while that doubles. Kept as HMACs, for days.

    address    5 attempts, then one after 30 s, 1 min, 2 min, ... 1 h, whoever tries and whether or not the address is known
    network    20 attempts, then the same: behind one address there may be an office, and one forgetful colleague must not lock it out

An attempt is counted before it is looked at, so that a hundred at once are a hundred; success forgets the address's and takes its own
back from the network's. After 15 quiet minutes all is forgotten. Nobody can be shut out by others for ever: sessions that are open stay
open, and a password reset by mail, a passkey or single sign-on does not ask here for the address.
"""

import hashlib
import hmac
import ipaddress
from typing import Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from policy.errors import TooManyAttempts
from policy.keys import derive

QUIET_MS: Final = 15 * 60_000
BLOCK_MS: Final = 30_000
BLOCK_MS_MAX: Final = 3_600_000
ADDRESS_MAX: Final = 5
NETWORK_MAX: Final = 20
ASKED_MAX: Final = 20
DOUBLINGS_MAX: Final = 7


class Counter(msgspec.Struct, frozen=True):
    """`free` attempts are not delayed."""

    mac: str
    free: int


def of_address(email: str, secret: str) -> Counter:
    return Counter(_mac("address", email, secret), ADDRESS_MAX)


def of_network(client: str, secret: str) -> Counter:
    return Counter(_mac("network", network(client), secret), NETWORK_MAX)


def of_asking(client: str, secret: str) -> Counter:
    """For what sends mail or makes people: signing up, asking for a reset."""
    return Counter(_mac("asking", network(client), secret), ASKED_MAX)


def network(client: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one, which is what one customer has."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def attempt(session: Session, counters: tuple[Counter, ...], *, now: int) -> None:
    """Counts an attempt on all of them. TooManyAttempts, and nothing counted, while one of them is blocked."""
    # In one order everywhere, so that two who try at once wait for each other instead of forever.
    ordered = sorted(counters, key=lambda each: each.mac)
    for counter in ordered:
        session.connection().execute(_OPEN, {"mac": counter.mac, "now": now})
    rows = [session.connection().execute(_LOCK[session.connection().dialect.name], {"mac": each.mac}).one() for each in ordered]
    until = max(row.blocked_until for row in rows)
    if until > now:
        raise TooManyAttempts((until - now + 999) // 1000)
    for counter, row in zip(ordered, rows, strict=True):
        quiet = now - max(row.first_at, row.blocked_until) >= QUIET_MS
        count, first_at = (1, now) if quiet else (row.counted + 1, row.first_at)
        values = {"mac": counter.mac, "count": count, "first_at": first_at, "until": _blocked_until(count, counter.free, now)}
        session.connection().execute(_SET, values)


def succeeded(session: Session, *, address: Counter | None, network: Counter) -> None:
    if address is not None:
        forget(session, address)
    session.connection().execute(_TAKE_BACK, {"mac": network.mac, "free": network.free})


def forget(session: Session, counter: Counter) -> None:
    session.connection().execute(_FORGET, {"mac": counter.mac})


def _blocked_until(count: int, free: int, now: int) -> int:
    return 0 if count < free else now + min(BLOCK_MS << min(count - free, DOUBLINGS_MAX), BLOCK_MS_MAX)


def _mac(kind: str, value: str, secret: str) -> str:
    return hmac.digest(derive(secret, "sign-in-failures"), f"{kind}:{value}".encode("utf-8", "replace"), hashlib.sha256).hex()


_OPEN: Final = text("""INSERT INTO sign_in_failure (mac, count, first_at, blocked_until) VALUES (:mac, 0, :now, 0)
    ON CONFLICT (mac) DO NOTHING""")
_READ: Final = "SELECT count AS counted, first_at, blocked_until FROM sign_in_failure WHERE mac = :mac"
_LOCK: Final = {"sqlite": text(_READ), "postgresql": text(f"{_READ} FOR UPDATE")}
_SET: Final = text("UPDATE sign_in_failure SET count = :count, first_at = :first_at, blocked_until = :until WHERE mac = :mac")
_FORGET: Final = text("DELETE FROM sign_in_failure WHERE mac = :mac")
_TAKE_BACK: Final = text("""UPDATE sign_in_failure SET count = count - 1,
    blocked_until = CASE WHEN count - 1 < :free THEN 0 ELSE blocked_until END WHERE mac = :mac AND count > 0""")

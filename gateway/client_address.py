"""Where a request comes from: the connection's address, or what a proxy that the operator trusts says of it. Never what a client says."""

import ipaddress
from functools import lru_cache
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNKNOWN: Final = "unknown"


@lru_cache(maxsize=8)
def networks(setting: str) -> tuple[Network, ...]:
    """ValueError names the setting."""
    try:
        return tuple(ipaddress.ip_network(each.strip(), strict=False) for each in setting.split(",") if each.strip())
    except ValueError:
        raise ValueError("TOLLWAY_TRUSTED_PROXIES must be addresses or networks with commas, for instance 10.0.0.0/8") from None


def client_address(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """`forwarded` is `X-Forwarded-For`, to whose right end each proxy adds who it heard from: the first from there that is no proxy."""
    client = peer
    for heard in reversed(forwarded.split(",")[-20:]):
        if not _is_in(client, trusted):
            break
        client = heard.strip() or client
    return client if _is_address(client) else UNKNOWN


def _is_in(address: str, trusted: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found.version == network.version and found in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

"""Everybody else who may receive data of this installation: providers of the catalog, and the servers that settings name.

Derived, so that nobody can be forgotten: hosts and names come from the catalog and the settings; `subprocessors.toml` adds what neither
knows, purpose, data and since when, and the changes, which are announced 30 days before they hold. A host of the operator's own network
belongs to no third party: it is in `parties`, which the tests hold against every connection, and not in what the world is shown.
"""

import datetime
import ipaddress
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.settings import Settings
from providers.catalog import Catalog
from providers.provider import Provider

FILE: Final = Path(__file__).with_suffix(".toml")
NOTICE_DAYS: Final = 30
SETTINGS: Final = {
    "analytics": "posthog_host",
    "tracing": "otlp_endpoint",
    "database": "database_url",
    "limits": "redis_url",
    "mail": "smtp_url",
    "sign_in": "oidc_issuer",
}
"""By kind, which setting names the server; one that is empty names none."""
PORTS: Final = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379, "smtp": 587, "smtps": 465}
PUBLIC_SUFFIXES: Final = ("ac", "co", "com", "gov", "net", "org")
"""Before a country: under them everybody may register."""
INSIDE: Final = (".internal", ".local", ".lan", ".localhost", ".svc")


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` are categories of `policy/retention.py`."""

    kind: str
    purpose: str
    data: tuple[str, ...]
    since: datetime.date
    name: str = ""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: datetime.date
    announced: datetime.date
    text: str


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    date: datetime.date
    kind: tuple[Kind, ...]
    change: tuple[Change, ...] = ()


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Who may receive data. `address` is host:port. `own_keys_only`: the operator has no key there, so only the customer's own key leads
    there, under the customer's own contract. `inside`: a host of the operator's own network."""

    kind: Kind
    name: str
    address: str
    inside: bool
    headquarters: str | None = None
    privacy_policy_url: str | None = None
    own_keys_only: bool = False

    @property
    def domain(self) -> str:
        """The part of the host that has an owner; what stands before it is nobody's business."""
        host = self.address.rpartition(":")[0]
        labels = host.split(".")
        if _ip(host) is not None or len(labels) < 3:
            return host
        return ".".join(labels[-3:] if labels[-2] in PUBLIC_SUFFIXES else labels[-2:])


def subprocessors(catalog: Catalog, settings: Settings, *, keys: AbstractSet[str], today: datetime.date) -> dict[str, Any]:
    """What a page and `GET subprocessors` show. `keys` are the names of the provider keys that are set; `upcoming`: does not hold yet."""
    file = declared()
    changes = sorted(file.change, key=lambda change: change.date, reverse=True)
    return {
        "version": file.version,
        "date": file.date.isoformat(),
        "notice_days": NOTICE_DAYS,
        "data": [_shown(party) for party in parties(catalog, settings, keys=keys) if not party.inside],
        "changes": [{**msgspec.to_builtins(change), "upcoming": change.date > today} for change in changes],
    }


def parties(catalog: Catalog, settings: Settings, *, keys: AbstractSet[str]) -> list[Party]:
    """Every host to which this installation can open a connection, by kind and name."""
    kinds = {kind.kind: kind for kind in declared().kind}
    serving = {endpoint.provider.slug for endpoint in catalog.every_endpoint()}
    found = [
        _provider(provider, kinds["provider"], keys)
        for provider in catalog.providers.values()
        if provider.base_url and provider.slug in serving
    ]
    found.sort(key=lambda party: (party.own_keys_only, party.name))
    return [*found, *_of_settings(settings, kinds)]


@cache
def declared() -> File:
    return msgspec.toml.decode(FILE.read_bytes(), type=File)


def address_of(url: str) -> str | None:
    """host:port of a URL, None if it names no server; whatever else stands in it may be secret."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return f"{parts.hostname}:{parts.port or PORTS.get(parts.scheme, 443)}"


def _provider(provider: Provider, kind: Kind, keys: AbstractSet[str]) -> Party:
    address = address_of(provider.base_url) or provider.base_url
    return Party(
        kind=kind,
        name=provider.name,
        address=address,
        inside=_is_inside(address),
        headquarters=provider.headquarters or None,
        privacy_policy_url=provider.privacy_policy_url or None,
        own_keys_only=provider.api_key_env is not None and provider.api_key_env not in keys,
    )


def _of_settings(settings: Settings, kinds: dict[str, Kind]) -> Iterator[Party]:
    for name, setting in SETTINGS.items():
        address = address_of(getattr(settings, setting))
        if address is not None:
            yield Party(kind=kinds[name], name=kinds[name].name, address=address, inside=_is_inside(address))


def _is_inside(address: str) -> bool:
    host = address.rpartition(":")[0]
    number = _ip(host)
    return not number.is_global if number is not None else "." not in host or host.endswith(INSIDE)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _shown(party: Party) -> dict[str, Any]:
    return {
        "name": party.name,
        "kind": party.kind.kind,
        "domain": party.domain,
        "purpose": party.kind.purpose,
        "data": list(party.kind.data),
        "since": party.kind.since.isoformat(),
        "headquarters": party.headquarters,
        "privacy_policy_url": party.privacy_policy_url,
        "own_keys_only": party.own_keys_only,
    }

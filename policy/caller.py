"""Who is calling: a bearer token -> Caller, through a cache of at most one second, so that a revoked key is dead within one second."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec
from sqlmodel import Session

from metering import credits, ledger
from metering.database import Database
from metering.tables import Account
from policy import account_limits, account_privacy, account_rules, account_states, key_policy, keys, own_keys
from policy.account_privacy import UNCHANGED, Choice
from policy.account_states import ACTIVE, Standing
from policy.errors import Unauthenticated
from policy.limits import Scope
from policy.own_keys import NOTHING_SEALED, Sealed
from policy.privacy import Level, stored_level, strictest
from policy.route import NO_KEYS
from policy.rules import NO, Rules
from policy.tables import AccountLimits, Key

FRESH_MS: Final = 1000
CACHED_MAX: Final = 10_000


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An account acting through one of its keys.

    `budgets` are the ledger's limit rows that every hold must also fit into, `budget_scopes` whose each of them is. At
    `credit_expires_at` (Unix ms) some of the account's credit ends: no request after it may be held for from that. `limits` are those of
    requests, tokens and places; `rules` what the account's owner has set for its routes, under the key's data policy; `own_keys` maps
    provider slugs to the ids of the customer's own keys, which are in `own_sealed`. `choice` is what the account lets be kept, `level`
    what remains of it for this key.
    """

    account_id: str
    key_id: str
    kind: str
    budgets: tuple[str, ...] = ()
    budget_scopes: tuple[str, ...] = ()
    credit_expires_at: int | None = None
    limits: tuple[Scope, ...] = ()
    rules: Rules = NO
    own_keys: Mapping[str, str] = NO_KEYS
    own_sealed: Sealed = NOTHING_SEALED
    choice: Choice = UNCHANGED
    level: Level = "metadata"
    free_tier: bool = False
    standing: Standing = ACTIVE
    requests_per_minute: int | None = None
    expires_at: int | None = None
    disabled: bool = False
    revoked: bool = False


class Callers:
    """`identify` tokens. Unknown tokens are remembered too, so that guessing costs the database at most once a second per token."""

    def __init__(self, database: Database, pepper: bytes, *, older: tuple[bytes, ...] = (), free: Scope | None = None) -> None:
        """`older` are the peppers before this one; `free` has the limits of accounts that never had paid credit."""
        self._database = database
        self._pepper = pepper
        self._older = older
        self._pepper_name = keys.pepper_name(pepper)
        self._free = free
        self._cache: OrderedDict[bytes, tuple[int, Caller | None]] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[Caller | None]] = {}

    async def identify(self, token: str | None, now: int, *, reading: bool = False) -> Caller:
        """Unauthenticated for no token, a malformed, unknown, revoked, disabled or expired one, or one of an account that is not active.

        `reading`: nothing is changed or spent, so the owner may still while the account is suspended or closing.
        """
        if not token:
            raise Unauthenticated("No API key: send it as 'Authorization: Bearer sk-tw-v1-...'.")
        cached = self._cache.get(self._cache_key(token))
        caller = cached[1] if cached and _fresh(*cached, now) else await self._look_up(token, now)
        if caller is None:
            raise Unauthenticated("This API key does not exist here.")
        if caller.revoked:
            raise Unauthenticated("This API key was revoked.")
        if caller.disabled:
            raise Unauthenticated("This API key is disabled.")
        if caller.expires_at is not None and caller.expires_at <= now:
            raise Unauthenticated("This API key has expired.")
        if caller.standing.state != "active" and not (reading and caller.kind == "owner"):
            raise Unauthenticated(f"{account_states.refusal(caller.standing)}.")
        return caller

    def _cache_key(self, token: str) -> bytes:
        """A keyed hash a tenth as dear as the stored HMAC, so that the cache holds no keys either."""
        return hashlib.blake2b(token.encode(), key=self._pepper, digest_size=32).digest()

    async def _look_up(self, token: str, now: int) -> Caller | None:
        """One look-up at a time per token: the others who need it wait for the same answer."""
        cache_key = self._cache_key(token)
        running = self._running.get(cache_key)
        if running is None:
            running = self._running[cache_key] = asyncio.ensure_future(self._read(token, now))
            running.add_done_callback(lambda _: self._running.pop(cache_key, None))
        found = await asyncio.shield(running)
        self._cache[cache_key] = (now, found)
        self._cache.move_to_end(cache_key)
        if len(self._cache) > CACHED_MAX:
            self._cache.popitem(last=False)
        return found

    async def _read(self, token: str, now: int) -> Caller | None:
        if not keys.well_formed(token):
            raise Unauthenticated("This is not a Tollway API key: it must be sk-tw-v1- and 46 characters; a character is wrong or missing.")
        digests = [keys.digest(token, pepper) for pepper in (self._pepper, *self._older)]
        found = await self._database.read(_find, *digests)
        if found is None:
            return None
        if found.key.pepper != self._pepper_name:
            old, new = found.key.digest, digests[0]
            await self._database.write(keys.rehash, key_id=found.key.id, old=old, new=new, pepper=self._pepper_name)
        for limit, _ in found.budgets:
            if limit.period_end is not None and limit.period_end <= now:
                await self._database.write(ledger.start_period, id=limit.id, now=now)
        if found.next_expiry is not None and found.next_expiry <= now:
            await self._database.write(credits.expire, account_id=found.key.account_id, now=now)
            found.next_expiry = None  # what is left of it is held by running generations: no new one can use it
        return _caller(found, self._free)


class _Found(msgspec.Struct):
    """What the database knows of a key."""

    key: Key
    budgets: list[tuple[Account, str]]
    next_expiry: int | None
    limits: AccountLimits | None
    free_tier: bool
    rules: Rules
    own: list[tuple[str, str, str]]
    choice: Choice
    standing: Standing


def _fresh(read_at: int, caller: Caller | None, now: int) -> bool:
    """A clock that is set back must not make a remembered key immortal."""
    expires_at = caller.credit_expires_at if caller else None
    return 0 <= now - read_at < FRESH_MS and (expires_at is None or now < expires_at)


def _find(session: Session, *digests: str) -> _Found | None:
    found = keys.find(session, *digests)
    if found is None:
        return None
    key, budgets = found
    return _Found(
        key=key,
        budgets=budgets,
        next_expiry=credits.next_expiry(session, key.account_id),
        limits=account_limits.of(session, key.account_id),
        free_tier=account_limits.free_tier(session, key.account_id),
        rules=account_rules.of(session, key.account_id),
        own=own_keys.of(session, key.account_id),
        choice=account_privacy.of(session, key.account_id),
        standing=account_states.of(session, key.account_id),
    )


def _caller(found: _Found, free: Scope | None) -> Caller:
    key = found.key
    return Caller(
        account_id=key.account_id,
        key_id=key.id,
        kind=key.kind,
        budgets=tuple(limit.id for limit, _ in found.budgets),
        budget_scopes=tuple(scope for _, scope in found.budgets),
        credit_expires_at=found.next_expiry,
        limits=account_limits.scopes(key, found.limits, free if found.free_tier else None),
        rules=key_policy.bound(found.rules, key.data_policy),
        own_keys={provider: id for provider, id, _ in found.own} if found.own else NO_KEYS,
        own_sealed=Sealed(tuple((id, sealed) for _, id, sealed in found.own)) if found.own else NOTHING_SEALED,
        choice=found.choice,
        level=strictest(found.choice.privacy.logging, stored_level(key.logging)),
        free_tier=found.free_tier,
        standing=found.standing,
        requests_per_minute=key.requests_per_minute,
        expires_at=key.expires_at,
        disabled=key.disabled_at is not None,
        revoked=key.revoked_at is not None,
    )

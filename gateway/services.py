"""Everything a serving process needs, opened in order and closed in reverse."""

import asyncio
import gc
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.background import Background
from gateway.lifeline import Lifeline
from gateway.metrics import Metrics
from gateway.people import People
from gateway.settings import Settings
from gateway.tariff import Tariffs, tariffs
from gateway.telemetry import ANALYTICS_SECONDS, Telemetry, metrics_of
from gateway.watch import Watch
from gateway.workers import Chores, inside
from metering import generations, tokens
from metering.database import Database, open_database
from metering.ledger import Ledger
from metering.money import now_ms
from metering.notary import Notary
from metering.signing import Signer
from metering.tokens import Tokenizer
from migrations.upgrade import upgrade
from policy import audit, keys, limits
from policy.caller import Callers
from policy.health import Health, NoHealth
from policy.health_memory import MemoryHealth
from policy.health_redis import RedisHealth
from policy.keyring import Keyring, keyring
from policy.limits import Guard, Scope
from policy.limits_memory import MemoryLimits
from policy.limits_redis import RedisLimits
from policy.retries import Retries
from policy.sticky import Sticky
from policy.sticky_memory import MemorySticky
from policy.sticky_redis import RedisSticky
from policy.tapes import Tapes
from policy.tapes_memory import MemoryTapes
from policy.tapes_redis import RedisTapes
from providers import catalog, registry
from providers.catalog import Catalog
from providers.provider import Dialect
from providers.wire import Bounds, Wire

HEALTH_SECONDS: Final = 1.0
COLLECT_AFTER: Final = (20_000, 20, 50)
"""For `gc.set_threshold`. Requests leave no cycles to speak of; at Python's own 700 the collector took a tenth of the processor."""
SETTLE_SECONDS_MAX: Final = 15
"""How long a stopping process waits for its last settlements to be written."""

_log = logging.getLogger("tollway.services")


@dataclass(frozen=True, kw_only=True)
class Services:
    """Handed to every request. `pepper` hashes API keys; `provider_keys` are the providers' keys by variable name."""

    settings: Settings
    database: Database
    ledger: Ledger
    callers: Callers
    limits: Guard
    health: Health
    retries: Retries
    sticky: Sticky
    tapes: Tapes
    catalog: Catalog
    tariffs: Tariffs
    dialects: Mapping[str, Dialect]
    wire: Wire
    watch: Watch
    background: Background
    telemetry: Telemetry
    lifeline: Lifeline
    notary: Notary
    chores: Chores | None
    people: People
    wrapper: Keyring = field(repr=False)
    pepper: bytes = field(repr=False)
    provider_keys: Mapping[str, str] = field(repr=False)

    def tokenizer(self, name: str) -> Tokenizer:
        return tokens.tokenizer(name)

    @classmethod
    async def open(cls, settings: Settings, metrics: Metrics | None = None) -> "Services":
        """Checks the catalog, brings the database up to date, registers this boot, and loads what no request should wait for."""
        loaded, ring = catalog.load(settings.catalog or None), keyring(settings.content_keys, settings.secrets, secrets.token_bytes)
        database = open_database(settings.database_url)
        await database.write(lambda session: upgrade(session.connection()))
        listed = loaded.prices()
        charged = tariffs(listed, fee_bps=settings.byok_fee_bps, discount_bps=settings.sharing_discount_bps)
        await database.write(generations.remember_prices, {**listed, **charged.prices()}, now=now_ms())
        await asyncio.to_thread(tokens.warm, "o200k_base")
        pepper, *older = (keys.derive(each, "key-pepper") for each in settings.secrets)
        wire, watch, books = Wire(_bounds(settings)), Watch(settings), Ledger(database)
        lifeline = Lifeline(database, books, watch)
        await lifeline.start()
        notary = Notary(database, Signer(keys.derive(settings.secret_key, "ledger-checkpoints")), beside=audit.head)
        services = cls(
            settings=settings,
            database=database,
            ledger=books,
            callers=Callers(database, pepper, older=tuple(older), free=_free_tier(settings)),
            limits=Guard(RedisLimits(settings.redis_url) if settings.redis_url else MemoryLimits(), now_ms),
            health=_health(settings, books.boot_id),
            retries=Retries(),
            sticky=RedisSticky(settings.redis_url, now_ms) if settings.redis_url else MemorySticky(now_ms),
            tapes=RedisTapes(settings.redis_url) if settings.redis_url else MemoryTapes(asyncio.get_running_loop().time),
            catalog=loaded,
            tariffs=charged,
            dialects=registry.dialects(wire),
            wire=wire,
            watch=watch,
            background=Background(),
            telemetry=Telemetry.open(settings, metrics or metrics_of(settings), loaded.models),
            lifeline=lifeline,
            notary=notary,
            chores=inside(database, notary, settings.database_url) if settings.chores == "on" else None,
            people=People.open(settings, database),
            wrapper=ring,
            pepper=pepper,
            provider_keys=settings.provider_keys({e.provider.api_key_env for e in loaded.every_endpoint() if e.provider.api_key_env}),
        )
        services.watch.start()
        services.background.start(HEALTH_SECONDS, services.health.sync)
        services.background.start(limits.RENEW_SECONDS, services.limits.keep_places)
        services.background.start(0.0, services.people.post.deliver)
        if (analytics := services.telemetry.analytics) is not None:
            services.background.start(ANALYTICS_SECONDS, analytics.flush)
        if services.chores is not None:
            services.chores.start()
        collect_rarely()
        return services

    async def close(self) -> None:
        if self.chores is not None:
            await self.chores.stop()
        try:
            async with asyncio.timeout(SETTLE_SECONDS_MAX):
                await self.watch.drain()
                await self.ledger.flush()
        except TimeoutError:
            _log.error("%d generations could not be settled: the database does not answer; their holds stay open", len(self.watch.live))
        await self.people.post.flush()
        await self.background.stop()
        await self.people.aclose()
        await self.telemetry.aclose()
        await self.lifeline.stop()
        await self.wire.aclose()
        await self.limits.aclose()
        await self.health.aclose()
        await self.sticky.aclose()
        await self.tapes.aclose()
        await self.database.aclose()


def collect_rarely() -> None:
    """For a process that has loaded everything and now serves."""
    gc.collect()
    gc.freeze()  # what is loaded by now stays for ever: the collector need not walk it again for every few requests
    gc.set_threshold(*COLLECT_AFTER)


def _health(settings: Settings, process: str) -> Health:
    if settings.health == "off":
        return NoHealth()
    return RedisHealth(settings.redis_url, process) if settings.redis_url else MemoryHealth()


def _free_tier(settings: Settings) -> Scope | None:
    """The limits of accounts that never had paid credit; which account is meant is filled in by `account_limits.scopes`."""
    free = Scope(
        account_id="",
        id="",
        whose="free_tier",
        requests_per_minute=settings.free_requests_per_minute or None,
        tokens_per_minute=settings.free_tokens_per_minute or None,
        concurrency=settings.free_concurrency or None,
    )
    return free if free.limited else None


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        connect_seconds=settings.connect_seconds,
        connections_max=settings.upstream_connections_max,
        response_bytes_max=settings.response_bytes_max,
        event_bytes_max=settings.event_bytes_max,
    )

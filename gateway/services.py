"""Everything a serving process needs, opened in order and closed in reverse."""

import asyncio
import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.lifeline import Lifeline
from gateway.settings import Settings
from gateway.watch import Watch
from metering import generations, tokens
from metering.database import Database, open_database
from metering.ledger import Ledger
from metering.money import now_ms
from metering.tokens import Tokenizer
from migrations.upgrade import upgrade
from policy import keys
from policy.caller import Callers
from policy.limits import Guard, Limits
from policy.limits_memory import MemoryLimits
from policy.limits_redis import RedisLimits
from providers import catalog, registry
from providers.catalog import Catalog
from providers.provider import Dialect
from providers.wire import Bounds, Wire

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
    limits: Limits
    catalog: Catalog
    dialects: Mapping[str, Dialect]
    wire: Wire
    watch: Watch
    lifeline: Lifeline
    pepper: bytes = field(repr=False)
    provider_keys: Mapping[str, str] = field(repr=False)

    def tokenizer(self, name: str) -> Tokenizer:
        return tokens.tokenizer(name)

    @classmethod
    async def open(cls, settings: Settings) -> "Services":
        """Checks the catalog, brings the database up to date, registers this boot, and loads what no request should wait for."""
        loaded = catalog.load(settings.catalog or None)
        database = open_database(settings.database_url)
        await database.write(lambda session: upgrade(session.connection()))
        await database.write(generations.remember_prices, loaded.prices(), now=now_ms())
        await asyncio.to_thread(tokens.warm, "o200k_base")
        pepper = keys.derive(settings.secret_key, "key-pepper")
        wire, watch, books = Wire(_bounds(settings)), Watch(settings), Ledger(database)
        lifeline = Lifeline(database, books, watch)
        await lifeline.start()
        services = cls(
            settings=settings,
            database=database,
            ledger=books,
            callers=Callers(database, pepper),
            limits=Guard(RedisLimits(settings.redis_url) if settings.redis_url else MemoryLimits(), now_ms),
            catalog=loaded,
            dialects=registry.dialects(wire),
            wire=wire,
            watch=watch,
            lifeline=lifeline,
            pepper=pepper,
            provider_keys=settings.provider_keys({e.provider.api_key_env for e in loaded.every_endpoint() if e.provider.api_key_env}),
        )
        services.watch.start()
        gc.collect()
        gc.freeze()  # what is loaded by now stays for ever: the collector need not walk it again for every few requests
        return services

    async def close(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS_MAX):
                await self.watch.drain()
                await self.ledger.flush()
        except TimeoutError:
            _log.error("%d generations could not be settled: the database does not answer; their holds stay open", len(self.watch.live))
        await self.lifeline.stop()
        await self.wire.aclose()
        await self.limits.aclose()
        await self.database.aclose()


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        connect_seconds=settings.connect_seconds,
        connections_max=settings.upstream_connections_max,
        response_bytes_max=settings.response_bytes_max,
        event_bytes_max=settings.event_bytes_max,
    )

"""Sticky routes: the same promises from memory and from Redis, and no word of a client in either."""

import asyncio
import logging
import pickle
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from policy.sticky import LIFETIME_MS, Sticky, conversation
from policy.sticky_memory import MemorySticky
from policy.sticky_redis import PREFIX, RedisSticky
from providers.content import Content
from providers.provider import ChatRequest
from tests import servers

SECRET = "a-secret-for-tests-of-40-characters-long"
CANARY = "canary-7f3a9"


class Clock:
    now_ms = 1_760_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture(params=["memory", "redis"])
async def sticky(request: pytest.FixtureRequest) -> AsyncIterator[Sticky]:
    store: Sticky = MemorySticky(Clock()) if request.param == "memory" else _redis_sticky(request.getfixturevalue("redis_url"))
    yield store
    await store.aclose()


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


def _redis_sticky(url: str) -> RedisSticky:
    return RedisSticky(url, Clock(), timeout_ms=20_000)


async def test_a_route_is_found_until_it_is_dropped(sticky: Sticky, key: str) -> None:
    assert await sticky.find(key) is None
    await sticky.keep(key, "acme/fast-1")
    assert [await sticky.find(key) for _ in range(2)] == ["acme/fast-1"] * 2
    await sticky.keep(key, "other/fast-1")
    assert await sticky.find(key) == "other/fast-1"
    assert await sticky.find(key + "x") is None
    await sticky.drop(key)
    await sticky.drop(key)
    assert await sticky.find(key) is None


async def test_ten_minutes_begin_anew_with_every_use(key: str) -> None:
    clock = Clock()
    sticky = MemorySticky(clock)
    await sticky.keep(key, "acme/fast-1")
    for _ in range(5):
        clock.now_ms += LIFETIME_MS - 1
        assert await sticky.find(key)
    clock.now_ms += LIFETIME_MS
    assert await sticky.find(key) is None
    assert len(sticky) == 0


async def test_redis_keeps_a_route_for_ten_minutes_after_its_last_use(redis_url: str, key: str) -> None:
    sticky = _redis_sticky(redis_url)
    await sticky.keep(key, "acme/fast-1")
    assert LIFETIME_MS - 60_000 < await sticky._redis.pttl(PREFIX + key) <= LIFETIME_MS
    await sticky._redis.pexpire(PREFIX + key, 30_000)
    await sticky.find(key)
    assert await sticky._redis.pttl(PREFIX + key) > LIFETIME_MS - 60_000
    await sticky.find(key + "x")
    assert not await sticky._redis.exists(PREFIX + key + "x")
    await sticky.aclose()


async def test_memory_keeps_the_routes_used_last() -> None:
    sticky = MemorySticky(Clock(), routes_max=10)
    await sticky.keep("busy", "acme/fast-1")
    for number in range(100):
        await sticky.keep(f"key {number}", "acme/fast-1")
        assert await sticky.find("busy")
    assert len(sticky) == 10


async def test_memory_forgets_what_has_expired() -> None:
    clock = Clock()
    sticky = MemorySticky(clock)
    for number in range(100):
        await sticky.keep(f"key {number}", "acme/fast-1")
    clock.now_ms += LIFETIME_MS
    await sticky.keep("new", "acme/fast-1")
    assert len(sticky) == 1


@pytest.mark.parametrize("session_id", [None, f"{CANARY}-session"])
async def test_no_store_holds_a_word_of_the_client(key: str, session_id: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    messages = [{"role": "system", "content": f"{CANARY} system"}, {"role": "user", "content": f"{CANARY} user"}]
    request = ChatRequest(
        body=Content({"messages": messages, "user": CANARY}),
        model="acme/fast-1",
        stream=True,
        include_usage=False,
        max_tokens=None,
        n=1,
        prompt_tokens_max=10,
    )
    found = conversation(f"acc_{key}", request, session_id, secret=SECRET)
    assert found is not None
    memory = MemorySticky(Clock())
    with servers.redis() as url:
        redis = _redis_sticky(url)
        for store in (memory, redis):
            await store.keep(found.key, "acme/fast-1")
            assert await store.find(found.key) == "acme/fast-1"
        stored = b"".join([await redis._redis.dump(name) + name async for name in redis._redis.scan_iter("*")])
        assert found.key.encode() in stored
        await redis.aclose()
    for text in (stored, pickle.dumps(dict(memory._routes)), caplog.text.encode()):
        assert CANARY.encode() not in text
        assert key.encode() not in text


# Redis fails


async def test_a_redis_that_is_gone_means_no_routes_and_no_errors(key: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with servers.redis() as url:
        sticky = RedisSticky(url, clock, timeout_ms=5_000)
        await sticky.keep(key, "acme/fast-1")
        assert await sticky.find(key) == "acme/fast-1"
    for _ in range(3):
        assert await sticky.find(key) is None
        await sticky.keep(key, "acme/fast-1")
        await sticky.drop(key)
        clock.now_ms += 1_000
    assert sticky.failures == 9
    assert len(caplog.records) == 1
    await sticky.aclose()


async def test_a_redis_that_hangs_is_left_alone_for_a_second(key: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    sticky = RedisSticky(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", Clock(), timeout_ms=250)
    began = time.monotonic()
    assert await sticky.find(key) is None
    first = time.monotonic()
    for _ in range(100):
        assert await sticky.find(key) is None
    assert 0.2 < first - began < 2
    assert time.monotonic() - first < 0.1
    await sticky.aclose()
    server.close()
    await server.wait_closed()

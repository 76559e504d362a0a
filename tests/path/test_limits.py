"""Limits of a key as its client meets them: 429 and when to come back, budgets that start anew, two processes that count together."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import servers
from tests.fakes.process import Fake
from tests.hostile import CATALOG, MODEL, Client, Place, ask, place
from tests.running import Tollway, tollway

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One process, limits in memory."""
    with place(tmp_path_factory.mktemp("limits")) as running:
        yield running


class Pair(NamedTuple):
    """Two processes on one Postgres and one Redis."""

    one: Tollway
    two: Tollway
    account_id: str


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, alone: Place, postgres_url: str, postgres_template: str, redis_url: str
) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(servers.database(postgres_url, template=postgres_template))
        one, two = (
            stack.enter_context(tollway(_settings(alone.fake, url, redis_url, folder), folder))
            for folder in (tmp_path_factory.mktemp(name) for name in ("one", "two"))
        )
        yield Pair(one, two, one.account().account_id)


def _settings(fake: Fake, database: str, redis: str, folder: Path) -> dict[str, str]:
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG.format(model=MODEL, base_url=fake.base_url, upstream="fast-1"))
    return {"TOLLWAY_DATABASE_URL": database, "TOLLWAY_REDIS_URL": redis, "TOLLWAY_CATALOG": str(catalog), "ACME_API_KEY": "k"}


def new_key(running: Tollway, account_id: str, *options: str) -> dict[str, Any]:
    created: dict[str, Any] = running.cli_json("key", "create", "--account", account_id, *options)
    return created


@contextlib.contextmanager
def clients(key: str, *running: Tollway) -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Client(each.port, key))) for each in running]


# Requests and tokens per minute


@pytest.mark.parametrize("stream", [False, True])
def test_one_request_more_than_the_limit_is_429_and_says_when_to_come_back(alone: Place, stream: bool) -> None:
    key = new_key(alone.tollway, alone.account.account_id, "--requests-per-minute", "3")["key"]
    before = alone.books()
    client = alone.client(key)
    assert [client.chat(ask(stream=stream)).status for _ in range(3)] == [200] * 3
    refused = client.chat(ask(stream=stream))
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    seconds = refused.error["metadata"]["retry_after_seconds"]
    assert 1 <= seconds <= 61
    assert refused.headers["retry-after"] == str(seconds)
    assert refused.error["metadata"]["limit_source"] == "tollway_key_limit"
    assert "3 requests per minute" in refused.error["message"]
    books = alone.books()
    assert (books.held, books.generations) == (0, before.generations + 3)


def test_requests_that_are_refused_before_the_limits_take_nothing_of_them(alone: Place) -> None:
    client = alone.client(new_key(alone.tollway, alone.account.account_id, "--requests-per-minute", "1")["key"])
    assert {client.chat(body).status for body in (b"{", ask(n=0), ask(model="no/such"), ask(provider={"x": 1}))} == {400}
    assert client.chat(ask()).status == 200
    assert client.chat(ask()).status == 429


def test_tokens_per_minute_count_what_was_used_and_not_what_was_estimated(alone: Place) -> None:
    """The fake bills 4 prompt and 3 completion tokens; the estimate by size is far more, and is given back."""
    client = alone.client(new_key(alone.tollway, alone.account.account_id, "--tokens-per-minute", "600")["key"])
    assert [client.chat(ask()).status for _ in range(20)] == [200] * 20
    long = [{"role": "user", "content": "word " * 800}]
    assert client.chat(ask(messages=long)).status == 429
    assert client.chat(ask()).status == 200


def test_more_tokens_than_the_limit_are_429_with_retry_after(alone: Place) -> None:
    client = alone.client(new_key(alone.tollway, alone.account.account_id, "--tokens-per-minute", "200")["key"])
    assert client.chat(ask(messages=[{"role": "user", "content": "word " * 300}])).status == 200
    refused = client.chat(ask())
    assert refused.status == 429
    assert "200 tokens per minute" in refused.error["message"]
    assert refused.headers["retry-after"] == str(refused.error["metadata"]["retry_after_seconds"])


def test_a_request_that_fails_gives_its_tokens_back(alone: Place) -> None:
    client = alone.client(new_key(alone.tollway, alone.account.account_id, "--tokens-per-minute", "120")["key"])
    alone.fake.fault("fast-1", fault="status", status=500)
    assert [client.chat(ask()).status for _ in range(6)] == [502] * 6
    alone.fake.reset()
    assert client.chat(ask()).status == 200


@pytest.mark.parametrize(("option", "body"), [("--requests-per-minute", ask()), ("--tokens-per-minute", ask())])
def test_two_processes_on_one_redis_share_the_limit(pair: Pair, option: str, body: dict[str, Any]) -> None:
    limit = "4" if option == "--requests-per-minute" else "28"  # the fake bills 7 tokens for this request
    key = new_key(pair.one, pair.account_id, option, limit)["key"]
    with clients(key, pair.one, pair.two) as (one, two):
        seen = [client.chat(body).status for _ in range(4) for client in (one, two)]
    assert seen.count(200) <= 4
    assert seen[0] == 200
    assert set(seen) == {200, 429}


# Budgets


def test_the_402_of_a_key_that_has_spent_its_budget_names_the_key(alone: Place) -> None:
    key = new_key(alone.tollway, alone.account.account_id, "--limit", "0.000003")["key"]
    client = alone.client(key)
    assert client.chat(ask(max_tokens=1)).status == 200
    for _ in range(5):
        answer = client.chat(ask(max_tokens=1))
    assert (answer.status, answer.error["type"]) == (402, "insufficient_quota")
    assert answer.error["metadata"]["limit_source"] == "tollway_key_limit"
    assert "this key's limit" in answer.error["message"]
    assert alone.client().chat(ask()).status == 200
    shown = alone.tollway.get("/key", key)["data"]
    assert 0 <= shown["limit_remaining"] < 0.000003
    assert shown["usage"] + shown["limit_remaining"] == pytest.approx(0.000003, abs=1e-12)


def test_a_budget_that_is_reset_lets_requests_pass_again(alone: Place) -> None:
    created = new_key(alone.tollway, alone.account.account_id, "--limit", "0.000003", "--reset", "daily")
    client = alone.client(created["key"])
    statuses = [client.chat(ask(max_tokens=1)).status for _ in range(6)]
    assert (statuses[0], statuses[-1]) == (200, 402)
    _a_period_later(alone.database, created["id"].replace("key_", "lim_"))
    time.sleep(1.1)  # callers are remembered for a second
    assert client.chat(ask(max_tokens=1)).status == 200
    verified = alone.tollway.cli("ledger", "verify")
    assert verified.returncode == 0, verified.stdout


def _a_period_later(database: Path, limit_id: str) -> None:
    """Moves the limit's period, and what was charged in it, 40 days into the past."""
    past = 40 * DAY_MS
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        moved = "UPDATE account SET period_start = period_start - ?, period_end = period_end - ? WHERE id = ?"
        assert connection.execute(moved, (past, past, limit_id)).rowcount == 1
        connection.execute("UPDATE hold SET closed_at = closed_at - ? WHERE limits = ?", (past, limit_id))


# Keys between processes, and a Redis that dies


def test_a_key_revoked_on_one_process_is_dead_on_the_other_within_5_seconds(pair: Pair) -> None:
    created = new_key(pair.one, pair.account_id)
    with clients(created["key"], pair.one, pair.two) as both:
        assert [client.chat(ask()).status for client in both] == [200, 200]
        assert pair.one.cli("key", "revoke", created["id"]).returncode == 0
        deadline = time.monotonic() + 5
        while {client.chat(ask()).status for client in both} != {401}:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    "path", ["/generation?id=%00", "/generation?id=%ff", "/generation?id=" + "x" * 5000, "/generation?id='--", "/models/%00/a"]
)
def test_no_parameter_is_a_500_on_postgres(pair: Pair, path: str) -> None:
    key = new_key(pair.one, pair.account_id)["key"]
    with clients(key, pair.one) as (client,):
        answer = client.send("GET", f"/v1{path}")
        assert answer.status in (400, 404), answer.body
        assert answer.error["code"] == answer.status


def test_requests_pass_while_redis_is_dead(alone: Place, postgres_url: str, postgres_template: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as redis:
        url = stack.enter_context(servers.database(postgres_url, template=postgres_template))
        running = stack.enter_context(tollway(_settings(alone.fake, url, redis.enter_context(servers.redis()), tmp_path), tmp_path))
        key = new_key(running, running.account().account_id, "--requests-per-minute", "1")["key"]
        [client] = stack.enter_context(clients(key, running))
        assert [client.chat(ask()).status for _ in range(2)] == [200, 429]
        redis.close()
        began = time.monotonic()
        assert [client.chat(ask()).status for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 5
        assert "limits are not enforced" in running.log.read_text()
        assert running.cli("ledger", "verify").returncode == 0


def test_a_redis_that_is_not_there_at_the_start_does_not_stop_the_server(tmp_path: Path) -> None:
    with place(tmp_path, TOLLWAY_REDIS_URL=f"redis://127.0.0.1:{servers.free_port()}/0") as running:
        key = new_key(running.tollway, running.account.account_id, "--requests-per-minute", "1")["key"]
        assert [running.client(key).chat(ask()).status for _ in range(3)] == [200] * 3

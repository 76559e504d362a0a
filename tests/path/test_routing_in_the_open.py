"""What a request may see of its route and its time, and how a server says that it is too busy for one more."""

import asyncio
import contextlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import Session, select

from metering.batch import OPEN
from metering.database import open_database
from metering.money import now_ms
from policy import account_limits
from policy.tables import Key
from tests import books
from tests.path.client import PROMPT, calling
from tests.path.promises import ALL, TWO, Routes, routes

CANARY = PROMPT.split()[-1].rstrip(".")
TRACED = {"X-Tollway-Trace": "on"}
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
HELD = "two-a"
"""Answers slowly, so that a request to it runs until its client leaves."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    with routes(tmp_path_factory.mktemp("open"), TOLLWAY_HEALTH="off", TOLLWAY_GENERATIONS_MAX="2") as place:
        yield place


@pytest.fixture
def at(running: Routes) -> Routes:
    running.fake.reset()
    return running


# The trace


@STREAMED
def test_a_traced_answer_says_how_it_came_about(at: Routes, stream: bool) -> None:
    at.fail("all-a")
    answer = at.ask(ALL, TRACED, stream=stream, provider={"order": ["a", "c"], "ignore": ["b"]})
    trace = (answer.events[-1] if stream else answer.json)["tollway_trace"]
    assert trace.keys() == {"endpoints", "funnel", "ceiling_usd", "held_usd", "attempts", "timing_ms"}
    assert [each["endpoint"] for each in trace["endpoints"]] == [f"{slug}/{ALL}" for slug in "acd"]
    assert trace["endpoints"][0]["why"].startswith("number 1 in provider.order")
    assert {each["tier"] for each in trace["endpoints"]} == {"healthy"}
    assert trace["funnel"][1] == {
        "step": "Filter by provider.ignore",
        "endpoint_count": 3,
        "removed": {f"b/{ALL}": "in provider.ignore"},
    }
    assert [(each["endpoint"], each["status"], each["error_class"]) for each in trace["attempts"]] == [
        (f"a/{ALL}", 500, "ProviderUnavailable"),
        (f"c/{ALL}", 200, None),
    ]
    assert {"auth", "route", "hold", "connect", "provider", "settle"} <= trace["timing_ms"].keys()
    assert float(trace["held_usd"]) >= float(trace["ceiling_usd"]) > 0
    assert CANARY not in str(trace)


@STREAMED
def test_a_traced_failure_says_what_was_tried(at: Routes, stream: bool) -> None:
    at.fail()
    answer = at.ask(ALL, TRACED, stream=stream, provider={"only": ["a", "b"]})
    trace = answer.error["metadata"]["tollway_trace"]
    assert answer.status == 502
    assert {each["provider"] for each in trace["attempts"]} == {"a", "b"}
    assert trace["funnel"][-1]["endpoint_count"] == 2
    assert CANARY not in answer.body.decode()


@STREAMED
@pytest.mark.parametrize("headers", [{}, {"X-Tollway-Trace": "off"}])
def test_who_does_not_ask_gets_no_trace(at: Routes, headers: dict[str, str], stream: bool) -> None:
    assert b"tollway_trace" not in at.ask(ALL, headers, stream=stream).body
    at.fail()
    assert b"tollway_trace" not in at.ask(ALL, headers, stream=stream).body


# Server-Timing


@STREAMED
def test_an_answer_says_where_its_time_went(at: Routes, stream: bool) -> None:
    began = time.monotonic()
    stages = timing(at.ask(ALL, stream=stream).headers)
    elapsed_ms = (time.monotonic() - began) * 1000
    wanted = ["auth", "body", "route", "hold", "connect", "provider"]
    assert list(stages) == (wanted if stream else [*wanted, "settle"])
    assert 0 < sum(stages.values()) <= elapsed_ms


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/health/live", False, 200),
        ("/v1/models", False, 200),
        ("/v1/key", True, 200),
        ("/v1/key", False, 401),
        ("/v1/generation", True, 400),
        ("/v1/nothing", True, 404),
        ("/v1/chat/completions", True, 405),
    ],
)
def test_every_other_response_says_how_long_it_took(at: Routes, path: str, key: bool, status: int) -> None:
    url = f"http://127.0.0.1:{at.tollway.port}{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {at.account.key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            found = response.status, dict(response.headers.items())
    except urllib.error.HTTPError as error:
        found = error.code, dict(error.headers.items())
    assert found[0] == status
    assert timing({name.lower(): value for name, value in found[1].items()})["total"] > 0


@pytest.mark.parametrize(("key", "body", "status"), [("wrong", {}, 401), ("", {"n": 0}, 400), ("", {"preset": "none"}, 400)])
def test_a_refusal_says_how_long_it_took(at: Routes, key: str, body: dict[str, Any], status: int) -> None:
    answer = at.ask(ALL, key=key, **body)
    stages = timing(answer.headers)
    assert (answer.status, list(stages)) == (status, ["refusal"] if status == 401 else ["auth", "refusal"])
    assert sum(stages.values()) > 0


# Places


@STREAMED
def test_a_key_with_one_place_has_one_request_at_once(at: Routes, stream: bool) -> None:
    with limited(at, key=1):
        _one_at_a_time(at, "tollway_key_limit", stream=stream)


@STREAMED
def test_an_account_with_one_place_has_one_request_at_once_over_all_its_keys(at: Routes, stream: bool) -> None:
    with limited(at, account=1):
        _one_at_a_time(at, "tollway_account_limit", stream=stream)


@STREAMED
def test_a_full_server_refuses_at_once_and_holds_nothing(at: Routes, stream: bool) -> None:
    at.fake.fault(HELD, fault="endless", ms=20)
    with running_request(at), running_request(at):
        refused = at.ask(TWO, stream=stream, provider={"only": ["b"]})
        assert (refused.status, refused.error["metadata"]["error_type"]) == (503, "provider_overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert "x-generation-id" not in refused.headers
        assert "2 generations" in refused.error["message"]
        assert at.tried() == [HELD, HELD]
        assert len(open_holds(at)) == 2
    _wait_until_served(at, stream=stream)


def _one_at_a_time(at: Routes, source: str, *, stream: bool) -> None:
    at.fake.fault(HELD, fault="endless", ms=20)
    with running_request(at):
        refused = at.ask(TWO, stream=stream, provider={"only": ["b"]})
        metadata = refused.error["metadata"]
        assert (refused.status, metadata["error_type"], metadata["limit_source"]) == (429, "rate_limit_exceeded", source)
        assert refused.headers["retry-after"] == str(metadata["retry_after_seconds"])
        assert "1 requests at once" in refused.error["message"]
        assert len(open_holds(at)) == 1
    _wait_until_served(at, stream=stream)
    for _ in range(3):
        assert at.ask(TWO, stream=stream, provider={"only": ["b"]}).status == 200


def _wait_until_served(at: Routes, *, stream: bool) -> None:
    """The place of a client that left is free as soon as its leaving was noticed."""
    until = time.monotonic() + 3
    while (answer := at.ask(TWO, stream=stream, provider={"only": ["b"]})).status != 200:
        assert time.monotonic() < until, answer.body
        time.sleep(0.05)


@contextlib.contextmanager
def running_request(at: Routes) -> Iterator[None]:
    """A stream whose first content has come; its client leaves at the end."""
    with calling(at.tollway.port, at.account.key, TWO, stream=True, provider={"only": ["a"]}) as line:
        line.read_until(b'"content":"')
        yield


@contextlib.contextmanager
def limited(at: Routes, **places: int) -> Iterator[None]:
    """With so many places for the key or the account, once nobody remembers that there was no limit."""
    _limit(at, **places)
    try:
        yield
    finally:
        _limit(at)


def _limit(at: Routes, key: int | None = None, account: int | None = None) -> None:
    def put(session: Session) -> None:
        id = at.account.account_id
        account_limits.set_limits(session, id, requests_per_minute=None, tokens_per_minute=None, concurrency=account, now=now_ms())
        for row in session.exec(select(Key).where(Key.account_id == id)):
            row.concurrency = key

    async def write() -> None:
        database = open_database(at.database_url)
        try:
            await database.write(put)
        finally:
            await database.aclose()
        await asyncio.sleep(1.1)

    asyncio.run(write())


def open_holds(at: Routes) -> list[Any]:
    return asyncio.run(books.sql(at.database_url, f"SELECT id FROM hold WHERE state = {OPEN}"))


def timing(headers: dict[str, str]) -> dict[str, float]:
    """Milliseconds by stage."""
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([0-9.]+)", headers["server-timing"])}

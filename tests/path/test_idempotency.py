"""A request with an Idempotency-Key, seen from outside: sent and charged once, and a repetition is told what became of it."""

import asyncio
import contextlib
import itertools
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlmodel import SQLModel

from metering.money import now_ms
from policy import idempotency
from policy.idempotency import HOLD_WITHIN_MS, Claimed
from tests import books
from tests.fakes.faults import Json
from tests.path.claims import assert_charged, assert_complete, assert_error
from tests.path.client import PROMPT, Answer, ask, calling
from tests.path.models import model_id, upstream
from tests.path.place import Place, billed, charge_for
from tests.running import SECRET, Account, tollway

PLAIN, PLANNED = model_id("plain"), model_id("planned")
WORDS = " ".join(["word"] * 400)
CONTENT = b'"content":"'
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
_numbers = itertools.count(1)


@pytest.fixture
def owner(quiet: Place) -> Account:
    return quiet.account()


@pytest.fixture
def key() -> dict[str, str]:
    """The header, with a value that no other test uses."""
    return {"Idempotency-Key": f"canary-key-{next(_numbers)}"}


@pytest.fixture(scope="module")
def ports(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Of every Tollway on the database: two processes on Postgres; SQLite takes one."""
    settings = {name: value for name, value in place.tollway.environment.items() if name not in ("TOLLWAY_PORT", "TOLLWAY_HOST")}
    with contextlib.ExitStack() as stack:
        more = []
        if settings["TOLLWAY_DATABASE_URL"].startswith("postgres"):
            more.append(stack.enter_context(tollway(settings, tmp_path_factory.mktemp("second"))).port)
        yield [place.tollway.port, *more]


@MODES
def test_of_twenty_equal_requests_one_is_answered_and_charged(
    quiet: Place, owner: Account, key: dict[str, str], ports: list[int], stream: bool
) -> None:
    quiet.fake.fault("planned", fault="slow-first-token", ms=300)

    def send(number: int) -> Answer:
        return ask(ports[number % len(ports)], owner.key, PLANNED, headers=key, stream=stream)

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(send, range(20)))
    assert Counter(answer.status for answer in answers) == {200: 1, 409: 19}
    [served] = [answer for answer in answers if answer.status == 200]
    assert_complete(served, stream=stream)
    for answer in answers:
        assert answer.headers["x-generation-id"] == served.headers["x-generation-id"]
    assert any(answer.error["metadata"]["error_type"] == "idempotency_in_progress" for answer in answers if answer is not served)
    rows = quiet.fake.settled("planned")
    assert len(rows) == 1
    assert_charged(quiet, owner, served, since=Decimal(), expected=cost_of(rows))
    for port in ports:
        assert_ended(quiet, owner, ask(port, owner.key, PLANNED, headers=key, stream=stream), served)
    assert len(quiet.fake.ledger("planned")) == 1
    quiet.verify()


def test_a_running_request_is_named_and_may_be_asked_for_again(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=WORDS)
    with calling(quiet.tollway.port, owner.key, PLANNED, stream=True, headers=key) as line:
        line.read_until(CONTENT)
        answer = quiet.ask(owner, PLANNED, stream=True, headers=key)
        assert_error(answer, 409)
        metadata = answer.error["metadata"]
        assert metadata == {"error_type": "idempotency_in_progress", "reason": "still_running", "generation_id": line.generation_id}
        assert (answer.headers["x-generation-id"], answer.headers["retry-after"]) == (line.generation_id, "1")
        assert "x-should-retry" not in answer.headers
        assert f"GET /v1/generation?id={line.generation_id}" in answer.error["message"]


@MODES
def test_a_repetition_after_the_end_is_told_the_id_and_the_cost(quiet: Place, owner: Account, key: dict[str, str], stream: bool) -> None:
    first = quiet.ask(owner, PLAIN, headers=key, stream=stream)
    assert_complete(first, stream=stream)
    for _ in range(3):
        assert_ended(quiet, owner, quiet.ask(owner, PLAIN, headers=key, stream=stream), first)
    assert quiet.used(owner) == first.usage["cost"]
    assert len(quiet.fake.settled(upstream("plain"))) == 1


def test_another_body_is_refused_and_the_first_request_stays_as_it_was(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    first = quiet.ask(owner, PLAIN, headers=key)
    other = quiet.ask(owner, PLAIN, headers=key, temperature=0)
    assert_error(other, 422)
    assert (other.error["param"], other.headers["x-generation-id"]) == ("Idempotency-Key", first.headers["x-generation-id"])
    assert other.error["metadata"]["error_type"] == "idempotency_key_reused"
    assert other.error["message"].startswith("Idempotency-Key: ")
    assert_ended(quiet, owner, quiet.ask(owner, PLAIN, headers=key), first)
    assert quiet.used(owner) == first.usage["cost"]


def test_a_key_belongs_to_the_account_whatever_its_api_key(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    first = quiet.ask(owner, PLAIN, headers=key)
    assert_ended(quiet, owner, quiet.ask(quiet.limited_key(owner, "1"), PLAIN, headers=key), first)
    stranger = quiet.account()
    theirs = quiet.ask(stranger, PLAIN, headers=key)
    assert_complete(theirs, stream=False)
    assert theirs.headers["x-generation-id"] != first.headers["x-generation-id"]
    assert quiet.used(stranger) == first.usage["cost"] == quiet.used(owner)


@pytest.mark.parametrize("corrected", [False, True], ids=["unchanged", "corrected"])
def test_what_a_provider_failed_is_served_when_it_is_repeated(quiet: Place, key: dict[str, str], owner: Account, corrected: bool) -> None:
    """Also with another body: nothing was paid for the first one."""
    quiet.fake.fault("planned", fault="status", status=400)
    failed = quiet.ask(owner, PLANNED, headers=key)
    assert_error(failed, 400)
    assert quiet.used(owner) == 0
    quiet.fake.reset()
    answer = quiet.ask(owner, PLANNED, headers=key, **({"temperature": 0} if corrected else {}))
    assert_complete(answer, stream=False)
    assert answer.headers["x-generation-id"] != failed.headers["x-generation-id"]
    assert_charged(quiet, owner, answer, since=Decimal(), expected=cost_of(quiet.fake.settled("planned")))


def test_what_could_not_be_paid_is_served_as_soon_as_there_is_credit(quiet: Place, key: dict[str, str]) -> None:
    poor = quiet.account("0")
    for _ in range(2):
        assert_error(quiet.ask(poor, PLAIN, headers=key), 402)
    added = quiet.tollway.cli("credit", "add", "--account", poor.account_id, "--usd", "1", "--reason", "test")
    assert added.returncode == 0, added.stderr
    answer = quiet.ask(poor, PLAIN, headers=key)
    assert_complete(answer, stream=False)
    assert_ended(quiet, poor, quiet.ask(poor, PLAIN, headers=key), answer)


def test_what_cannot_be_planned_leaves_the_key_alone(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    assert_error(quiet.ask(owner, "fake/unheard-of", headers=key), 400)
    assert_error(quiet.ask(owner, PLAIN, headers=key, temperature="warm"), 400)
    assert_complete(quiet.ask(owner, PLAIN, headers=key), stream=False)


def test_a_client_that_left_midstream_is_told_what_it_was_charged(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=WORDS)
    with calling(quiet.tollway.port, owner.key, PLANNED, stream=True, headers=key) as line:
        line.read_until(CONTENT, times=5)
        line.leave()
    quiet.wait_until_idle()
    charged = quiet.used(owner)
    assert charged > 0
    for _ in range(2):
        answer = quiet.ask(owner, PLANNED, stream=True, headers=key)
        assert_error(answer, 409)
        assert answer.headers["x-generation-id"] == line.generation_id
        assert answer.error["metadata"]["cost"] == charged
        generation = quiet.get(owner, f"generation?id={line.generation_id}")
        assert (generation["total_cost"], generation["cancelled"]) == (charged, True)
    assert quiet.used(owner) == charged
    assert len(quiet.fake.ledger("planned")) == 1


def test_a_client_that_left_before_it_was_charged_is_served_when_it_comes_back(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=WORDS)
    with calling(quiet.tollway.port, owner.key, PLANNED, headers=key) as line:
        time.sleep(0.3)
        line.leave()
    quiet.wait_until_idle()
    assert quiet.used(owner) == 0
    quiet.fake.reset()
    answer = quiet.ask(owner, PLANNED, headers=key)
    assert_complete(answer, stream=False)
    assert quiet.used(owner) == answer.usage["cost"] > 0


@pytest.mark.parametrize("value", ["", "k" * 256, "tab\tinside", "schlüssel"], ids=["empty", "long", "tab", "umlaut"])
def test_a_key_that_cannot_be_one_is_named(quiet: Place, owner: Account, value: str) -> None:
    answer = quiet.ask(owner, PLAIN, headers={"Idempotency-Key": value})
    assert_error(answer, 400)
    assert answer.error["param"] == "Idempotency-Key"
    assert "1 to 255 printable ASCII characters" in answer.error["message"]
    assert quiet.used(owner) == 0
    assert not quiet.fake.ledger()


@pytest.mark.parametrize("value", ["!", "k" * 255, "with a space ~"], ids=["short", "long", "space"])
def test_any_printable_key_is_taken(quiet: Place, owner: Account, value: str) -> None:
    first = quiet.ask(owner, PLAIN, headers={"Idempotency-Key": value})
    assert_complete(first, stream=False)
    assert_ended(quiet, owner, quiet.ask(owner, PLAIN, headers={"Idempotency-Key": value}), first)


def test_a_large_body_is_recognised_too(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    body = {"metadata": {"padding": "x" * 400_000}}
    first = quiet.ask(owner, PLAIN, headers=key, **body)
    assert_complete(first, stream=False)
    assert_ended(quiet, owner, quiet.ask(owner, PLAIN, headers=key, **body), first)
    assert_error(quiet.ask(owner, PLAIN, headers=key, **{**body, "metadata": {"padding": "x" * 399_999 + "y"}}), 422)


def test_a_claim_whose_process_died_before_its_hold_passes_on_after_a_while(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    body: dict[str, Json] = {"model": PLAIN, "messages": [{"role": "user", "content": PROMPT}]}
    claims = idempotency.claim_of(
        key["Idempotency-Key"].encode(), json.dumps(body).encode(), account_id=owner.account_id, route="chat/completions", secrets=(SECRET,)
    )

    async def left_behind(id: str, at: int) -> None:
        async with books.connected(quiet.tollway.environment["TOLLWAY_DATABASE_URL"]) as database:
            assert await database.write(idempotency.claim, claims, generation_id=id, now=at) == Claimed()

    asyncio.run(left_behind("gen-dead-long-ago", now_ms() - 2 * HOLD_WITHIN_MS))
    asyncio.run(left_behind("gen-dead", now_ms() - HOLD_WITHIN_MS + 1500))
    early = quiet.ask(owner, PLAIN, headers=key)
    assert_error(early, 409)
    assert early.error["metadata"]["generation_id"] == "gen-dead"
    time.sleep(1.6)
    answer = quiet.ask(owner, PLAIN, headers=key)
    assert_complete(answer, stream=False)
    assert_ended(quiet, owner, quiet.ask(owner, PLAIN, headers=key), answer)


@MODES
def test_the_python_sdk_raises_a_conflict_at_once(quiet: Place, owner: Account, key: dict[str, str], stream: bool) -> None:
    """It would repeat a 409 by itself."""
    wanted: Any = {"model": PLAIN, "messages": [{"role": "user", "content": "hi"}], "stream": stream, "extra_headers": key}
    with openai.OpenAI(base_url=quiet.tollway.base_url, api_key=owner.key) as client:
        assert client.max_retries > 0
        answer = client.chat.completions.create(**wanted)
        if stream:
            assert list(answer)
        charged = quiet.used(owner)
        with pytest.raises(openai.ConflictError, match="already run as generation") as caught:
            client.chat.completions.create(**wanted)
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"
    body: Any = caught.value.body
    assert Decimal(str(body["metadata"]["cost"])) == charged == quiet.used(owner) > 0


def test_the_python_sdk_waits_for_a_running_request_and_hears_of_its_end(quiet: Place, owner: Account, key: dict[str, str]) -> None:
    quiet.fake.fault("planned", fault="slow-tokens", ms=20, text=" ".join(["word"] * 40))
    wanted: Any = {"model": PLANNED, "messages": [{"role": "user", "content": "hi"}], "stream": True, "extra_headers": key}
    with openai.OpenAI(base_url=quiet.tollway.base_url, api_key=owner.key, max_retries=5) as client, ThreadPoolExecutor(1) as pool:
        stream = client.chat.completions.create(**wanted)
        first = pool.submit(list, stream)
        with pytest.raises(openai.ConflictError, match="already run as generation") as caught:
            client.chat.completions.create(**wanted)
        chunks: Any = first.result()
    assert int(caught.value.request.headers["x-stainless-retry-count"]) > 0
    assert caught.value.response.headers["x-generation-id"] == chunks[0].id
    assert len(quiet.fake.ledger("planned")) == 1


def test_neither_key_nor_body_is_stored_or_logged(quiet: Place, owner: Account) -> None:
    said = "canary-in-the-body-51c7"
    for model, stream in ((PLAIN, True), (model_id("status@status=500"), False)):
        for _ in range(2):
            ask(
                quiet.tollway.port,
                owner.key,
                model,
                headers={"Idempotency-Key": f"canary-key-51c7-{stream}"},
                stream=stream,
                messages=[{"role": "user", "content": said}],
            )
    quiet.wait_until_idle()
    kept = stored_bytes(quiet)
    assert owner.account_id.encode() in kept
    assert b"canary-key" not in kept
    assert said.encode() not in kept
    assert PROMPT.encode() not in kept


def assert_ended(place: Place, account: Account, answer: Answer, first: Answer) -> None:
    """A repetition's answer: the first one's id, the cost that GET generation shows, and no invitation to try again."""
    id = first.headers["x-generation-id"]
    assert_error(answer, 409)
    cost = place.get(account, f"generation?id={id}")["total_cost"]
    metadata = {"error_type": "idempotency_completed", "reason": "already_ended", "generation_id": id, "cost": cost}
    assert answer.error["metadata"] == metadata
    assert cost == first.usage["cost"]
    assert (answer.headers["x-generation-id"], answer.headers["x-should-retry"]) == (id, "false")
    assert "retry-after" not in answer.headers
    assert "nothing was charged again" in answer.error["message"]
    assert f"GET /v1/generation?id={id}" in answer.error["message"]


def cost_of(rows: list[dict[str, Json]]) -> Decimal:
    counts = billed(rows)
    return charge_for(prompt=counts["prompt"], completion=counts["completion"])


def stored_bytes(place: Place) -> bytes:
    """Everything in the log and in the database: its raw files or, on Postgres, every row of every table."""
    log, url = place.tollway.log.read_bytes(), place.tollway.environment["TOLLWAY_DATABASE_URL"]
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT COUNT(*) FROM idempotency_claim").fetchone()[0] > 0
        return log + Path(path).read_bytes() + Path(f"{path}-wal").read_bytes()
    tables = [f"SELECT t::text FROM {name} t" for name in SQLModel.metadata.tables]
    return log + repr(asyncio.run(books.sql(url, " UNION ALL ".join(tables)))).encode()

"""Streams that outlive their client's connection: only where the owner and the request both say so, heard again whole, paid once."""

import contextlib
import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.fakes.process import Fake
from tests.path.client import Answer, Line, calling
from tests.path.routes import MODELS, Crossing, catalog, crossing
from tests.running import SECRET, Tollway, tollway

WORDS = " ".join(f"word{number}" for number in range(120))
ASKED = {"x-tollway-resumable": "on"}
CONTENT = b'"content":"'


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("resumable"), request) as running:
        yield running


@pytest.fixture
def allowed(place: Crossing) -> Crossing:
    place.fake.reset()
    place.fake.fault("one-cheap", fault="slow-tokens", ms=10, text=WORDS)
    assert place.send("PATCH", "account/routing", {"resumable_streams": True, "provider": {"only": ["cheap"]}}).status == 200
    time.sleep(1.1)  # by then every process knows the rules
    return place


def body_of(line: Line) -> bytes:
    """What has come of a chunked body, as far as whole chunks go."""
    head, _, rest = line.received.partition(b"\r\n\r\n")
    assert b"x-tollway-resumable: on" in head
    data = b""
    while b"\r\n" in rest:
        size, _, after = rest.partition(b"\r\n")
        if len(after) < int(size, 16) + 2:
            break
        data, rest = data + after[: int(size, 16)], after[int(size, 16) + 2 :]
    return data


def hear(running: Tollway, key: str, id: str, offset: int = 0) -> Answer:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)) as connection:
        connection.request("GET", f"/v1/generation/stream?id={id}&offset={offset}", headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def interrupted(place: Crossing, words: int = 5, **headers: str) -> Line:
    """A client that reads some words and is cut off."""
    with calling(place.tollway.port, place.account.key, MODELS[0], stream=True, headers=headers or ASKED) as line:
        line.read_until(CONTENT, times=words + 1)
        line.leave()
    return line


def test_a_cut_off_client_hears_the_rest_and_pays_once(allowed: Crossing) -> None:
    line = interrupted(allowed)
    had = body_of(line)
    rest = hear(allowed.tollway, allowed.account.key, line.generation_id, len(had))
    assert rest.status == 200
    assert rest.headers["content-type"].startswith("text/event-stream")
    whole = Answer(200, rest.headers, had + rest.body)
    assert whole.said() == WORDS
    assert whole.done == 1
    (row,) = allowed.fake.ledger()
    assert row["outcome"] == "served"
    found = allowed.send("GET", f"generation?id={line.generation_id}").json["data"]
    assert found["outcome"] == "completed"
    assert found["total_cost"] == whole.events[-1]["usage"]["cost"]
    assert found["tokens_completion"] == row["billed_tokens"]["completion_tokens"]


def test_who_listens_again_hears_the_same_bytes_and_nothing_is_charged_for_it(allowed: Crossing) -> None:
    line = interrupted(allowed)
    first = hear(allowed.tollway, allowed.account.key, line.generation_id)
    used = allowed.send("GET", "credits").json["data"]["total_usage"]
    again = hear(allowed.tollway, allowed.account.key, line.generation_id)
    assert first.body == again.body
    assert first.body.startswith(body_of(line))
    assert hear(allowed.tollway, allowed.account.key, line.generation_id, len(first.body)).body == b""
    assert hear(allowed.tollway, allowed.account.key, line.generation_id, len(first.body) - 7).body == first.body[-7:]
    assert allowed.send("GET", "credits").json["data"]["total_usage"] == used
    assert len(allowed.fake.ledger()) == 1


def test_without_the_header_a_client_that_leaves_cancels_the_provider(allowed: Crossing) -> None:
    line = interrupted(allowed, x_nothing="1")
    assert b"x-tollway-resumable" not in line.received
    assert_cancelled(allowed)
    assert_gone(allowed, line)


def test_without_the_owners_word_the_header_changes_nothing(allowed: Crossing) -> None:
    assert allowed.send("PATCH", "account/routing", {"resumable_streams": None}).status == 200
    time.sleep(1.1)
    line = interrupted(allowed)
    assert b"x-tollway-resumable" not in line.received
    assert_cancelled(allowed)
    assert_gone(allowed, line)


def test_another_account_finds_no_stream(allowed: Crossing) -> None:
    line = interrupted(allowed)
    stranger = allowed.tollway.account("1")
    answer = hear(allowed.tollway, stranger.key, line.generation_id)
    assert (answer.status, answer.json["error"]["param"]) == (404, "id")
    assert hear(allowed.tollway, allowed.account.key, line.generation_id).status == 200


@pytest.mark.parametrize(("query", "param"), [("", "id"), ("?id=gen-1&offset=-1", "offset"), ("?id=gen-1&offset=x", "offset")])
def test_a_bad_question_names_its_parameter(allowed: Crossing, query: str, param: str) -> None:
    answer = allowed.send("GET", f"generation/stream{query}")
    assert (answer.status, answer.json["error"]["param"]) == (400, param)


def test_a_refused_stream_is_not_taped(allowed: Crossing) -> None:
    allowed.fake.fault("one-cheap", fault="status", status=400)
    with calling(allowed.tollway.port, allowed.account.key, MODELS[0], stream=True, headers=ASKED) as line:
        line.read_until(b"}")
    assert_gone(allowed, line)


def test_two_processes_share_the_tapes_in_redis_and_the_words_are_nowhere_in_it(
    fake: Fake, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    redis = request.getfixturevalue("redis_url")
    fake.reset()
    fake.fault("one-cheap", fault="slow-tokens", ms=10, text=WORDS)
    (tmp_path / "catalog.toml").write_text(catalog(fake.base_url))
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(
            servers.database(request.getfixturevalue("postgres_url"), template=request.getfixturevalue("postgres_template"))
        )
        settings = {
            "TOLLWAY_DATABASE_URL": url,
            "TOLLWAY_REDIS_URL": redis,
            "TOLLWAY_CATALOG": str(tmp_path / "catalog.toml"),
            "FAKE_API_KEY": SECRET,
        }
        first, second = (stack.enter_context(tollway(settings, _folder(tmp_path, name))) for name in ("first", "second"))
        account = first.account("1")
        place = Crossing(first, fake, account)
        assert place.send("PATCH", "account/routing", {"resumable_streams": True, "provider": {"only": ["cheap"]}}).status == 200
        time.sleep(1.1)
        line = interrupted(place)
        rest = hear(second, account.key, line.generation_id, len(body_of(line)))
        assert Answer(200, rest.headers, body_of(line) + rest.body).said() == WORDS
        assert_nowhere(redis, b"word1")


def assert_cancelled(place: Crossing) -> None:
    until = time.monotonic() + 3
    while (row := place.fake.ledger()[-1])["outcome"] == "running" or row["outcome"] is None:
        assert time.monotonic() < until, row
        time.sleep(0.02)
    assert row["outcome"] == "cancelled", row


def assert_gone(place: Crossing, line: Line) -> None:
    """410 as soon as the generation has its row."""
    until = time.monotonic() + 3
    while (status := hear(place.tollway, place.account.key, line.generation_id).status) == 404:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert status == 410


def assert_nowhere(redis: str, word: bytes) -> None:
    from redis import Redis

    client = Redis.from_url(redis)
    streams = list(client.scan_iter("tollway:tape:*"))
    assert streams, "the positive control: there is a tape"
    for name in streams:
        entries = client.xrange(name)
        assert entries
        assert all(word not in value for _, fields in entries for value in fields.values())
        assert 0 < client.ttl(name) <= 300


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name

"""Kept content where something is wrong: a row or a key that was changed, an answer that is odd, an id that can be none."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import books
from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.path.routes import MODELS, Crossing, crossing
from tests.prove.canary_provider import stream
from tests.prove.canary_site import site

SAID = "A word that is kept and not to be seen elsewhere."


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("edges"), request) as running:
        yield running


@pytest.fixture
def own(place: Crossing) -> Crossing:
    """A fresh account that logs everything."""
    place.fake.reset()
    for provider in ("cheap", "middle", "dear"):
        place.fake.fault(f"one-{provider}", fault=[], text=SAID)
    found = place._replace(account=place.tollway.account("5"))
    assert found.send("PATCH", "account/privacy", {"logging": "full"}).status == 200
    time.sleep(1.2)  # by then it holds for every request
    return found


def asked(own: Crossing, *, streamed: bool = False) -> str:
    """The generation's id of an answer that is whole."""
    answer = ask(own.tollway.port, own.account.key, MODELS[0], messages=[{"role": "user", "content": "What?"}], stream=streamed)
    assert (answer.status, answer.said()) == (200, SAID), answer.body
    return answer.headers["x-generation-id"]


def kept(own: Crossing) -> list[str]:
    return [row["id"] for row in own.send("GET", "logs").json["data"]]


def sql(own: Crossing, statement: str) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(books.sql(own.tollway.environment["TOLLWAY_DATABASE_URL"], statement))


def assert_sealed(answer: Answer, own: Crossing) -> None:
    assert (answer.status, answer.json["error"]["metadata"]["error_type"]) == (410, "gone")
    assert "does not open" in answer.json["error"]["message"]
    assert SAID.encode() not in answer.body
    assert SAID not in own.tollway.log.read_text()


def test_a_changed_row_is_refused_and_can_still_be_deleted(own: Crossing) -> None:
    first, second = asked(own), asked(own)
    copied = f"(SELECT sealed FROM content WHERE generation_id = '{first}')"
    sql(own, f"UPDATE content SET sealed = {copied} WHERE generation_id = '{second}'")
    assert_sealed(own.send("GET", f"generation/content?id={second}"), own)
    assert own.send("GET", f"generation/content?id={first}").status == 200
    assert own.send("DELETE", f"logs?id={second}").json["data"]["deleted"] == 1
    assert kept(own) == [first]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_key_that_does_not_open_costs_the_log_and_never_the_answer(own: Crossing, streamed: bool) -> None:
    first = asked(own)
    sql(own, f"UPDATE content_key SET wrapped = substr(wrapped, 1, 40) WHERE account_id = '{own.account.account_id}'")
    asked(own, streamed=streamed)
    assert kept(own) == [first]
    assert_sealed(own.send("GET", f"generation/content?id={first}"), own)
    assert own.send("DELETE", "logs").json["data"]["deleted"] == 1
    again = asked(own)
    assert own.send("GET", f"generation/content?id={again}").json["data"]["output"]["completion"] == SAID


@pytest.mark.parametrize("id", ["", "%00", "%0A", "x", "gen-%F0%9F%98%80"])
def test_an_id_of_nothing_deletes_nothing(own: Crossing, id: str) -> None:
    found = asked(own)
    refused = own.send("DELETE", f"logs?id={id}")
    assert refused.status in (200, 400)
    assert refused.status == 400 or refused.json["data"]["deleted"] == 0
    assert kept(own) == [found]


@pytest.mark.parametrize("after", ["1.%00", "1.", "-1.x", "99999999999999999.x", "x.gen"])
def test_a_page_that_can_be_none_is_refused(own: Crossing, after: str) -> None:
    refused = own.send("GET", f"logs?after={after}")
    assert (refused.status, refused.json["error"]["param"]) == (400, "after")


ODD = {
    "calls that are none": {
        "content": "a",
        "tool_calls": ["x", None, 7, {"index": "y", "function": "z"}, {"function": {"arguments": {"a": 1}}}],
    },
    "calls that are no list": {"content": "a", "tool_calls": {"index": 0}},
    "texts that are none": {"content": "a", "reasoning": ["x"], "refusal": 5},
}


def test_an_odd_answer_leaves_as_it_came_and_is_kept_as_far_as_it_is_one(tmp_path: Path) -> None:
    with site("sqlite", tmp_path, with_redis=False) as at:
        time.sleep(1.2)
        for delta in ODD.values():
            at.provider.says = stream(delta, {"content": "b"})
            plain = at.post("chat/completions", {"messages": [{"role": "user", "content": "?"}], "stream": True})
            logged = at.post("chat/completions", {"messages": [{"role": "user", "content": "?"}], "stream": True}, key=at.open.key)
            assert (logged[0], b"[DONE]" in logged[1]) == (plain[0], b"[DONE]" in plain[1])
            if plain[0] == 200 and b'"error"' not in plain[1]:
                _, content = at.get(f"generation/content?id={at.ids[-1]}", at.open.key)
                assert json.loads(content)["data"]["output"]["completion"] == "ab"

"""The Responses API of the official OpenAI Node SDK against a running Tollway: its accumulator checks every event against the others."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.path import node_scripts
from tests.path.sdk_fixtures import Place, place


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("responses-node")) as running:
        yield running


@pytest.fixture(scope="module")
def seen(here: Place) -> Any:
    """What `responses.mjs` saw: one run of Node serves all tests."""
    return node_scripts.run("responses.mjs", here.tollway.base_url, here.account.key)


def test_whole_and_streamed_are_the_same_answer(seen: Any) -> None:
    created, streamed = seen["created"], seen["streamed"]
    assert created["output_text"] == streamed["output_text"] == "one two three"
    used = [{name: value for name, value in answer["usage"].items() if name != "hold"} for answer in (created, streamed)]
    assert used[0] == used[1]
    assert (seen["events"]["types"][0], seen["events"]["types"][-1]) == ("response.created", "response.completed")


def test_calls_are_put_together_also_when_their_pieces_interleave(seen: Any) -> None:
    for answer in (seen["called"], seen["split"]):
        assert [(item["name"], len(json.loads(item["arguments"]))) for item in answer["output"]] == [("weather", 1), ("clock", 1)]
    assert seen["answered"]["output_text"]


def test_reasoning_and_refusals_are_put_together(seen: Any) -> None:
    thought, _ = seen["thought"]["output"]
    assert (thought["summary"][0]["text"], thought["encrypted_content"][:4]) == ("Let me think.", "tw1.")
    assert seen["refused"]["output"][0]["content"][0]["type"] == "refusal"


def test_a_cut_stream_is_an_error_for_who_reads_events_and_for_who_does_not(seen: Any) -> None:
    assert seen["cut"]["types"][-1] == "response.failed"
    assert (seen["cut"]["error"]["code"], seen["cut"]["error"]["api"]) == ("server_error", True)
    assert "Provider failed" in seen["cutHelper"]["error"]

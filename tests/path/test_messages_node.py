"""Anthropic's own Node SDK against a running Tollway whose providers speak OpenAI: its accumulator puts every stream together."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.path import node_scripts
from tests.path.sdk_fixtures import ECHO, Place, place, price_of

CALLS = [("weather", {"city"}), ("clock", {"zone"})]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("messages-node")) as running:
        yield running
        assert running.tollway.cli("ledger", "verify").returncode == 0


@pytest.fixture(scope="module")
def seen(here: Place) -> Any:
    """What `anthropic.mjs` saw: one run of Node serves all tests."""
    base_url = here.tollway.base_url.removesuffix("/v1")
    return node_scripts.run("anthropic.mjs", base_url, here.account.key, here.new_account("0").key)


def test_whole_and_streamed_are_the_same_message(seen: Any) -> None:
    created, streamed, events = seen["created"], seen["streamed"]["message"], seen["streamed"]["events"]
    assert created["content"] == streamed["content"] == [{"type": "text", "text": "one two three"}]
    assert created["stop_reason"] == streamed["stop_reason"] == "end_turn"
    counts = [(each["usage"]["input_tokens"], each["usage"]["output_tokens"]) for each in (created, streamed)]
    assert counts[0] == counts[1]
    assert created["usage"]["cost"] == float(price_of(ECHO, {"prompt_tokens": counts[0][0], "completion_tokens": counts[0][1]}))
    assert (events[0], events[-1]) == ("message_start", "message_stop")
    assert seen["counted"] == {"input_tokens": counts[0][0]}


def test_calls_are_put_together_also_when_their_pieces_interleave(seen: Any) -> None:
    for message in (seen["called"], seen["streamedCalls"], seen["split"]):
        assert [(block["name"], block["input"].keys()) for block in message["content"]] == CALLS
        assert message["stop_reason"] == "tool_use"
    assert seen["answered"]["content"] == [{"type": "text", "text": "Hello from fast-1."}]


def test_thoughts_are_a_block_of_their_own(seen: Any) -> None:
    thought, said = seen["thought"]["content"]
    assert (thought["thinking"], bool(thought["signature"]), said["text"]) == ("Let me think.", True, "Hello from reasoning.")


@pytest.mark.parametrize(
    ("name", "kind", "status", "type", "words"),
    [
        ("noKey", "AuthenticationError", 401, "authentication_error", "This is not a Tollway API key"),
        ("noCredit", "PaymentRequiredError", 402, "billing_error", "This request requires more credits"),
        ("busy", "RateLimitError", 429, "rate_limit_error", "Provider failed"),
        ("broken", "InternalServerError", 502, "api_error", "Provider failed"),
        ("unknownModel", "BadRequestError", 400, "invalid_request_error", "Did you mean tollway/echo?"),
        ("cut", "APIError", None, "api_error", "in the middle of its answer"),
    ],
)
def test_every_failure_is_the_sdks_own_error(seen: Any, name: str, kind: str, status: int | None, type: str, words: str) -> None:
    error = seen["errors"][name]
    assert (error["kind"], error["status"], error["type"]) == (kind, status, type)
    assert words in error["message"]

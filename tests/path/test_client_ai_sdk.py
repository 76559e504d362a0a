"""The Vercel AI SDK against a running Tollway, by five of its providers: two of OpenAI, the one for anybody, OpenRouter's, Anthropic's."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.embeddings import vector
from tests.path import node_scripts
from tests.path.sdk_fixtures import ECHO, Place, place, price_of

ROUTES = ("chat", "responses", "compatible", "openrouter", "anthropic")
THOUGHTFUL = ("responses", "compatible", "anthropic", "openrouter")
"""`chat` has no place for thoughts; `openrouter` reads them under the name `reasoning` alone."""

EACH = pytest.mark.parametrize("route", ROUTES)
SAID, WORDS = "Hello from fast-1.", "one two three"
CALLS = [["weather", {"city": "text"}], ["clock", {"zone": "text"}]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("ai-sdk")) as running:
        yield running
        assert running.tollway.cli("ledger", "verify").returncode == 0


@pytest.fixture(scope="module")
def everything(here: Place) -> Any:
    """What `ai_sdk.mjs` saw: one run of Node serves all tests."""
    return node_scripts.run("ai_sdk.mjs", here.tollway.base_url, here.account.key, here.new_account("0").key)


@pytest.fixture
def seen(everything: Any, route: str) -> Any:
    return everything[route]


def tokens(answer: Any) -> dict[str, int]:
    """In the words of a chat's usage; every number is there and they add up."""
    usage = answer["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert usage["outputTokens"] == usage["outputTokenDetails"]["textTokens"] + usage["outputTokenDetails"]["reasoningTokens"]
    assert usage["inputTokenDetails"]["cacheReadTokens"] == 0
    return {"prompt_tokens": usage["inputTokens"], "completion_tokens": usage["outputTokens"]}


@EACH
def test_generated_and_streamed_text_and_its_usage_are_the_same(seen: Any, route: str) -> None:
    whole, streamed = seen["whole"], seen["streamed"]
    assert whole["text"] == streamed["text"] == WORDS
    assert whole["finishReason"] == streamed["finishReason"] == "stop"
    assert streamed["pieces"] == 3
    assert tokens(whole) == tokens(streamed)
    for answer in (whole, streamed) if route != "chat" else ():
        assert answer["usage"]["raw"]["cost"] == float(price_of(ECHO, tokens(answer)))


@EACH
def test_tools_are_executed_over_several_steps(seen: Any) -> None:
    for answer in (seen["tools"], seen["streamedTools"]):
        called, said = answer["steps"]
        assert (called["calls"], called["finishReason"]) == (CALLS, "tool-calls")
        assert called["results"] == ["12 degrees in text", "noon in text"]
        assert (said["text"], said["calls"], answer["text"], answer["finishReason"]) == (SAID, [], SAID, "stop")
    assert tokens(seen["tools"]) == tokens(seen["streamedTools"])


@pytest.mark.usefixtures("everything")
def test_the_results_of_tools_reached_the_provider(here: Place) -> None:
    bodies = [record["request_body"] for record in here.fake.settled("fast-1")]
    conversations = [body["messages"] for body in bodies if [each["role"] for each in body.get("messages", [])].count("tool") == 2]
    assert len(conversations) == 2 * len(ROUTES)
    for _, assistant, *results in conversations:
        assert [result["tool_call_id"] for result in results] == [call["id"] for call in assistant["tool_calls"]]
        assert [call["function"]["name"] for call in assistant["tool_calls"]] == [name for name, _ in CALLS]


@EACH
@pytest.mark.parametrize("model", ["echo", "fast"])
def test_an_object_follows_its_schema(seen: Any, model: str) -> None:
    objects = seen["objects"][model]
    assert objects["generated"].keys() == {"name", "people", "tags"}
    assert objects["generated"] == objects["streamed"] == objects["output"]
    assert objects["partial"] > 1


@EACH
def test_thoughts_are_counted_and_apart_from_the_text(seen: Any, route: str) -> None:
    for answer in (seen["thinks"], seen["streamedThinks"]):
        assert answer["text"] == "Hello from reasoning."
        assert answer["usage"]["outputTokenDetails"] == {"textTokens": 3, "reasoningTokens": 3}
        assert answer["reasoning"] == ("Let me think." if route in THOUGHTFUL else "")


@pytest.mark.parametrize("provider", ["openai", "compatible", "openrouter"])
def test_embeddings_are_the_providers(everything: Any, provider: str) -> None:
    embedded = everything["embeddings"][provider]
    assert embedded["many"] == [vector(text, 8) for text in ("one two", "three")]
    assert (embedded["one"], embedded["usage"]["tokens"]) == (embedded["many"][0], 3)


@pytest.mark.parametrize("provider", ["openai", "compatible"])
def test_completions_are_taken(everything: Any, provider: str) -> None:
    answer = everything["completions"][provider]
    assert (answer["text"], answer["finishReason"]) == (SAID, "stop")
    assert answer["usage"]["outputTokens"] == 3


@EACH
@pytest.mark.parametrize(
    ("name", "status", "retry", "after", "words"),
    [
        ("noKey", 401, False, None, "This is not a Tollway API key"),
        ("noCredit", 402, False, None, "This request requires more credits"),
        ("noCreditStreamed", 402, False, None, "This request requires more credits"),
        ("busy", 429, True, "7", "Provider failed"),
        ("broken", 502, True, None, "Provider failed"),
        ("unknownModel", 400, False, None, "Did you mean tollway/echo?"),
    ],
)
def test_a_failure_says_what_it_is_and_whether_to_try_again(
    seen: Any, name: str, status: int, retry: bool, after: str | None, words: str
) -> None:
    error = seen["errors"][name]
    assert (error["api"], error["statusCode"], error["isRetryable"], error["retryAfter"]) == (True, status, retry, after)
    assert words in error["message"]


@EACH
def test_a_stream_that_is_cut_never_ends_cleanly(seen: Any, route: str) -> None:
    cut = seen["cut"]
    assert cut["text"] == "Hello from"
    if route == "chat":  # it reads no error from a chunk that has choices
        assert (cut["error"], cut["finishReason"]) == (None, "other")
    else:
        assert (cut["error"]["isRetryable"], cut["finishReason"]) == (True, "error")
        assert "in the middle of its answer" in cut["error"]["message"]

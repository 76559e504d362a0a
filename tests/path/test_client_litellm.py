"""LiteLLM as a client of a running Tollway, by three of its prefixes: it runs in an environment of its own, with its own OpenAI SDK."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.embeddings import vector
from tests.path.absent import absent
from tests.path.sdk_fixtures import ECHO, Place, place, price_of
from tests.running import ROOT

SCRIPT = Path(__file__).parent / "clients" / "litellm_client.py"
STAMP = ".venv-clients/.installed"
INSTALL_SECONDS_MAX = 300
PREFIXES = ("openai", "openrouter", "anthropic")
CALLS = [["weather", {"city": "text"}], ["clock", {"zone": "text"}]]

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + 60)
EACH = pytest.mark.parametrize("prefix", PREFIXES)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("litellm")) as running:
        yield running
        assert running.tollway.cli("ledger", "verify").returncode == 0


@pytest.fixture(scope="module")
def everything(here: Place) -> Any:
    """What the script saw: one run of it serves all tests."""
    keys = (here.account.key, here.new_account("0").key)
    command = [str(python()), str(SCRIPT), here.tollway.base_url, *keys]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def seen(everything: Any, prefix: str) -> Any:
    return everything[prefix]


def python() -> Path:
    """The interpreter of `.venv-clients`, which the Makefile fills anew when its lock file has changed."""
    command = ["make", "--silent", "--old-file=.venv/.tools", STAMP]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False)
    if done.returncode:
        absent(f"no LiteLLM: `make {STAMP}` failed: {done.stderr[-500:]}")
    return (ROOT / STAMP).parent / "bin" / "python"


def environment() -> dict[str, str]:
    """Without settings of the developer's own that LiteLLM would read."""
    mine = ("OPENAI_", "OPENROUTER_", "ANTHROPIC_", "LITELLM_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}


@EACH
def test_whole_streamed_and_asynchronous_answers_are_the_same(seen: Any, prefix: str) -> None:
    whole, streamed = seen["whole"], seen["streamed"]
    assert streamed.pop("pieces") > 3
    assert whole == streamed == seen["asynchronous"]["whole"]
    assert (whole["text"], whole["finish"]) == ("one two three", "stop")
    assert seen["asynchronous"]["streamed"] == whole["text"]
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"] > 3
    # What an Anthropic answer costs, LiteLLM works out from a list of its own.
    assert whole["cost"] == (None if prefix == "anthropic" else float(price_of(ECHO, whole["usage"])))


@EACH
def test_tools_are_called_in_parallel_and_their_results_taken(seen: Any) -> None:
    first, second, streamed = (seen["tools"][name] for name in ("first", "second", "streamed"))
    assert first["calls"] == streamed["calls"] == CALLS
    assert first["finish"] == streamed["finish"] == "tool_calls"
    assert first["usage"] == streamed["usage"]
    assert (second["calls"], second["text"], second["finish"]) == ([], "Hello from fast-1.", "stop")


@pytest.mark.usefixtures("everything")
def test_the_results_of_tools_reached_the_provider(here: Place) -> None:
    bodies = [record["request_body"] for record in here.fake.settled("fast-1")]
    conversations = [body["messages"] for body in bodies if [each["role"] for each in body.get("messages", [])].count("tool") == 2]
    assert len(conversations) == len(PREFIXES)
    for _, assistant, *results in conversations:
        assert [result["tool_call_id"] for result in results] == [call["id"] for call in assistant["tool_calls"]]
        assert [json.loads(call["function"]["arguments"]) for call in assistant["tool_calls"]] == [arguments for _, arguments in CALLS]


@EACH
def test_thoughts_are_apart_from_the_text(seen: Any) -> None:
    assert (seen["thinks"]["reasoning"], seen["thinks"]["text"]) == ("Let me think.", "Hello from reasoning.")


@EACH
@pytest.mark.parametrize(
    ("name", "kinds", "status", "words"),
    [
        ("noKey", {"AuthenticationError"}, {401}, "This is not a Tollway API key"),
        ("noCredit", {"APIError", "PaymentRequiredError"}, {402}, "This request requires more credits"),
        ("busy", {"RateLimitError"}, {429}, "Provider failed"),
        ("broken", {"APIError", "BadGatewayError"}, {502}, "Provider failed"),
        ("unknownModel", {"BadRequestError"}, {400}, "Did you mean tollway/echo?"),
        ("cut", {"MidStreamFallbackError"}, {500, 502}, "in the middle of its answer"),
    ],
)
def test_a_failure_is_litellms_own_error(seen: Any, name: str, kinds: set[str], status: set[int], words: str) -> None:
    error = seen["failures"][name]
    assert error["kind"] in kinds
    assert error["status"] in status
    assert words in error["message"]


@pytest.mark.parametrize("name", ["embedding", "embeddingOpenRouter"])
def test_embeddings_are_the_providers(everything: Any, name: str) -> None:
    assert everything[name] == {"vectors": [vector(text, 8) for text in ("one two", "three")], "tokens": 3}


def test_the_responses_api_is_taken_whole_and_streamed(everything: Any) -> None:
    assert everything["responses"] == {"text": "one two three", "streamed": "one two three"}

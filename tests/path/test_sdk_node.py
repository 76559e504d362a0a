"""The official OpenAI Node SDK against a running Tollway, run by the Node that comes as a Python package."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.path import node_scripts
from tests.path.sdk_fixtures import ECHO, FAST, Place, place, price_of
from tests.running import Account


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def account(here: Place) -> Account:
    return here.new_account("1")


@pytest.fixture(scope="module")
def seen(here: Place, account: Account) -> Any:
    """What `sdk.mjs` saw: one run of Node serves all tests."""
    return node_scripts.run("sdk.mjs", here.tollway.base_url, account.key, here.new_account("0").key)


def test_a_whole_answer_has_its_text_cost_and_headers(seen: Any) -> None:
    created, headers = seen["created"], seen["headers"]
    assert created["choices"][0]["message"]["content"] == "one two three"
    assert created["usage"]["cost"] == float(price_of(ECHO, created["usage"]))
    assert headers["generation_id"] == created["id"]
    assert headers["request_id"].startswith("req_")
    assert headers["server"] is None


def test_streams_end_with_usage_asked_or_not(seen: Any) -> None:
    for name, choices in (("stream", 1), ("streamWithUsage", 0)):
        *body, last = seen[name]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in body) == "one two three"
        assert [chunk["choices"][0]["finish_reason"] for chunk in body if chunk["choices"][0]["finish_reason"]] == ["stop"]
        assert len(last["choices"]) == choices
        assert last["usage"]["cost"] == float(price_of(ECHO, last["usage"]))


def test_tools_are_called_whole_and_streamed(seen: Any) -> None:
    streamed = seen["streamedTools"]
    for message in (seen["tools"]["choices"][0]["message"], streamed["message"]):
        calls = [(call["function"]["name"], json.loads(call["function"]["arguments"]).keys()) for call in message["tool_calls"]]
        assert calls == [("weather", {"city"}), ("clock", {"zone"})]
    assert streamed["usage"]["completion_tokens"] > 0


def test_a_zod_schema_comes_back_parsed(seen: Any) -> None:
    assert seen["parsed"]["choices"][0]["message"]["parsed"].keys() == {"name", "people", "tags"}


def test_models_are_listed_and_found(seen: Any) -> None:
    assert {ECHO, FAST} <= set(seen["models"])
    assert (seen["model"]["id"], seen["model"]["object"]) == (ECHO, "model")


def test_an_aborted_stream_ends_at_the_provider_and_costs_what_was_delivered(seen: Any, here: Place, account: Account) -> None:
    (record,) = here.fake.settled("endless@ms=20")
    assert record["outcome"] == "cancelled"
    found = here.exact(f"/generation?id={seen['aborted']['id']}", account.key)["data"]
    assert found["cancelled"]
    assert found["tokens_completion"] >= len(seen["aborted"]["text"].split()) > 2
    assert found["total_cost"] > 0


@pytest.mark.parametrize(
    ("name", "kind", "status", "type"),
    [
        ("noKey", "AuthenticationError", 401, "authentication_error"),
        ("noCredit", "APIError", 402, "insufficient_quota"),
        ("unknownModel", "BadRequestError", 400, "invalid_request_error"),
        ("wrongField", "BadRequestError", 400, "invalid_request_error"),
        ("busy", "RateLimitError", 429, "rate_limit_error"),
        ("broken", "InternalServerError", 502, "api_error"),
        ("late", "InternalServerError", 504, "api_error"),
        ("midstream", "APIError", None, "api_error"),
        ("unknownPage", "NotFoundError", 404, "not_found_error"),
    ],
)
def test_every_failure_is_the_sdks_own_error(seen: Any, name: str, kind: str, status: int | None, type: str) -> None:
    error = seen["errors"][name]
    assert (error["kinds"], error["status"], error["type"]) == ([kind], status, type)
    assert error["code"] == error["body"]["code"] == (status or 502)
    assert error["body"]["metadata"]["error_type"]
    assert status is None or error["requestID"]
    assert error["retryAfter"] == {"busy": "7"}.get(name)
    assert error["param"] == {"unknownModel": "model", "wrongField": "max_tokens"}.get(name)

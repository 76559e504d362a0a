"""Azure OpenAI as a data row of the openai dialect: its URL and key header, its filter's chunks, its errors; and rows that cannot be."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.labels import Labels
from metering.usage import Usage, from_openai
from providers.catalog import Catalog, CatalogError, load
from providers.content import Content
from providers.errors import ProviderError, ProviderOverloaded, ProviderRefusedKey, ProviderUnavailable, RequestRefused
from providers.openai import OpenAIDialect
from providers.provider import Call, ChatRequest, Event, Operation
from providers.wire import Bounds, Wire
from tests.providers.bedrock_server import Server, serving
from tests.providers.test_openai import sse

ROWS = """
[[model]]
id = "openai/gpt-4o"
context_length = 128000
[[provider]]
slug = "azure"
dialect = "openai"
base_url = "{base_url}"
api_key_env = "AZURE_OPENAI_API_KEY"
{more}
[[endpoint]]
model = "openai/gpt-4o"
provider = "azure"
upstream_model = "our gpt/4o"
price = {{ prompt = "2.5", completion = "10" }}
"""
AZURE = 'key_header = "api-key"\nquery = "api-version=2024-10-21"'


def catalog(folder: Path, base_url: str, more: str = AZURE) -> Catalog:
    file = folder / "catalog.toml"
    file.write_text(ROWS.format(base_url=base_url, more=more))
    return load(str(file))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        running.headers = {"content-type": "text/event-stream"}
        yield running


def call(folder: Path, server: Server, *, path: str = "openai/deployments/{model}", more: str = AZURE, **fields: Any) -> Call:
    loaded = catalog(folder, server.base_url + path, more)
    [endpoint] = [each for each in loaded.endpoints["openai/gpt-4o"] if each.provider.slug == "azure"]
    operation: Operation = "embeddings" if "input" in fields else "chat"
    request = ChatRequest(
        body=Content({"model": "x", **({} if "input" in fields else {"messages": []}), **fields}),
        operation=operation,
        model="openai/gpt-4o",
        stream=bool(fields.get("stream")),
        include_usage=False,
        max_tokens=None,
        n=1,
        prompt_tokens_max=10,
    )
    return Call(request=request, endpoint=endpoint, api_key="the-key", max_tokens=None, generation_id="gen-1")


async def answer(server: Server, body: str | object, wanted: Call) -> list[Event]:
    server.body = (body if isinstance(body, str) else json.dumps(body)).encode()
    dialect = OpenAIDialect(Wire(Bounds()))
    try:
        return [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await asyncio.sleep(0)
        await dialect.aclose()


SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"content_filter_results": {}, "delta": delta, "finish_reason": finish, "index": 0, "logprobs": None, **more}
    return {"choices": [choice], "created": 1, "id": "chatcmpl-AbC", "model": "gpt-4o-2024-11-20", "object": "chat.completion.chunk"}


STREAM = (
    {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"content_filter_results": SAFE}]},
    chunk({"content": "", "refusal": None, "role": "assistant"}),
    chunk({"content": "Hi"}, content_filter_results=SAFE),
    {"choices": [{"content_filter_offsets": {"check_offset": 2}, "content_filter_results": SAFE, "finish_reason": None, "index": 0}]},
    chunk({}, "stop"),
    {"choices": [], "id": "chatcmpl-AbC", "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}},
    "[DONE]",
)


async def test_the_deployment_the_version_and_the_key_are_where_azure_wants_them(server: Server, tmp_path: Path) -> None:
    await answer(server, WHOLE, call(tmp_path, server))
    [(target, headers, body)] = server.sent
    assert target == "/prefix/openai/deployments/our%20gpt%2F4o/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == "the-key"
    assert "authorization" not in headers
    assert body["model"] == "our gpt/4o"


async def test_embeddings_go_to_the_deployment_too(server: Server, tmp_path: Path) -> None:
    await answer(server, {"data": [{"index": 0, "embedding": [1.0]}]}, call(tmp_path, server, input=["a"]))
    assert server.sent[0][0] == "/prefix/openai/deployments/our%20gpt%2F4o/embeddings?api-version=2024-10-21"


async def test_azures_newer_api_needs_neither(server: Server, tmp_path: Path) -> None:
    await answer(server, WHOLE, call(tmp_path, server, path="openai/v1", more='key_header = "api-key"'))
    assert server.sent[0][0] == "/prefix/openai/v1/chat/completions"


async def test_without_a_key_header_the_key_is_a_bearer(server: Server, tmp_path: Path) -> None:
    await answer(server, WHOLE, call(tmp_path, server, path="v1", more=""))
    assert server.sent[0][1]["authorization"] == "Bearer the-key"


async def test_the_chunks_of_azures_filter_do_no_harm(server: Server, tmp_path: Path) -> None:
    wanted = call(tmp_path, server, stream=True)
    events = await answer(server, sse(*STREAM), wanted)
    assert events[0]["choices"] == []
    assert "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"]) == "Hi"
    assert from_openai(events[-1]["usage"]) == Usage(prompt=8, completion=1)
    labels = Labels(generation_id="gen-1", created=1, endpoint=wanted.endpoint, request=wanted.request)
    for event in events:
        labels.put(event)
    assert labels.finish_reason == "stop"
    assert {event["model"] for event in events} == {"openai/gpt-4o"}


async def test_an_answer_that_was_filtered_ends_so(server: Server, tmp_path: Path) -> None:
    filtered = {**SAFE, "violence": {"filtered": True, "severity": "medium"}}
    [*_, last] = await answer(
        server, sse(chunk({}, "content_filter", content_filter_results=filtered), "[DONE]"), call(tmp_path, server, stream=True)
    )
    assert last["choices"][0]["finish_reason"] == "content_filter"


FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {**SAFE, "jailbreak": {"filtered": True, "detected": True}},
        },
    }
}


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, FILTERED, RequestRefused, "content_filter"),
        (
            404,
            {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
            ProviderUnavailable,
            "DeploymentNotFound",
        ),
        (404, {"error": {"code": "404", "message": "Resource not found"}}, ProviderUnavailable, "404"),
        (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}, ProviderRefusedKey, "401"),
        (401, {"statusCode": 401, "message": "Unauthorized. Access token is missing."}, ProviderRefusedKey, None),
        (429, {"error": {"code": "429", "message": "Requests have exceeded call rate limit."}}, ProviderOverloaded, "429"),
        (
            400,
            {
                "error": {
                    "message": "This model's maximum context length is 8192 tokens.",
                    "code": "context_length_exceeded",
                    "param": "messages",
                }
            },
            RequestRefused,
            "context_length_exceeded",
        ),
    ],
)
async def test_azures_errors_mean_what_they_say(
    server: Server, tmp_path: Path, status: int, body: Any, kind: type[ProviderError], code: str | None
) -> None:
    server.status = status
    with pytest.raises(ProviderError) as caught:
        await answer(server, body, call(tmp_path, server))
    assert (type(caught.value), caught.value.code) == (kind, code)


@pytest.mark.parametrize(
    ("base_url", "more", "field"),
    [
        ("https://a.openai.azure.com/openai?api-version=1", "", "base_url"),
        ("https://{model}.openai.azure.com/openai", "", "base_url"),
        ("https://a.openai.azure.com/{deployment}", "", "base_url"),
        ("https://a.openai.azure.com/{model", "", "base_url"),
        ("https://a.example.com", 'query = "api-version"', "query"),
        ("https://a.example.com", 'query = "a=1&b"', "query"),
        ("https://a.example.com", 'query = "a=1#b"', "query"),
        ("https://a.example.com", 'query = "a=1 2"', "query"),
        ("https://a.example.com", 'key_header = "Api-Key"', "key_header"),
        ("https://a.example.com", 'key_header = "api key"', "key_header"),
        ("https://a.example.com", 'key_header = "host"', "key_header"),
        ("https://a.example.com", 'key_header = "content-length"', "key_header"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_its_field(tmp_path: Path, base_url: str, more: str, field: str) -> None:
    with pytest.raises(CatalogError, match=rf"\[\[provider\]\] azure: {field}: "):
        catalog(tmp_path, base_url, more)


@pytest.mark.parametrize("more", ['key_header = "x-key"', 'query = "a=1"'])
def test_only_the_openai_dialect_has_these_fields(tmp_path: Path, more: str) -> None:
    text = ROWS.format(base_url="https://a.example.com", more=more).replace('dialect = "openai"', 'dialect = "gemini"')
    (tmp_path / "catalog.toml").write_text(text)
    with pytest.raises(CatalogError, match="only the openai dialect"):
        load(str(tmp_path / "catalog.toml"))

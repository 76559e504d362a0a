"""One conversation with tools over every dialect, and every client API over every dialect: the same answer, each at its price."""

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.bedrock_checks import API_KEY
from tests.fakes.faults import Json
from tests.fakes.process import fake_provider
from tests.path.client import Answer
from tests.path.place import UPSTREAM_KEY, Place, billed, charge_for
from tests.path.posting import post
from tests.running import Account, tollway

PROVIDERS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "bedrock": "/bedrock"}
KEYS = {"AWS_BEARER_TOKEN_BEDROCK": API_KEY, "FAKE_API_KEY": UPSTREAM_KEY}
PRICES = {
    "openai": {"prompt": "0.1535", "completion": "0.6075", "cached_prompt": "0.0765"},
    "anthropic": {"prompt": "3.05", "completion": "15.01", "cached_prompt": "0.305", "cache_write": "3.8125"},
    "gemini": {"prompt": "0.31", "completion": "2.57", "cached_prompt": "0.0775"},
    "bedrock": {"prompt": "1.07", "completion": "5.03", "cached_prompt": "0.107", "cache_write": "1.3375"},
}
TEXT = "Bern é 漢 😀: 12 degrees, noon."
USAGE = {"prompt_tokens": 61, "completion_tokens": 17, "prompt_tokens_details": {"cached_tokens": 9}}
SYSTEM, QUESTION = "Be brief, and kind.", "in parallel: weather and clock of Zürich 漢😀"
RESULTS = {"weather": "12 degrees", "clock": '{"time": "noon"}'}


def tool(name: str, field: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}
    return {"type": "function", "function": {"name": name, "description": f"Tells the {name}.", "parameters": schema}}


TOOLS = [tool("weather", "city"), tool("clock", "zone")]
SCHEMAS = {made["function"]["name"]: made["function"]["parameters"] for made in TOOLS}
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("dialects")
    with contextlib.ExitStack() as stack:
        fake = stack.enter_context(fake_provider())
        (folder / "catalog.toml").write_text("".join(_catalog(fake.address)))
        url = f"sqlite:///{folder / 'tollway.db'}"
        settings = {**KEYS, "TOLLWAY_CATALOG": str(folder / "catalog.toml"), "TOLLWAY_DATABASE_URL": url, "TOLLWAY_HEALTH": "off"}
        started = stack.enter_context(tollway(settings, folder))
        yield stack.enter_context(contextlib.closing(Place(tollway=started, fake=fake, database_url=url)))


@pytest.fixture
def at(running: Place) -> Iterator[Place]:
    """Afterwards nothing is held, nothing in flight, and the fake had no error of its own."""
    running.fake.reset()
    for dialect in PROVIDERS:
        running.fake.fault(upstream(dialect), text=TEXT, usage=USAGE)
    yield running
    running.wait_until_idle()
    assert running.fake.health()["ok"], running.fake.health()


def upstream(dialect: str) -> str:
    return f"talks-{dialect}"


def _catalog(address: str) -> Iterator[str]:
    for dialect, path in PROVIDERS.items():
        variable = "AWS_BEARER_TOKEN_BEDROCK" if dialect == "bedrock" else "FAKE_API_KEY"
        price = ", ".join(f'{unit} = "{usd}"' for unit, usd in PRICES[dialect].items())
        yield f'[[provider]]\nslug = "{dialect}"\nname = "{dialect}"\ndialect = "{dialect}"\nbase_url = "{address}{path}"\n'
        yield f'api_key_env = "{variable}"\nregion = "eu-west-3"\n[[model]]\nid = "fake/{dialect}"\ncontext_length = 100000\n'
        yield f'[[endpoint]]\nmodel = "fake/{dialect}"\nprovider = "{dialect}"\nupstream_model = "{upstream(dialect)}"\n'
        yield f"max_output_tokens = 20000\nprice = {{ {price} }}\n"


# One conversation


@MODES
def test_the_same_conversation_with_tools_is_the_same_over_every_dialect(at: Place, stream: bool) -> None:
    told = {dialect: _conversation(at, dialect, stream) for dialect in PROVIDERS}
    first, second = told["openai"]
    assert [(call["name"], list(call["arguments"])) for call in first["calls"]] == [("weather", ["city"]), ("clock", ["zone"])]
    assert (first["reasons"], second["reasons"]) == (["tool_calls"], ["stop"])
    assert (second["text"], second["calls"]) == (TEXT, [])
    assert second["usage"] == (61, 17, 9)
    for dialect, answers in told.items():
        assert answers == (first, second), dialect
    asked = {dialect: meaning(dialect, at.fake.settled(upstream(dialect))[-1]["request_body"]) for dialect in PROVIDERS}
    expected = ["system", "user", *(("called", call["name"], call["arguments"]) for call in first["calls"])]
    assert [turn if turn[0] == "called" else turn[0] for turn in asked["openai"][0]][:4] == expected
    assert asked["openai"][0][4:] == [("result", "weather", RESULTS["weather"]), ("result", "clock", RESULTS["clock"])]
    assert asked["openai"][1:] == (SCHEMAS, 500, 0.5)
    for dialect, meant in asked.items():
        assert meant == asked["openai"], dialect


def _conversation(at: Place, dialect: str, stream: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was answered to the question and then to the tools' results; each turn costs what this endpoint's price says."""
    owner = at.account()
    turns: list[Json] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    first, message = _turn(at, owner, dialect, stream, turns)
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    results = [{"role": "tool", "tool_call_id": call["id"], "content": RESULTS[call["function"]["name"]]} for call in message["tool_calls"]]
    second, _ = _turn(at, owner, dialect, stream, [*turns, message, *results])
    return first, second


def _turn(at: Place, owner: Account, dialect: str, stream: bool, turns: list[Json]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was said, and the assistant's message as a client sends it back."""
    before = at.used(owner)
    answer = at.ask(owner, f"fake/{dialect}", messages=turns, tools=TOOLS, max_tokens=500, temperature=0.5, stream=stream)
    assert answer.status == 200, answer.body
    calls = _calls(answer)
    said = {
        "text": answer.said(),
        "calls": [{"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])} for call in calls],
        "reasons": answer.reasons(),
        "usage": _tokens(answer.usage),
    }
    due = charge_for(prompt=61, completion=17, cached=9, price=PRICES[dialect])
    assert (Decimal(answer.usage["cost"]), at.used(owner) - before) == (due, due)
    return said, {"role": "assistant", "content": answer.said() or None, "tool_calls": calls}


def _tokens(usage: Json) -> tuple[int, int, int]:
    return usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def _calls(answer: Answer) -> list[dict[str, Any]]:
    """Put together as OpenAI's clients do: by `index`, arguments joined."""
    calls: dict[int, dict[str, Any]] = {}
    for choice in answer.choices:
        part = choice.get("delta") or choice.get("message") or {}
        for place, call in enumerate(part.get("tool_calls") or []):
            if "id" in call:
                function = {**call["function"], "arguments": call["function"].get("arguments") or ""}
                calls[call.get("index", place)] = {"id": call["id"], "type": "function", "function": function}
            else:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return [call for _, call in sorted(calls.items())]


# What a request means, whatever its words

Meaning = tuple[list[tuple[Any, ...]], dict[str, Any], Any, Any]
"""Turns, tools by name, limit, temperature."""


def meaning(dialect: str, body: Json) -> Meaning:
    return {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini, "bedrock": _bedrock}[dialect](body)


def _openai(body: Json) -> Meaning:
    turns: list[tuple[Any, ...]] = []
    for message in body["messages"]:
        called = [("called", call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", [])]
        if message["role"] == "tool":
            turns.append(("result", message["tool_call_id"], message["content"]))
        elif message["content"]:
            turns.append((message["role"], message["content"]))
        turns += called
    ids = [call["id"] for message in body["messages"] for call in message.get("tool_calls", [])]
    tools = {made["function"]["name"]: made["function"]["parameters"] for made in body["tools"]}
    return _named(turns, ids), tools, body["max_tokens"], body["temperature"]


def _anthropic(body: Json) -> Meaning:
    turns: list[tuple[Any, ...]] = [("system", _text(body["system"]))]
    ids = []
    for message in body["messages"]:
        for block in [{"type": "text", "text": message["content"]}] if isinstance(message["content"], str) else message["content"]:
            if block["type"] == "text":
                turns.append((message["role"], block["text"]))
            elif block["type"] == "tool_use":
                turns.append(("called", block["name"], block["input"]))
                ids.append(block["id"])
            else:
                turns.append(("result", block["tool_use_id"], _text(block["content"])))
    tools = {made["name"]: made["input_schema"] for made in body["tools"]}
    return _named(turns, ids), tools, body["max_tokens"], body["temperature"]


def _gemini(body: Json) -> Meaning:
    turns: list[tuple[Any, ...]] = [("system", _text(body["systemInstruction"]["parts"]))]
    for content in body["contents"]:
        for part in content["parts"]:
            if "functionCall" in part:
                turns.append(("called", part["functionCall"]["name"], part["functionCall"]["args"]))
            elif "functionResponse" in part:
                response = part["functionResponse"]["response"]
                told = json.dumps(response) if "time" in response else next(iter(response.values()))
                turns.append(("result", part["functionResponse"]["name"], told))
            else:
                turns.append(({"model": "assistant"}.get(content["role"], content["role"]), part["text"]))
    tools = {each["name"]: each["parametersJsonSchema"] for made in body["tools"] for each in made["functionDeclarations"]}
    return turns, tools, body["generationConfig"]["maxOutputTokens"], body["generationConfig"]["temperature"]


def _bedrock(body: Json) -> Meaning:
    turns: list[tuple[Any, ...]] = [("system", _text(body["system"]))]
    ids = []
    for message in body["messages"]:
        for block in message["content"]:
            if "toolUse" in block:
                turns.append(("called", block["toolUse"]["name"], block["toolUse"]["input"]))
                ids.append(block["toolUse"]["toolUseId"])
            elif "toolResult" in block:
                turns.append(("result", block["toolResult"]["toolUseId"], _text(block["toolResult"]["content"])))
            else:
                turns.append((message["role"], block["text"]))
    tools = {made["toolSpec"]["name"]: made["toolSpec"]["inputSchema"]["json"] for made in body["toolConfig"]["tools"]}
    return _named(turns, ids), tools, body["inferenceConfig"]["maxTokens"], body["inferenceConfig"]["temperature"]


def _text(content: Json) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _named(turns: list[tuple[Any, ...]], ids: list[str]) -> list[tuple[Any, ...]]:
    """A result by the name of the tool that its id belongs to."""
    names = dict(zip(ids, [turn[1] for turn in turns if turn[0] == "called"], strict=True))
    return [("result", names[turn[1]], turn[2]) if turn[0] == "result" else turn for turn in turns]


# Every client API over every dialect

APIS: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
    "completions": {"prompt": "Hello"},
    "responses": {"input": "Hello"},
    "messages": {"max_tokens": 500, "messages": [{"role": "user", "content": "Hello"}]},
}


@pytest.mark.parametrize("route", APIS)
@pytest.mark.parametrize("dialect", PROVIDERS)
@MODES
def test_every_client_api_speaks_through_every_dialect_and_costs_the_same(at: Place, route: str, dialect: str, stream: bool) -> None:
    owner = at.account()
    answer = post(at, owner, route, {"model": f"fake/{dialect}", "stream": stream, **APIS[route]})
    assert (answer.status, answer.streamed) == (200, stream), answer.body
    assert said(route, answer) == TEXT
    [row] = at.fake.settled(upstream(dialect))
    assert (row["stream"], row["outcome"]) == (stream, "served")
    due = charge_for(**billed([row]), price=PRICES[dialect])
    assert due == charge_for(prompt=61, completion=17, cached=9, price=PRICES[dialect])
    books = at.books(owner)
    assert (at.used(owner), books.held) == (due, 0)


def said(route: str, answer: Answer) -> str:
    if route == "chat/completions":
        return answer.said()
    if route == "completions":
        return "".join(choice.get("text") or "" for choice in answer.choices)
    if route == "responses":
        if answer.streamed:
            return "".join(event["delta"] for event in answer.events if event["type"] == "response.output_text.delta")
        return "".join(part["text"] for item in answer.json["output"] for part in item.get("content", []))
    if answer.streamed:
        return "".join(event["delta"]["text"] for event in answer.events if event["type"] == "content_block_delta")
    return "".join(block["text"] for block in answer.json["content"])

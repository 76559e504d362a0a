"""A Messages request in the words of a chat: what goes where, what comes back as it left, and what is refused by which name."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.messages_blocks import renamed
from gateway.api.messages_body import Read, parse
from gateway.api.messages_stream import content_of
from gateway.errors import BadRequest, Problem
from policy.presets import Preset
from providers.anthropic_messages import Conversation

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CACHE = {"type": "ephemeral"}
WEATHER = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}}
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "acme/fast-1", "max_tokens": 9, "messages": [user("Hello")], **fields}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def read(**fields: Any) -> Read:
    return parse(json.dumps(body(**fields)).encode(), {})


def sent(**fields: Any) -> dict[str, Any]:
    return read(**fields).request.body.reveal()


def messages(*turns: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(turns), **fields)["messages"]
    return found


def refusal(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    return caught.value


# What goes where


def test_a_plain_request_is_a_plain_chat_whose_limit_stands_beside_it() -> None:
    request = read(temperature=0.5, top_p=0.9, top_k=40, stream=True, seed=7).request
    assert (request.model, request.max_tokens, request.stream, request.n) == ("acme/fast-1", 9, True, 1)
    assert request.body.reveal() == {
        "model": "acme/fast-1", "messages": [user("Hello")], "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stream": True, "seed": 7,
    }  # fmt: skip


def test_the_system_prompt_comes_first_with_its_caches() -> None:
    assert messages(user("x"), system="Be brief.")[0] == {"role": "system", "content": "Be brief."}
    blocks = [text("Be brief."), text("Long manual", cache_control=CACHE)]
    assert messages(user("x"), system=blocks)[0] == {"role": "system", "content": blocks}
    assert messages(user("x"), {"role": "system", "content": "Now be long."})[1] == {"role": "system", "content": "Now be long."}
    assert messages(user("x"), system=[])[0]["role"] == "user"


def test_media_become_the_parts_that_a_chat_has() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    by_url = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}, "cache_control": CACHE}
    pdf = {"type": "document", "title": "T.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}
    linked = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    (message,) = messages(user([text("What?"), image, by_url, pdf, linked]))
    assert message["content"] == [
        text("What?"),
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "cache_control": CACHE},
        {"type": "file", "file": {"filename": "T.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "https://example.com/a.pdf"}},
    ]
    request = read(messages=[user([image])]).request
    assert (request.media, "images" in request.capabilities) == (True, True)


def test_documents_of_text_are_text_which_is_held_for_by_its_length() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "word " * 1000}
    (message,) = messages(user([{"type": "document", "title": "Title", "context": "From 1990.", "source": source}]))
    assert message["content"] == [text("Title\nFrom 1990.\n\n"), text("word " * 1000)]
    assert read(messages=[user([{"type": "document", "source": source}])]).request.prompt_tokens_max > 5000
    nested = {"type": "document", "source": {"type": "content", "content": [text("One."), text("Two.")]}}
    assert messages(user([nested]))[0]["content"] == [text("One."), text("Two.")]
    found = {"type": "search_result", "source": "https://a.example", "title": "Title", "content": [text("One."), text("Two.")]}
    assert messages(user([found]))[0]["content"] == "Title\nhttps://a.example\n\nOne.\nTwo."


def test_tool_calls_and_their_results_stand_where_a_chat_has_them() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("12 degrees")]}
    two = {**USE, "id": "toolu_2"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    other = {"type": "tool_result", "tool_use_id": "toolu_2", "content": [text("See"), image], "cache_control": CACHE}
    found = messages(user("?"), assistant([text("Wait."), USE, two]), user([text("Well?"), result, other]), tools=[WEATHER])
    assert found == [
        user("?"),
        {"role": "assistant", "content": "Wait.", "tool_calls": [CALL, {**CALL, "id": "toolu_2"}]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "12 degrees"},
        {
            "role": "tool", "tool_call_id": "toolu_2",
            "content": [text("See"), {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, "cache_control": CACHE}],
        },
        user("Well?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [("no such city", "Error: no such city"), ("Error: none", "Error: none"), (None, "Error: "), ([], "Error: ")],
)
def test_a_failed_tool_says_so_in_words(content: Any, said: str) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}
    given = result if content is None else {**result, "content": content}
    assert messages(user("?"), assistant([USE]), user([given]))[-1]["content"] == said


def test_a_result_of_nothing_is_an_empty_text() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "cache_control": CACHE}
    found = messages(user("?"), assistant([USE]), user([result]))[-1]
    assert found == {"role": "tool", "tool_call_id": "toolu_1", "content": "", "cache_control": CACHE}


def test_tools_and_the_choice_among_them() -> None:
    function = {"name": "weather", "description": "Tells it.", "parameters": WEATHER["input_schema"]}
    tool = {"type": "function", "function": function}
    assert sent(tools=[WEATHER])["tools"] == [tool]
    assert sent(tools=[{**WEATHER, "type": "custom", "strict": True, "cache_control": CACHE}])["tools"] == [
        {"type": "function", "function": {**function, "strict": True}, "cache_control": CACHE}
    ]
    for choice, expected in (("auto", "auto"), ("any", "required"), ("none", "none")):
        assert sent(tools=[WEATHER], tool_choice={"type": choice})["tool_choice"] == expected
    chosen = sent(tools=[WEATHER], tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True})
    assert (chosen["tool_choice"], chosen["parallel_tool_calls"]) == ({"type": "function", "function": {"name": "weather"}}, False)
    assert "tool_choice" not in sent(tool_choice={"type": "auto"})


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"max_tokens": 1024}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, {"enabled": True, "effort": "high"}),
        ({"thinking": {"type": "disabled"}}, {"enabled": False}),
        ({"output_config": {"effort": "low"}}, {"effort": "low"}),
        ({}, None),
    ],
)
def test_thinking_is_asked_for_as_in_a_chat(fields: dict[str, Any], reasoning: dict[str, Any] | None) -> None:
    assert sent(max_tokens=4096, **fields).get("reasoning") == reasoning


def test_the_other_fields_have_their_words() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    for fields in ({"output_config": {"format": wanted}}, {"output_format": wanted}):
        assert sent(**fields)["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert sent(stop_sequences=["END"])["stop"] == ["END"]
    assert sent(service_tier="standard_only")["service_tier"] == "default"
    assert sent(metadata={"user_id": "u1"})["user"] == "u1"
    assert sent(metadata={"user_id": "u1"}, user="u2")["user"] == "u2"
    request = read(fallbacks=[{"model": "acme/b"}], provider={"sort": "price"}, session_id="s").request
    assert (request.models, request.preferences, request.session_id) == (("acme/b",), {"sort": "price"}, "s")


def test_a_long_user_id_stays_the_same_one_but_short() -> None:
    found = [read(metadata={"user_id": f"user_{who * 80}"}).request for who in ("a", "a", "b")]
    one, again, other = (each.body.reveal()["user"] for each in found)
    assert one == again != other
    assert len(one) == 64
    assert found[0].adjusted == ("metadata.user_id",)


def test_what_cannot_be_kept_is_left_out_and_named() -> None:
    fields = {"context_management": {"edits": []}, "n": 2, "speed": "fast", "container": None, "diagnostics": {}, "modalities": ["audio"]}
    request = read(**fields, thinking={"type": "adaptive", "display": "omitted"}, tools=[{**WEATHER, "defer_loading": True}]).request
    assert sorted(request.adjusted) == ["context_management", "diagnostics", "modalities", "n", "speed", "thinking.display", "tools"]
    assert not request.body.reveal().keys() & fields.keys()
    assert read(speed="standard", betas=["x"], anthropic_version="y").request.adjusted == ()


def test_a_cache_for_the_whole_request_is_that_of_its_last_part() -> None:
    assert messages(user("x"), cache_control=CACHE) == [user([text("x", cache_control=CACHE)])]
    assert "cache_write" in read(cache_control=CACHE).request.extras


def test_a_preset_sets_what_a_message_can_have() -> None:
    known = {"short": Preset(parameters={"temperature": 1.5}), "many": Preset(parameters={"n": 2})}
    assert parse(json.dumps(body(preset="short")).encode(), known).request.body.reveal()["temperature"] == 1.5
    with pytest.raises(BadRequest, match="preset"):
        parse(json.dumps(body(preset="many")).encode(), known)


# Thoughts come back as they left

DETAILS = [
    {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "format": "anthropic-claude-v1", "index": 1},
    {"type": "reasoning.text", "text": "Well.", "format": "google-gemini-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "c2ln", "id": "call_1", "format": "google-gemini-v1", "index": 1},
    {"type": "reasoning.summary", "summary": "Short.", "format": "openai-responses-v1", "id": "rs_1", "index": 0},
    {"type": "reasoning.text", "text": "Tja.", "signature": "x", "format": "unknown", "index": 0},
]


def echoed(message: dict[str, Any]) -> dict[str, Any]:
    """What a client sends back of an answer, as the next request has it."""
    content = content_of(message, "gen-1-abc")
    return messages(user("?"), assistant(content), user("!"))[1]


@pytest.mark.parametrize("details", [[DETAILS[0]], *([each] for each in DETAILS[2:]), DETAILS[:2], DETAILS[2:4]], ids=range(7))
def test_details_of_every_provider_survive_the_round_trip(details: list[dict[str, Any]]) -> None:
    assert echoed({"content": "So.", "reasoning_details": details}) == {
        "role": "assistant", "content": "So.", "reasoning_details": details,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_plain_thoughts_go_back_under_the_name_they_came_by(name: str) -> None:
    assert echoed({"content": "So.", name: "Hm."}) == {"role": "assistant", "content": "So.", name: "Hm."}


def test_claudes_own_blocks_are_the_same_here_and_there() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "ZGF0YQ=="}, USE]
    chat = messages(user("?"), assistant(blocks), user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12"}]))
    assert content_of(chat[1], "gen-1-abc") == blocks
    assert Conversation(chat, lambda name: None).turns[1] == assistant(blocks)


@pytest.mark.parametrize("inside", [None, "{}", '{"type":"x"}', "[]", '{"type":["reasoning"]}'])
def test_a_damaged_signature_is_refused_by_its_place(inside: str | None) -> None:
    damaged = "tollway." + ("%%%" if inside is None else base64.b64encode(inside.encode()).decode())
    said = assistant([{"type": "thinking", "thinking": "Hm.", "signature": damaged}])
    assert refusal(messages=[user("?"), said]).param == "messages[1].content[0].signature"
    said = assistant([{"type": "redacted_thinking", "data": damaged}])
    assert refusal(messages=[user("?"), said]).param == "messages[1].content[0].data"


# What is refused, by which name

SERVER_TOOL = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [user(None)]}, "messages[0].content"),
        ({"messages": [user([])]}, "messages[0].content"),
        ({"messages": [user("")]}, "messages[0].content"),
        ({"messages": [user([{}])]}, "messages[0].content[0].type"),
        ({"messages": [user([{"type": "text"}])]}, "messages[0].content[0].text"),
        ({"messages": [user([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}])]}, "messages[0].content[0]"),
        ({"messages": [user("x"), assistant([text("y"), {"type": "web_search_tool_result", "content": []}])]}, "messages[1].content[1]"),
        ({"messages": [user([{"type": "thinking", "thinking": "x", "signature": "y"}])]}, "messages[0].content[0]"),
        ({"messages": [user("x"), assistant([{"type": "thinking"}])]}, "messages[1].content[0].thinking"),
        ({"messages": [user("x"), assistant([{"type": "image"}])]}, "messages[1].content[0]"),
        ({"messages": [user("x"), assistant([{**USE, "input": "x"}])]}, "messages[1].content[0].input"),
        ({"messages": [user("x"), assistant([{"type": "tool_use", "id": "i", "name": "n"}])]}, "messages[1].content[0].input"),
        ({"messages": [user([{"type": "tool_result", "content": "x"}])]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}])]}, "messages[0].content[0].tool_use_id"),
        (
            {"messages": [user("x"), assistant([USE]), user([{"type": "tool_result", "tool_use_id": "toolu_1"}] * 2)]},
            "messages[2].content[1].tool_use_id",
        ),
        (
            {"messages": [user("x"), assistant([USE]), user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [USE]}])]},
            "messages[2].content[0].content[0]",
        ),
        ({"messages": [user([{"type": "image"}])]}, "messages[0].content[0].source"),
        ({"messages": [user([{"type": "image", "source": {"type": "file", "file_id": "f"}}])]}, "messages[0].content[0].source.type"),
        ({"messages": [user([{"type": "image", "source": {"type": "url", "url": "file:///etc"}}])]}, "messages[0].content[0].source.url"),
        (
            {"messages": [user([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": PNG}}])]},
            "messages[0].content[0].source.media_type",
        ),
        (
            {"messages": [user([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG[:-1]}}])]},
            "messages[0].content[0].source.data",
        ),
        (
            {"messages": [user([{"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": "YQ=="}}])]},
            "messages[0].content[0].source.media_type",
        ),
        ({"messages": [user([{"type": "document", "source": {"type": "text"}}])]}, "messages[0].content[0].source.data"),
        ({"system": [text("x"), {"type": "image"}]}, "system[1]"),
        ({"system": 5}, "system"),
        ({"tools": [WEATHER, SERVER_TOOL]}, "tools[1]"),
        ({"tools": [{"name": "x"}]}, "tools[0]"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{**WEATHER, "input_schema": []}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "clock"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": "auto"}, "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 2000}, "thinking.budget_tokens"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"fallbacks": [{"model": "a/b"}], "models": ["a/c"]}, "fallbacks"),
        ({"fallbacks": [{"model": "a/b"}] * 4}, "fallbacks"),
        ({"fallbacks": [{"model": "a/b", "max_tokens": 5}]}, "fallbacks[0]"),
        ({"metadata": "x"}, "metadata"),
        ({"base_url": "http://evil"}, "base_url"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_wrong_is_named_by_anthropics_field(fields: dict[str, Any], param: str) -> None:
    given = {name: value for name, value in body(**fields).items() if value is not None}
    with pytest.raises(BadRequest) as caught:
        parse(json.dumps(given).encode(), {})
    assert (caught.value.param, caught.value.status) == (param, 400)
    assert caught.value.message.startswith(param)


def test_counting_needs_no_limit() -> None:
    given = {"model": "acme/fast-1", "messages": [user("Hello")], "thinking": {"type": "enabled", "budget_tokens": 5000}}
    assert parse(json.dumps(given).encode(), {}, counting=True).request.max_tokens is None


@pytest.mark.parametrize(
    ("chat", "own"),
    [
        ("messages[0]", "system"), ("messages[0].content[1]", "system[1]"), ("messages[1].content", "messages[0]"),
        ("messages[2].tool_calls[0].function.arguments", "messages[1].content[2]"), ("messages[2].content[0]", "messages[1].content[1]"),
        ("messages[3].content[0]", "messages[2].content[1]"), ("messages[4].content[1]", "messages[2].content[2]"),
        ("messages[9]", "messages[9]"), ("tools[0]", "tools[0]"),
    ],
)  # fmt: skip
def test_who_finds_something_wrong_later_names_the_clients_own_place(chat: str, own: str) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12"}
    turns = [user("?"), assistant([thought, text("Wait."), USE]), user([text("a"), result, text("b")])]
    origins = read(system=[text("a"), text("b")], messages=turns).origins
    found = renamed(Problem(400, f"{chat}: is wrong.", param=chat), origins)
    assert (found.param, found.message) == (own, f"{own}: is wrong.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "source", "content", "x"]), inner),
    max_leaves=8,
)  # fmt: skip
KINDS = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result", "tool_reference", "x")
FIELDS = ("text", "source", "title", "id", "name", "input", "tool_use_id", "content", "thinking", "signature", "data", "cache_control")
BLOCKS = st.builds(
    lambda kind, fields: {**fields, "type": kind}, st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)
)


CONTENT = st.text(max_size=5) | st.lists(BLOCKS, max_size=3)
TURNS = st.builds(lambda role, content: {"role": role, "content": content}, st.sampled_from(["user", "assistant", "system"]), CONTENT)


@given(st.lists(TURNS, max_size=4))
def test_no_request_is_anything_but_understood_or_refused_by_a_name(turns: list[dict[str, Any]]) -> None:
    try:
        found = read(messages=turns)
    except BadRequest as error:
        named = error.param is not None and error.message.startswith(error.param)
    else:
        named = len(found.origins) == len(found.request.body.reveal()["messages"])
    assert named

"""What the openai dialect leaves out or moves for servers of that API, and that it leaves everything else as the client wrote it."""

from typing import Any

import pytest

from metering.price import Price
from providers.content import Content
from providers.openai_request import fitted
from providers.provider import Call, ChatRequest, Endpoint, Model, Provider

CACHE = {"cache_control": {"type": "ephemeral"}}
CLAUDES = {"type": "reasoning.text", "text": "Hm.", "signature": "x", "format": "anthropic-claude-v1", "index": 0}
GEMINIS = {"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1", "index": 0}
OWN = {"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 0}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
FILE = {"type": "file", "file": {"file_id": "x"}}
PLAIN = Price(prompt=1, completion=1)


def sent(body: dict[str, Any], *, price: Price = PLAIN, extras: frozenset[str] = frozenset()) -> tuple[Any, list[str]]:
    """The body that leaves, and the names of what was adjusted."""
    adjusted: list[str] = []
    provider = Provider(slug="acme", name="Acme", dialect="openai")
    model = Model(id="acme/fast-1", name="Fast", company="acme", context_length=1000)
    endpoint = Endpoint(id="e", model=model, provider=provider, upstream_model="m", price=price, price_id=price.id, context_length=1000)
    request = ChatRequest(
        body=Content(body), model="m", stream=False, include_usage=False, max_tokens=None, n=1, prompt_tokens_max=1, extras=extras
    )
    call = Call(request=request, endpoint=endpoint, api_key=None, max_tokens=None, generation_id="gen-1", adjust=adjusted.append)
    return fitted(body, call), adjusted


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def test_what_nobody_refuses_goes_on_as_it_is() -> None:
    body = {
        "messages": [
            {"role": "user", "content": [text("a"), IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}], "reasoning_content": "Hm.", "reasoning_details": [OWN]},
            {"role": "tool", "tool_call_id": "a", "content": [text("x")]},
        ],
        "x_made_up": 1,
    }
    assert sent(body) == (body, [])


@pytest.mark.parametrize(
    ("reasoning", "adjusted"),
    [({"effort": "low"}, []), ({"max_tokens": 9}, ["reasoning"]), ({"enabled": False}, ["reasoning"]), ({"exclude": True}, [])],
)
def test_what_openai_has_no_word_for_in_reasoning_is_named(reasoning: dict[str, Any], adjusted: list[str]) -> None:
    assert sent({"messages": [], "reasoning": reasoning}) == ({"messages": []}, adjusted)


def test_thoughts_that_only_another_dialect_can_read_stay_here() -> None:
    said = {"role": "assistant", "content": "x"}
    for details, kept in (([CLAUDES, GEMINIS], None), ([CLAUDES, OWN], [OWN])):
        body, adjusted = sent({"messages": [{**said, "reasoning_details": details}]})
        assert body["messages"] == [said if kept is None else {**said, "reasoning_details": kept}]
        assert adjusted == []


def test_images_of_tools_follow_their_results_as_a_users() -> None:
    tool = {"role": "tool", "tool_call_id": "a"}
    messages = [
        {**tool, "content": [text("x"), IMAGE]},
        {**tool, "content": "y"},
        {**tool, "content": [FILE]},
        {"role": "user", "content": "?"},
    ]
    body, adjusted = sent({"messages": messages})
    assert body["messages"] == [
        {**tool, "content": [text("x"), text("(The images that the tool returned: see the next message.)")]},
        {**tool, "content": "y"},
        {**tool, "content": [text("(The files that the tool returned: see the next message.)")]},
        {"role": "user", "content": [IMAGE, FILE]},
        {"role": "user", "content": "?"},
    ]
    assert adjusted == ["messages"]
    assert sent({"messages": messages[:1]})[0]["messages"][1:] == [{"role": "user", "content": [IMAGE]}]


def test_the_mark_of_a_cache_is_for_those_who_have_a_price_for_it() -> None:
    marked = {
        "messages": [{"role": "user", "content": [text("a", **CACHE)]}, {"role": "tool", "content": "x", **CACHE}],
        "tools": [{"type": "function", "function": {"name": "f", **CACHE}, **CACHE}],
    }
    bare = {
        "messages": [{"role": "user", "content": [text("a")]}, {"role": "tool", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    extras = frozenset({"cache_write"})
    assert sent(marked, extras=extras) == (bare, ["cache_control"])
    assert sent(marked, extras=extras, price=Price(prompt=1, completion=1, cache_write=2)) == (marked, [])
    assert marked["tools"][0]["cache_control"]

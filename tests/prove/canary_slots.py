"""Every place where somebody's words can stand in a request or in an answer: each has a marker of its own, sent through a real gateway."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.prove.canary_provider import Script, chunk, document, error, raw_stream, stream, whole
from tests.prove.canary_site import Site

Json = Any
HELLO = {"role": "user", "content": "Hello."}
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}


class Slot(NamedTuple):
    """`act` sends the marker to its place."""

    name: str
    act: Callable[[Site, str], None]


def _with(*messages: Json, **more: Json) -> Json:
    return {"messages": [*messages], **more}


def _part(part: Json) -> Json:
    return _with({"role": "user", "content": [part]})


CHATS: dict[str, Callable[[str], Json]] = {
    "system text": lambda m: _with({"role": "system", "content": m}, HELLO),
    "developer text": lambda m: _with({"role": "developer", "content": m}, HELLO),
    "user text": lambda m: _with({"role": "user", "content": f"What is {m}?"}),
    "user text in a part": lambda m: _part({"type": "text", "text": m}),
    "assistant text": lambda m: _with(HELLO, {"role": "assistant", "content": m}, HELLO),
    "assistant reasoning": lambda m: _with(HELLO, {"role": "assistant", "content": "Hm.", "reasoning": m}, HELLO),
    "name of a user": lambda m: _with({**HELLO, "name": m}),
    "image address": lambda m: _part({"type": "image_url", "image_url": {"url": f"https://pictures.example/{m}.png"}}),
    "image data": lambda m: _part({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{m}"}}),
    "file name": lambda m: _part({"type": "file", "file": {"filename": f"{m}.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
    "file data": lambda m: _part({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{m}"}}),
    "audio data": lambda m: _part({"type": "input_audio", "input_audio": {"data": m, "format": "wav"}}),
    "tool name": lambda m: _with(HELLO, tools=[{"type": "function", "function": {"name": m}}]),
    "tool description": lambda m: _with(HELLO, tools=[{"type": "function", "function": {**TOOL["function"], "description": m}}]),
    "tool schema": lambda m: _with(HELLO, tools=[{"type": "function", "function": {"name": "a", "parameters": {"type": "object", m: {}}}}]),
    "tool choice": lambda m: _with(HELLO, tools=[TOOL], tool_choice={"type": "function", "function": {"name": m}}),
    "tool call name": lambda m: _called({"name": m, "arguments": "{}"}),
    "tool call arguments": lambda m: _called({"name": "lookup", "arguments": json.dumps({"who": m})}),
    "tool call id": lambda m: _called({"name": "lookup", "arguments": "{}"}, id=m),
    "tool result": lambda m: _called({"name": "lookup", "arguments": "{}"}, result=m),
    "unknown role": lambda m: _with({"role": m, "content": "Hello."}),
    "unknown tool type": lambda m: _with(HELLO, tools=[{"type": m}]),
    "unknown part type": lambda m: _part({"type": m}),
    "unknown field": lambda m: _with(HELLO, **{m: 1}),
    "wrong field value": lambda m: _with(HELLO, temperature=m),
    "user": lambda m: _with(HELLO, user=m),
    "metadata value": lambda m: _with(HELLO, metadata={"a": m}),
    "metadata name": lambda m: _with(HELLO, metadata={m: "a"}),
    "stop string": lambda m: _with(HELLO, stop=[m]),
    "session id": lambda m: _with(HELLO, session_id=m),
    "prompt cache key": lambda m: _with(HELLO, prompt_cache_key=m),
    "safety identifier": lambda m: _with(HELLO, safety_identifier=m),
    "name of a schema": lambda m: _with(HELLO, response_format={"type": "json_schema", "json_schema": {"name": m, "schema": {}}}),
    "schema": lambda m: _with(HELLO, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"title": m}}}),
    "prediction": lambda m: _with(HELLO, prediction={"type": "content", "content": m}),
    "unknown model": lambda m: _with(HELLO, model=m),
    "unknown model of a known maker": lambda m: _with(HELLO, model=f"acme/{m}"),
    "unknown fallback model": lambda m: _with(HELLO, models=[m]),
    "unknown preset": lambda m: _with(HELLO, model=f"acme/one@preset/{m}"),
    "unknown provider": lambda m: _with(HELLO, provider={"only": [m]}),
    "unknown preference": lambda m: _with(HELLO, provider={m: True}),
    "service tier": lambda m: _with(HELLO, service_tier=m),
    "reasoning effort": lambda m: _with(HELLO, reasoning={"effort": m}),
    "word with a bias": lambda m: _with(HELLO, logit_bias={m: 1}),
}
"""Bodies of POST chat/completions."""


def _called(function: Json, *, id: str = "call_1", result: str = "4") -> Json:
    return _with(
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [{"id": id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": id, "content": result},
        tools=[TOOL],
    )


ROUTES: dict[str, tuple[str, Callable[[str], Json]]] = {
    "prompt of completions": ("completions", lambda m: {"prompt": m}),
    "suffix of completions": ("completions", lambda m: {"prompt": "Hello.", "suffix": m}),
    "text to embed": ("embeddings", lambda m: {"input": m, "model": "acme/vectors"}),
    "texts to embed": ("embeddings", lambda m: {"input": ["Hello.", m], "model": "acme/vectors"}),
    "input of responses": ("responses", lambda m: {"input": m}),
    "input item of responses": ("responses", lambda m: {"input": [{"role": "user", "content": [{"type": "input_text", "text": m}]}]}),
    "instructions of responses": ("responses", lambda m: {"input": "Hello.", "instructions": m}),
    "metadata of responses": ("responses", lambda m: {"input": "Hello.", "metadata": {"a": m}}),
    "previous response": ("responses", lambda m: {"input": "Hello.", "previous_response_id": m}),
    "system of messages": ("messages", lambda m: {"system": m, "messages": [HELLO], "max_tokens": 9}),
    "text of messages": ("messages", lambda m: {"messages": [{"role": "user", "content": m}], "max_tokens": 9}),
    "user id of messages": ("messages", lambda m: {"messages": [HELLO], "metadata": {"user_id": m}, "max_tokens": 9}),
    "tool result of messages": ("messages", lambda m: {"messages": _tool_result(m), "max_tokens": 9, "tools": [_LOOKUP]}),
    "text to count": ("messages/count_tokens", lambda m: {"messages": [{"role": "user", "content": m}]}),
    "text to explain": ("route/explain", lambda m: {"messages": [{"role": "user", "content": m}]}),
}
"""(route, body)."""
_LOOKUP = {"name": "lookup", "input_schema": {"type": "object"}}


def _tool_result(marker: str) -> list[Json]:
    asked = {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {}}
    told = {"type": "tool_result", "tool_use_id": "toolu_1", "content": marker}
    return [HELLO, {"role": "assistant", "content": [asked]}, {"role": "user", "content": [told]}]


HEADERS: dict[str, Callable[[str], dict[str, str]]] = {
    "idempotency key": lambda m: {"Idempotency-Key": m},
    "path of the referer": lambda m: {"HTTP-Referer": f"https://app.example/{m}?q={m}#{m}"},
    "user in the referer": lambda m: {"HTTP-Referer": f"https://{m}@app.example/"},
    "referer that is no address": lambda m: {"HTTP-Referer": m},
    "host of the referer, nothing logged": lambda m: {"HTTP-Referer": f"https://{m[:60]}.example/", "X-Tollway-Logging": "none"},
    "title beyond 64 characters": lambda m: {"X-Title": "t" * 64 + m},
    "title, nothing logged": lambda m: {"X-Title": m, "X-Tollway-Logging": "none"},
    "session header": lambda m: {"X-Session-Id": m},
    "wrong logging word": lambda m: {"X-Tollway-Logging": m},
    "unknown header": lambda m: {"X-Unknown": m},
    "name of a header": lambda m: {f"X-{m}": "1"},
    "user agent": lambda m: {"User-Agent": m},
    "cookie": lambda m: {"Cookie": f"a={m}"},
    "wrong key": lambda m: {"Authorization": f"Bearer sk-tw-v1-{m}"},
    "content type": lambda m: {"Content-Type": f"application/{m}"},
}
"""Of a plain chat request."""

RAW: dict[str, Callable[[str], bytes]] = {
    "malformed JSON": lambda m: f'{{"model": "acme/one", "messages": [{{"role": "user", "content": "{m}'.encode(),
    "JSON that is no object": lambda m: json.dumps([m]).encode(),
    "bytes that are no text": lambda m: b'{"messages": "\xff' + m.encode() + b'"}',
    "deep JSON": lambda m: b'{"a":' * 2000 + json.dumps(m).encode() + b"}" * 2000,
    "body that is too large": lambda m: json.dumps({"model": "acme/one", "messages": [{"role": "user", "content": m * 20_000}]}).encode(),
}

SPOKEN: dict[str, Callable[[str], Script]] = {
    "answer in one piece": lambda m: stream({"content": m}),
    "answer over 64 pieces": lambda m: stream(*({"content": letter} for letter in m)),
    "answer over 4 pieces": lambda m: stream(*({"content": m[at : at + 16]} for at in range(0, 64, 16))),
    "reasoning": lambda m: stream({"reasoning_content": m}, {"content": "So."}),
    "refusal": lambda m: stream({"refusal": m}),
    "called tool": lambda m: stream(
        {"tool_calls": [{**CALL, "index": 0, "function": {"name": m, "arguments": "{}"}}]}, finish="tool_calls"
    ),
    "arguments of a called tool": lambda m: stream(
        {"tool_calls": [{**CALL, "index": 0}]}, {"tool_calls": [{"index": 0, "function": {"arguments": m}}]}, finish="tool_calls"
    ),
    "tool call that is none": lambda m: stream({"content": "a", "tool_calls": [m, {"index": m, "function": m}, None]}),
    "own reason to finish": lambda m: stream({"content": "a"}, finish=m),
    "own id": lambda m: stream(chunk({"content": "a"}, id=f"id of {m}")),
    "own model": lambda m: stream(chunk({"content": "a"}, model=m)),
    "own fingerprint": lambda m: stream(chunk({"content": "a"}, system_fingerprint=m)),
    "own field": lambda m: stream(chunk({"content": "a", m: m}, **{m: m})),
    "usage that is none": lambda m: stream(chunk({"content": "a"}, usage={"prompt_tokens": m, m: 1})),
    "error inside the stream": lambda m: stream({"content": "a"}, {"error": {"message": m, "type": m, "code": m}}),
    "error in place of the stream": lambda m: stream({"error": {"message": m, "type": m, "code": m}}),
    "event that is no JSON": lambda m: raw_stream(f"data: {{{m}\n\n".encode()),
    "event after content that is no JSON": lambda m: raw_stream(_event("a"), f"data: {m}\n\n".encode()),
    "names and comments of events": lambda m: raw_stream(f": {m}\nevent: {m}\nid: {m}\n".encode() + _event("a"), b"data: [DONE]\n\n"),
    "cut answer": lambda m: raw_stream(_event(m)),
}
"""Scripts of a streamed answer."""

TOLD: dict[str, Callable[[str], Script]] = {
    "whole answer": lambda m: whole({"content": m}),
    "whole reasoning": lambda m: whole({"content": "a", "reasoning_content": m}),
    "whole answer's reason to finish": lambda m: whole({"content": "a"}, finish=m),
    "whole answer's id": lambda m: whole({"content": "a"}, id=f"{m} {m}"),
    "400 that echoes the prompt": lambda m: error(400, f"Your prompt {m} is bad."),
    "400 with its own words": lambda m: error(400, "Bad.", code=m, type=m, param=m),
    "401": lambda m: error(401, m),
    "404": lambda m: error(404, m, code=m),
    "413": lambda m: error(413, m),
    "429": lambda m: error(429, m, code=m),
    "500": lambda m: error(500, m, code=m, type=m),
    "502 with a page": lambda m: Script((f"<h1>{m}</h1>".encode(),), 502, {"content-type": "text/html"}),
    "200 that is no JSON": lambda m: Script((m.encode(),), 200, {"content-type": "application/json"}),
    "200 with an error": lambda m: document({"error": {"message": m, "code": m}}),
    "200 without choices": lambda m: document({"said": m, "choices": m}),
    "headers of the provider": lambda m: document(
        {"error": m}, 400, **{"x-request-id": m, f"x-{m}": m, "content-type": f"application/{m}"}
    ),
    "redirect": lambda m: document({}, 302, location=f"https://elsewhere.example/{m}"),
    "time to wait": lambda m: document({"error": {"message": "Later."}}, 429, **{"retry-after": m}),
}
"""Scripts of an answer that is not streamed."""


def _event(text: str) -> bytes:
    return b"data: " + json.dumps(chunk({"content": text})).encode() + b"\n\n"


PATHS = {
    "path": "{m}",
    "model in the path": "models/acme/{m}",
    "id of a generation": "generation?id={m}",
    "id of content": "generation/content?id={m}",
    "id of a stream": "generation/stream?id={m}",
    "page of logs": "logs?after=1.{m}",
    "day of an export": "usage/export?from={m}&to={m}",
    "unknown question": "credits?{m}={m}",
    "id of a key": "keys/{m}",
}
"""Of a GET."""


def slots() -> list[Slot]:
    return list(_slots())


def _slots() -> Iterator[Slot]:
    for name, chat in CHATS.items():
        yield Slot(name, lambda at, m, chat=chat: at.post("chat/completions", chat(m)))  # type: ignore[misc]
    for name, (route, body) in ROUTES.items():
        yield Slot(name, lambda at, m, route=route, body=body: at.post(route, body(m)))  # type: ignore[misc]
    for name, headers in HEADERS.items():
        yield Slot(f"header: {name}", lambda at, m, headers=headers: at.post("chat/completions", _with(HELLO), headers(m)))  # type: ignore[misc]
    for name, raw in RAW.items():
        yield Slot(name, lambda at, m, raw=raw: at.post("chat/completions", raw(m)))  # type: ignore[misc]
    for name, script in SPOKEN.items():
        yield Slot(f"stream: {name}", lambda at, m, script=script: _answered(at, script(m), stream=True))  # type: ignore[misc]
    for name, script in TOLD.items():
        yield Slot(f"provider: {name}", lambda at, m, script=script: _answered(at, script(m), stream=False))  # type: ignore[misc]
    for name, path in PATHS.items():
        yield Slot(f"address: {name}", lambda at, m, path=path: at.get(path.format(m=m)))  # type: ignore[misc]
    yield Slot("body of a client that leaves", _leaves_early)
    yield Slot("cancelled stream", _leaves)
    yield Slot("provider that stops", lambda at, m: _answered(at, raw_stream(_event(m), hold=2), stream=True, text=m))
    yield Slot("provider that never begins", lambda at, m: _answered(at, raw_stream(_event(m), first=2), stream=True, text=m))
    yield Slot("unforeseen error", _unforeseen)
    yield Slot("resumable stream", _resumable)


def _answered(at: Site, script: Script, *, stream: bool, text: str = "Hello.") -> None:
    at.provider.says = script
    try:
        at.post("chat/completions", {"messages": [{"role": "user", "content": text}], "stream": stream})
    finally:
        at.provider.says = None


def _leaves_early(at: Site, marker: str) -> None:
    at.leave(f'{{"messages": "{marker}'.encode(), announced=5000, until=b"")


def _leaves(at: Site, marker: str) -> None:
    at.provider.says = stream({"content": marker}, {"content": marker}, pause=0.2)
    at.leave(json.dumps({"model": "acme/one", **_with({"role": "user", "content": marker}), "stream": True}).encode(), until=b"content")
    at.provider.says = None


def _resumable(at: Site, marker: str) -> None:
    """The client leaves and the answer goes on; at the time of the scan its tape is still there."""
    at.provider.says = stream({"content": marker}, {"content": marker}, pause=0.1)
    body = json.dumps({"model": "acme/one", **_with({"role": "user", "content": marker}), "stream": True}).encode()
    at.leave(body, until=b"content", headers={"X-Tollway-Resumable": "on"})
    at.provider.says = None


def _unforeseen(at: Site, marker: str) -> None:
    """The database refuses what it never refused before, in the middle of the request."""
    with at.refusing_claims():
        at.post("chat/completions", _with({"role": "user", "content": marker}, user=marker), {"Idempotency-Key": marker})

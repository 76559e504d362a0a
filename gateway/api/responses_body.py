"""The body of a Responses request: checked field by field, then said in the words of the canonical chat request.

Nothing is stored, so a request brings its whole conversation: what would refer to something stored is refused by name, and `store: true`
is accepted, kept nowhere and named in X-Tollway-Adjusted. Fields that are not read here pass as they do in a chat request.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from gateway.api.chat_body import NONE, canonical, checked, decode
from gateway.api.responses_fields import ResponsesBody, TextConfig
from gateway.api.responses_input import Messages
from gateway.api.responses_tools import choice_of, left_out, tools_of
from gateway.errors import BadRequest
from policy.presets import Preset
from providers.content import Content
from providers.provider import ChatRequest

STORED: Final = "previous_response_id", "conversation", "prompt"
_STATELESS: Final = "is not possible here, because nothing is stored"
CHAT_ONLY: Final = {"messages": "input", "functions": "tools", "function_call": "tool_choice"}
NOT_DONE: Final = "max_tool_calls", "context_management", "background_options"
"""Accepted, without effect, and named in X-Tollway-Adjusted: they are about what the server would do between two answers."""
TIERS_UNKEPT: Final = ("flex", "priority", "scale")
"""Accepted, left out, and named there too: their prices are others than those of the catalog."""
ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"
_ITEMS: Final = "message, reasoning, function_call and function_call_output"
_PARTS: Final = "input_text, input_image, input_file, input_audio, output_text and refusal"
_TYPE: Final = re.compile(r"input\[\d+\](\.(content|output)\[\d+\])?\.type")
_READ: Final = frozenset({*STORED, *NOT_DONE, "include", "input", "instructions", "max_output_tokens", "stream_options"}) | {
    *("background", "parallel_tool_calls", "reasoning", "store", "text", "tool_choice", "tools", "top_logprobs", "truncation"),
}
_ECHOED: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "user", "safety_identifier", "prompt_cache_key")


class JsonSchemaFormat(msgspec.Struct):
    """`text.format` of type json_schema."""

    name: str
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class Echo(msgspec.Struct, frozen=True):
    """What the answer repeats of its request, and what it needs to know of it.

    `model` is shown until it is known who answers. `encrypted`: reasoning is given back as `encrypted_content` too. `messages` tells
    places in the chat by the items of the input.
    """

    model: str
    fields: Content[dict[str, Any]]
    encrypted: bool
    messages: Messages

    def __repr__(self) -> str:
        return "Echo(<content>)"


def parse(raw: bytes, known: Mapping[str, Preset] = NONE) -> tuple[ChatRequest, Echo]:
    """`known` are the account's presets. BadRequest names the field as the client wrote it; UnknownPreset."""
    body = decode(raw)
    _refuse(body)
    asked = _checked(body)
    messages = Messages(asked.input, asked.instructions)
    chat = {name: value for name, value in body.items() if name not in _READ}
    chat |= {name: value for name, value in _translated(asked, messages) if value is not None}
    if asked.service_tier in TIERS_UNKEPT:
        del chat["service_tier"]
    try:
        request = canonical(chat, raw, known, adjusted=tuple(_adjusted(body, asked, messages)))
    except BadRequest as error:
        message, param = messages.renamed(error.message), messages.renamed(error.param or "") or None
        raise BadRequest(message, param=param, status=error.status, error_type=error.error_type) from None
    sent = request.body.reveal()
    sent.pop("max_tokens", None)  # in the request's own field: each provider has its own name for it
    return request, Echo(request.model, Content(_echo(asked, request, sent)), ENCRYPTED in (asked.include or ()), messages)


def _checked(body: dict[str, Any]) -> ResponsesBody:
    items = body.get("input")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") is None:
            item["type"] = "message"
    try:
        return checked(body, ResponsesBody)
    except BadRequest as error:
        if _TYPE.fullmatch(error.param or "") is None:
            raise
        one_of = _PARTS if "content" in str(error.param) or "output" in str(error.param) else _ITEMS
        raise BadRequest(f"{error.param}: must be one of {one_of}; anything else cannot be passed on.", param=error.param) from None


def _refuse(body: dict[str, Any]) -> None:
    for name in STORED:
        if body.get(name) is not None:
            raise BadRequest(f"{name}: {_STATELESS}; send the whole conversation as input.", param=name)
    if body.get("background"):
        raise BadRequest(f"background: {_STATELESS}; use stream: true for long answers.", param="background")
    for name, instead in CHAT_ONLY.items():
        if body.get(name) is not None:
            raise BadRequest(f"{name}: is a field of chat/completions; use {instead} here.", param=name)


def _translated(asked: ResponsesBody, messages: Messages) -> Iterator[tuple[str, Any]]:
    tools = tools_of(asked.tools)
    yield "messages", messages.messages
    yield "max_tokens", asked.max_output_tokens
    if asked.top_logprobs or LOGPROBS in (asked.include or ()):
        yield "logprobs", True
        yield "top_logprobs", asked.top_logprobs
    choice, offered = choice_of(asked.tool_choice, tools)
    if offered:
        yield "tools", offered
        yield "tool_choice", choice
        yield "parallel_tool_calls", asked.parallel_tool_calls
    if asked.text is not None:
        yield "response_format", _response_format(asked.text.format or {})
        yield "verbosity", asked.text.verbosity
    yield "reasoning", {name: value for name, value in (asked.reasoning or {}).items() if value is not None} or None


def _response_format(format: dict[str, Any]) -> dict[str, Any] | None:
    kind = format.get("type", "text")
    if kind == "json_schema":
        schema = checked(format, JsonSchemaFormat, "text.format")
        fields = {name: value for name, value in msgspec.structs.asdict(schema).items() if value is not None}
        return {"type": "json_schema", "json_schema": fields}
    if kind not in ("text", "json_object"):
        raise BadRequest("text.format.type: must be text, json_object or json_schema.", param="text.format.type")
    return {"type": "json_object"} if kind == "json_object" else None


def _adjusted(body: dict[str, Any], asked: ResponsesBody, messages: Messages) -> Iterator[str]:
    if asked.store:
        yield "store"
    if asked.truncation == "auto":
        yield "truncation"
    if asked.service_tier in TIERS_UNKEPT:
        yield "service_tier"
    if messages.dropped:
        yield "input"
    if any(left_out(tool) for tool in asked.tools or ()):
        yield "tools"
    if (asked.stream_options or {}).get("include_obfuscation"):
        yield "stream_options"
    for name in NOT_DONE:
        if body.get(name) not in (None, [], {}):
            yield name


def _echo(asked: ResponsesBody, request: ChatRequest, sent: dict[str, Any]) -> dict[str, Any]:
    """As OpenAI repeats it: what was left out is null, or what it then means. A preset's settings count as said."""
    text = asked.text or TextConfig()
    return {
        **{name: sent.get(name) for name in _ECHOED},
        "instructions": asked.instructions,
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": None,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": sent.get("parallel_tool_calls", asked.parallel_tool_calls) is not False,
        "previous_response_id": None,
        "reasoning": {"effort": sent.get("reasoning_effort"), "summary": (asked.reasoning or {}).get("summary")},
        "background": False,
        "store": False,
        "text": {"format": text.format or {"type": "text"}, **({"verbosity": text.verbosity} if text.verbosity else {})},
        "tool_choice": asked.tool_choice or "auto",
        "tools": [{"description": None, "parameters": None, "strict": None, **tool} for tool in asked.tools or ()],
        "top_logprobs": asked.top_logprobs or 0,
        "truncation": "disabled",
    }

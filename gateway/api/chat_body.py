"""The body of a chat request: decoded once, checked field by field, and what is held is what is sent.

Fields that providers know and we do not pass through untouched. OpenRouter's own are taken out; on duplicate keys the last one counts.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from gateway.api import chat_checks
from gateway.api.cache_lifetimes import shorten_caches
from gateway.errors import BadRequest
from policy import parameters, presets
from policy.presets import Preset
from providers import prompt
from providers.content import Content
from providers.prompt import texts
from providers.provider import ChatRequest

NONE: Final[Mapping[str, Preset]] = MappingProxyType({})
DEPTH_MAX: Final = 64
VALUES_MAX: Final = 200_000
"""More values than any prompt has tokens: 20 MiB of `{},` would be a gigabyte of memory and seconds of every request's time."""
TOKENS_MAX: Final = 10_000_000
Fields = TypeVar("Fields", bound=msgspec.Struct)
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

OURS: Final = (
    "provider",
    "models",
    "route",
    "plugins",
    "preset",
    "transforms",
    "usage",
    "session_id",
    "trace",
    "debug",
    "include_reasoning",
    "image_config",
    "stop_server_tools_when",
    "cache_control",
)
"""OpenRouter's request fields: read or ignored here, never sent to a provider."""
PROVIDER_TOOLS: Final = ("web_search_options", "search_parameters")
"""Fields that make a provider run tools of its own and bill for each use. No price is known for them, so no endpoint is offered."""
REFUSED: Final = ("api_base", "base_url", "api_key", "headers", "extra_headers")
"""Fields that would redirect a request or carry somebody's key."""


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    image_url: str | dict[str, Any] | None = None
    input_audio: dict[str, Any] | None = None
    file: dict[str, Any] | None = None


class Message(msgspec.Struct):
    """One message; the parts of it that we need to know of."""

    role: Role
    content: str | list[Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Function(msgspec.Struct):
    name: str


class Tool(msgspec.Struct):
    """Tools of other types than `function` are the provider's to judge."""

    type: str = "function"
    function: Function | None = None

    def __post_init__(self) -> None:
        if self.type == "function" and self.function is None:
            raise ValueError("a tool of type function needs a function object")


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """What is checked. Everything else in the body is the provider's to judge."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    service_tier: Literal["auto", "default"] | None = None
    user: str | None = None
    models: Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    provider: dict[str, Any] | None = None
    session_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None


def parse(raw: bytes, known: Mapping[str, Preset] = NONE) -> ChatRequest:
    """`known` are the account's presets. BadRequest names the field and says what is expected; UnknownPreset."""
    return canonical(decode(raw), raw, known)


def canonical(body: dict[str, Any], raw: bytes, known: Mapping[str, Preset], *, adjusted: tuple[str, ...] = ()) -> ChatRequest:
    """A chat body, the client's own or one that another client API was translated into; `raw` is what the client sent."""
    refuse_strangers(body)
    if b'"ttl"' in raw and shorten_caches(body):
        adjusted = (*adjusted, "cache_control")
    preset = presets.find(body, known)
    if preset is not None:
        body = presets.apply_preset(body, preset)
    fields = checked(body, ChatBody)
    media = {part.type for message in fields.messages if isinstance(message.content, list) for part in message.content}
    plain = media <= {"text"}
    if not plain or any(message.role == "tool" for message in fields.messages):
        chat_checks.check(body["messages"])
    return ChatRequest(
        body=Content(_for_providers(body)),
        model=fields.model,
        stream=bool(fields.stream),
        include_usage=bool(fields.stream_options and fields.stream_options.include_usage),
        max_tokens=min((limit for limit in (fields.max_tokens, fields.max_completion_tokens) if limit), default=None),
        n=fields.n or 1,
        prompt_tokens_max=prompt.bound(body, len(raw)),
        media=not plain,
        extras=frozenset(_extras(fields, media, raw)),
        capabilities=frozenset(_capabilities(body, fields, media)),
        models=tuple(fields.models or ()),
        parameters=parameters.used(body),
        preferences=fields.provider or {},
        session_id=fields.session_id or None,
        adjusted=adjusted,
    )


def checked(body: dict[str, Any], kind: type[Fields], at: str = "") -> Fields:
    """The body's known fields. BadRequest names the one that is not as `kind` says; `at` is where in the request this part of it stands."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise _invalid(error, at) from None


def decode(raw: bytes, *, values_max: int = VALUES_MAX) -> dict[str, Any]:
    """BadRequest for what is no JSON object, or one too large, too deep or with a NUL to be passed on."""
    containers = raw.count(b"[") + raw.count(b"{")
    if containers + raw.count(b",") > values_max:
        raise BadRequest(f"The request body holds more than {values_max} values.", status=413, error_type="payload_too_large")
    try:
        body = msgspec.json.decode(raw)
    except RecursionError:
        raise BadRequest(f"The request body is nested deeper than {DEPTH_MAX} levels.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}. Send a JSON object in UTF-8.") from None
    if not isinstance(body, dict):
        raise BadRequest("The request body must be a JSON object.")
    if containers > DEPTH_MAX:
        _check_depth(body)
    if b"\\u0000" in raw:
        _refuse_nul(body)
    return body


def _check_depth(value: object) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise BadRequest(f"The request body is nested deeper than {DEPTH_MAX} levels.")
        level = [child for parent in level for child in _children(parent)]


def _children(parent: object) -> list[object]:
    """The containers inside a container."""
    inside = parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ()
    return [child for child in inside if isinstance(child, dict | list)]


def _refuse_nul(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if any("\0" in text for text in texts({name: value})):
            raise BadRequest(f"{name}: holds a NUL character (\\u0000), which providers refuse; remove it.", param=name)


def refuse_strangers(body: dict[str, Any]) -> None:
    """BadRequest for a field that would redirect the request."""
    for name in REFUSED:
        if name in body:
            raise BadRequest(f"{name}: is not accepted in a request; the operator's catalog decides where requests go.", param=name)


def _invalid(error: msgspec.ValidationError, at: str) -> BadRequest:
    """msgspec says 'Expected `int`, got `str` - at `$.max_tokens`'; the client reads 'max_tokens: expected int, got str'."""
    what, _, where = str(error).partition(" - at `$")
    param = (at + where.rstrip("`")).lstrip(".") or None
    if "missing required field" in what:
        missing = what.split("`")[-2]
        param = f"{param}.{missing}" if param else missing
        return BadRequest(f"{param}: is required.", param=param)
    what = what.replace("`", "")
    return BadRequest(f"{param or 'body'}: {what[:1].lower()}{what[1:]}.", param=param)


def _for_providers(body: dict[str, Any]) -> dict[str, Any]:
    """The body as dialects get it: without our fields, without limits of 0, which count as absent.

    `reasoning` stays for those that have words for a budget; its effort also stands where OpenAI has it.
    """
    sent = {name: value for name, value in body.items() if name not in OURS}
    for name in ("max_tokens", "max_completion_tokens"):
        if not sent.get(name, 1):
            del sent[name]
    reasoning = sent.get("reasoning")
    if not isinstance(reasoning, dict):
        sent.pop("reasoning", None)
    elif isinstance(reasoning.get("effort"), str):
        sent.setdefault("reasoning_effort", reasoning["effort"])
    return sent


def _extras(fields: ChatBody, media: set[str], raw: bytes) -> Iterator[str]:
    """The units beyond text that this request would really use (see `metering.price.ceiling`)."""
    if "image_url" in media:
        yield "image"
    if "input_audio" in media:
        yield "audio"
    if fields.modalities and "audio" in fields.modalities:
        yield "audio_completion"
    if b'"cache_control"' in raw:
        yield "cache_write"


def _capabilities(body: dict[str, Any], fields: ChatBody, media: set[str]) -> Iterator[str]:
    yield "text"
    if any(body.get(name) for name in PROVIDER_TOOLS) or any(tool.type not in ("function", "custom") for tool in fields.tools or ()):
        yield "provider_tools"
    if fields.tools:
        yield "tools"
    if "image_url" in media:
        yield "images"
    if fields.response_format and fields.response_format.get("type") == "json_schema":
        yield "json_schema"

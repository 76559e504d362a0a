"""The fields of a Messages request around its messages: checked, and as a canonical chat has them.

Shapes as in Anthropic's API reference and SDK, with OpenRouter's additions (`provider`, `models`, `fallbacks`, `session_id`, ...).
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.api.chat_body import TOKENS_MAX
from gateway.api.messages_parts import Block, refused

BUDGET_TOKENS_MIN: Final = 1024
FALLBACKS_MAX: Final = 3
USER_CHARACTERS_MAX: Final = 64
"""OpenAI takes no longer `user`; Claude Code's user_id is longer."""

TRANSLATED: Final = frozenset(
    {
        *("messages", "system", "stop_sequences", "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata"),
        *("fallbacks", "service_tier", "cache_control", "anthropic_version", "anthropic_beta", "betas"),
    }
)
UNKEPT: Final = ("context_management", "container", "diagnostics", "speed", "n", "modalities", "audio")
"""Left out and named to the client: they need Anthropic's own servers, or more than the one message of text that can be answered here."""
Effort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]


class Turn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(msgspec.Struct):
    """`type` is absent or `custom` for a tool that the client runs by a schema of its own."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None
    defer_loading: bool | None = None
    input_examples: list[Any] | None = None


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=BUDGET_TOKENS_MIN, le=TOKENS_MAX)] | None = None
    display: str | None = None


class Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    effort: Effort | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class Fallback(msgspec.Struct, forbid_unknown_fields=True):
    model: str


class MessagesBody(msgspec.Struct):
    """What is checked here. `max_tokens` must be there to answer, but not to count."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=10_000)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=TOKENS_MAX)] | None = None
    system: str | list[Block] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    metadata: Metadata | None = None
    fallbacks: Annotated[list[Fallback], msgspec.Meta(max_length=FALLBACKS_MAX)] | None = None
    models: list[str] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: dict[str, Any] | None = None
    inference_geo: str | None = None
    mcp_servers: list[Any] | None = None
    user: str | None = None


def settings(fields: MessagesBody, adjust: Callable[[str], None]) -> dict[str, Any]:
    """Everything but the messages, as canonical fields; `adjust` hears of what is left out or changed. BadRequest names the field."""
    _check(fields)
    return {**_sampling(fields), **_tools(fields, adjust), **_reasoning(fields, adjust), **_who(fields, adjust)}


def _check(fields: MessagesBody) -> None:
    if fields.mcp_servers:
        raise refused("mcp_servers", "tools that run at the provider are not offered; run them yourself and send their results.")
    if fields.inference_geo is not None:
        raise refused("inference_geo", "write the region that you want as provider.region.")
    if fields.fallbacks and fields.models:
        raise refused("fallbacks", "cannot be combined with models; leave one of the two out.")
    budget = fields.thinking and fields.thinking.budget_tokens
    if fields.thinking and fields.thinking.type == "enabled" and budget is None:
        raise refused("thinking.budget_tokens", f"is required: at least {BUDGET_TOKENS_MIN}.")
    if budget and fields.max_tokens and budget >= fields.max_tokens:
        raise refused("thinking.budget_tokens", "must be less than max_tokens, which counts thoughts too.")


def _sampling(fields: MessagesBody) -> dict[str, Any]:
    sent: dict[str, Any] = {}
    if fields.stop_sequences:
        sent["stop"] = fields.stop_sequences
    if fields.fallbacks:
        sent["models"] = [each.model for each in fields.fallbacks]
    if fields.service_tier is not None:
        sent["service_tier"] = "default" if fields.service_tier == "standard_only" else "auto"
    wanted = (fields.output_config and fields.output_config.format) or fields.output_format
    if wanted:
        sent["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted.schema, "strict": True}}
    return sent


def _tools(fields: MessagesBody, adjust: Callable[[str], None]) -> dict[str, Any]:
    choice = fields.tool_choice
    if not fields.tools:
        if choice is not None and choice.type in ("any", "tool"):
            raise refused("tool_choice", "there are no tools to choose from; send tools, or leave it out.")
        return {}
    if any(tool.defer_loading or tool.input_examples for tool in fields.tools):
        adjust("tools")
    sent: dict[str, Any] = {"tools": [_tool(tool, f"tools[{number}]") for number, tool in enumerate(fields.tools)]}
    if choice is None:
        return sent
    if choice.type == "tool":
        if choice.name not in {tool.name for tool in fields.tools}:
            raise refused("tool_choice.name", "must be the name of one of the tools.")
        sent["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        sent["tool_choice"] = "required" if choice.type == "any" else choice.type
    if choice.disable_parallel_tool_use:
        sent["parallel_tool_calls"] = False
    return sent


def _tool(tool: Tool, place: str) -> dict[str, Any]:
    if tool.type not in (None, "custom") or tool.input_schema is None:
        raise refused(place, "only tools with a name and an input_schema, which you run yourself, can be passed on; leave this one out.")
    if not tool.name:
        raise refused(f"{place}.name", "is required.")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    sent = {"type": "function", "function": function}
    return sent if tool.cache_control is None else {**sent, "cache_control": tool.cache_control}


def _reasoning(fields: MessagesBody, adjust: Callable[[str], None]) -> dict[str, Any]:
    thinking, effort = fields.thinking, fields.output_config and fields.output_config.effort
    if thinking is None:
        return {"reasoning": {"effort": effort}} if effort else {}
    if thinking.type == "disabled":
        if effort:
            adjust("output_config.effort")
        return {"reasoning": {"enabled": False}}
    sent: dict[str, Any] = {"enabled": True}
    if thinking.type == "enabled":
        sent = {"max_tokens": thinking.budget_tokens}
    elif effort:
        sent["effort"] = effort
    if thinking.display == "omitted":
        adjust("thinking.display")  # without their signatures, thoughts could not be taken up in the next turn
    return {"reasoning": sent}


def _who(fields: MessagesBody, adjust: Callable[[str], None]) -> dict[str, Any]:
    id = fields.metadata and fields.metadata.user_id
    if fields.user is not None or not id:
        return {}
    if len(id) <= USER_CHARACTERS_MAX:
        return {"user": id}
    adjust("metadata.user_id")
    return {"user": hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()}

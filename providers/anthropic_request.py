"""What the `anthropic` dialect makes of a canonical request: the body of a Messages API call, and the names of what it could not keep."""

from typing import Any, Final

import msgspec

from providers.anthropic_messages import Conversation
from providers.claude import Claude, claude
from providers.claude_schema import closed
from providers.claude_thinking import thinking, wish
from providers.dropping import report_dropped
from providers.errors import Inexpressible
from providers.parts import cache_of
from providers.provider import Call

VERSION: Final = "2023-06-01"
PARAMETERS: Final = frozenset(
    {
        *("include_reasoning", "parallel_tool_calls", "reasoning", "reasoning_effort", "response_format", "service_tier", "stop"),
        *("structured_outputs", "temperature", "tool_choice", "tools", "top_k", "top_p"),
    }
)
MAX_TOKENS: Final = 4096
"""Sent where nobody sets a limit, for the API insists on one: what every model can write."""
MAX_TOKENS_ADAPTIVE: Final = 64_000
"""The same for the models that think by themselves, and do so within this limit."""
SAMPLING: Final = ("temperature", "top_p", "top_k")
DEFAULTS: Final = {"temperature": 1, "top_p": 1}
TIERS: Final = {"auto": "auto", "default": "standard_only"}

Body = dict[str, Any]


def headers(call: Call) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "accept": "text/event-stream" if call.request.stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "tollway",
        "anthropic-version": VERSION,
        **({"x-api-key": call.api_key} if call.api_key else {}),
    }


def payload(call: Call) -> bytes:
    """Inexpressible names the field, or the message and part, that Anthropic has no words for."""
    return msgspec.json.encode(_body(call))


def _body(call: Call) -> Body:
    asked, model = call.request.body.reveal(), claude(call.endpoint.upstream_model)
    _refuse(call, asked)
    report_dropped(asked, PARAMETERS, call.adjust)
    conversation = Conversation(asked["messages"], call.adjust)
    if not conversation.turns:
        raise Inexpressible("messages", "this provider needs at least one message of a user or assistant with something in it.")
    body: Body = {"model": call.endpoint.upstream_model, "max_tokens": _limit(call, model), "messages": conversation.turns}
    if conversation.system:
        body["system"] = _system(conversation.system)
    if call.request.stream:
        body["stream"] = True
    body |= _tools(asked, conversation, call)
    body |= _format(asked.get("response_format"), call)
    _think(body, asked, conversation, model, call)
    _choose(body, asked, model, call)
    _sample(body, asked, model, call)
    _stop(body, asked.get("stop"), call)
    tier = asked.get("service_tier")
    if tier is not None and tier != "auto":
        body["service_tier"] = TIERS[tier]
    return body


def _refuse(call: Call, asked: Body) -> None:
    if call.request.operation != "chat":
        raise Inexpressible("model", "this provider answers chats only.")
    if call.request.n > 1:
        raise Inexpressible("n", "this provider gives one choice per request; ask several times.")
    if asked.get("functions"):
        raise Inexpressible("functions", "functions of the old kind cannot be passed to this provider; use tools.")


def _limit(call: Call, model: Claude) -> int:
    if call.max_tokens is not None:
        return call.max_tokens
    usual = MAX_TOKENS_ADAPTIVE if model.adaptive else MAX_TOKENS
    return call.endpoint.max_output_tokens or min(usual, call.endpoint.context_length)


def _system(blocks: list[Body]) -> str | list[Body]:
    if any("cache_control" in block for block in blocks):
        return blocks
    return "\n\n".join(block["text"] for block in blocks)


def _tools(asked: Body, conversation: Conversation, call: Call) -> Body:
    """The offered tools; those that were used before are named again where none is offered, as the API insists, and may not be called."""
    if not asked.get("tools"):
        used = [{"name": name, "input_schema": {"type": "object"}} for name in sorted(conversation.tools_used)]
        return {"tools": used, "tool_choice": {"type": "none"}} if used else {}
    if any((tool.get("function") or {}).get("strict") for tool in asked["tools"]):
        call.adjust("tools")  # its strict mode knows other schemas
    return {"tools": [_tool(tool, f"tools[{number}]") for number, tool in enumerate(asked["tools"])]}


def _tool(tool: Body, place: str) -> Body:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise Inexpressible(place, "only tools of type function can be passed to this provider.")
    schema = function.get("parameters") or {}
    if not isinstance(schema, dict):
        raise Inexpressible(f"{place}.function.parameters", "must be a JSON schema.")
    sent = {"name": function["name"], "input_schema": {"type": "object", **schema}}
    if isinstance(function.get("description"), str):
        sent["description"] = function["description"]
    cache = cache_of(tool) or cache_of(function)
    return {**sent, "cache_control": cache} if cache else sent


def _choose(body: Body, asked: Body, model: Claude, call: Call) -> None:
    """`tool_choice`, which cannot force a call while thinking is on, nor where the model forbids it."""
    if not asked.get("tools"):
        return
    wanted = _choice(asked.get("tool_choice"))
    if wanted is None or (wanted["type"] in ("any", "tool") and (_thinks(body) or not model.forced)):
        call.adjust("tool_choice")
        wanted = {"type": "auto"}
    if asked.get("parallel_tool_calls") is False and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    if wanted != {"type": "auto"}:
        body["tool_choice"] = wanted


def _choice(choice: object) -> Body | None:
    """None for one that there are no words for."""
    if choice is None or isinstance(choice, str):
        kind = {None: "auto", "auto": "auto", "none": "none", "required": "any", "any": "any"}.get(choice)
        return {"type": kind} if kind else None
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return {"type": "tool", "name": name} if isinstance(name, str) else None


def _format(wanted: object, call: Call) -> Body:
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return {}
    if wanted["type"] != "json_schema":
        call.adjust("response_format")
        return {}
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict):
        raise Inexpressible("response_format.json_schema.schema", "is missing.")
    sent, changed = closed(schema)
    if changed:
        call.adjust("response_format")
    return {"output_config": {"format": {"type": "json_schema", "schema": sent}}}


def _think(body: Body, asked: Body, conversation: Conversation, model: Claude, call: Call) -> None:
    settings, effort, kept = thinking(wish(asked), model, conversation, body["max_tokens"])
    if settings is not None:
        body["thinking"] = settings
    if effort is not None:
        body.setdefault("output_config", {})["effort"] = effort
    if not kept:
        call.adjust("reasoning" if "reasoning" in asked else "reasoning_effort")


def _thinks(body: Body) -> bool:
    return body.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _sample(body: Body, asked: Body, model: Claude, call: Call) -> None:
    """Temperature runs from 0 to 1 here; with thinking, and on the newest models, nothing of this may be set."""
    free = model.sampling and not _thinks(body)
    for name in SAMPLING:
        value = asked.get(name)
        if value is None:
            continue
        kept = free and not (name == "top_p" and "temperature" in body and not model.both)
        if kept:
            body[name] = min(value, 1) if name == "temperature" else value
        if body.get(name, DEFAULTS.get(name)) != value:
            call.adjust(name)


def _stop(body: Body, stop: object, call: Call) -> None:
    asked = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    sent = [text for text in asked if isinstance(text, str) and text.strip()]
    if len(sent) < len(asked):
        call.adjust("stop")  # a blank is no stop sequence here
    if sent:
        body["stop_sequences"] = sent

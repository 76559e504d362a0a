"""What the `bedrock` dialect makes of a canonical chat request: the body of Converse and ConverseStream, which are the same.

Shapes as in Amazon's API reference (docs.aws.amazon.com/bedrock/latest/APIReference, Converse). What a model takes beyond Converse's
own fields, here Claude's thinking and top_k, travels in `additionalModelRequestFields`.
"""

import functools
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from providers.bedrock_messages import Conversation, cache_point
from providers.claude import Claude, claude
from providers.claude_schema import closed
from providers.claude_thinking import thinking, wish
from providers.dropping import report_dropped
from providers.errors import Inexpressible
from providers.parts import cache_of
from providers.provider import Call

PARAMETERS: Final = frozenset(
    {
        *("include_reasoning", "reasoning", "reasoning_effort", "response_format", "service_tier", "stop", "structured_outputs"),
        *("temperature", "tool_choice", "tools", "top_k", "top_p"),
    }
)
SAMPLING: Final = {"temperature": "temperature", "top_p": "topP"}
GPT_OSS_EFFORTS: Final = ("low", "medium", "high")
LIMIT_UNSAID: Final = 4096
"""Of which thinking gets its part where neither the client nor the catalog knows a limit."""

Body = dict[str, Any]


class _Model(msgspec.Struct, frozen=True):
    """What the name at Bedrock says: `us.anthropic.claude-opus-4-6-v1`, a foundation model's ARN; an ARN of one's own says nothing."""

    name: str
    is_claude: bool
    is_nova: bool
    claude: Claude

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def of(cls, upstream_model: str) -> "_Model":
        name = upstream_model.lower()
        return cls(name, "claude" in name, "amazon.nova" in name, claude(name))

    @property
    def caches(self) -> bool:
        return self.is_claude or self.is_nova


def payload(call: Call) -> bytes:
    """Inexpressible names the field, or the message and part, that Converse has no words for."""
    return msgspec.json.encode(converse(call))


def converse(call: Call) -> Body:
    asked, model = call.request.body.reveal(), _Model.of(call.endpoint.upstream_model)
    _refuse(call, asked)
    report_dropped(asked, PARAMETERS, call.adjust)
    conversation = Conversation(asked["messages"], call.adjust, cached=model.caches, claude=model.is_claude)
    body: Body = {"messages": conversation.turns}
    if conversation.system:
        body["system"] = conversation.system
    more, effort = _thinking(asked, conversation, model, call)
    if tools := _tools(asked, conversation, model, call):
        body["toolConfig"] = tools | _choice(asked, more, model, call)
    parts = {
        "inferenceConfig": _inference(asked, more, model, call),
        "additionalModelRequestFields": more,
        "outputConfig": _form(asked.get("response_format"), call) | ({"effort": effort} if effort else {}),
    }
    return body | {name: part for name, part in parts.items() if part}


def _refuse(call: Call, asked: Body) -> None:
    if call.request.n > 1:
        raise Inexpressible("n", "this provider gives one choice per request; ask several times.")
    if asked.get("functions"):
        raise Inexpressible("functions", "functions of the old kind cannot be passed to this provider; use tools.")


def _tools(asked: Body, conversation: Conversation, model: _Model, call: Call) -> Body:
    """`toolConfig`, which must name the tools of earlier calls. To call none is said by offering none, where that is possible."""
    offered, used = asked.get("tools") or [], list(conversation.tools_used)
    if asked.get("tool_choice") == "none" and offered:
        if not used:
            return {}
        call.adjust("tool_choice")
    if offered:
        return {"tools": [block for number, tool in enumerate(offered) for block in _tool(tool, f"tools[{number}]", model, call)]}
    if used:
        call.adjust("tools")  # described again, so that they can be called again
        return {"tools": [{"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}} for name in used]}
    return {}


def _tool(tool: Body, place: str, model: _Model, call: Call) -> Iterator[Body]:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise Inexpressible(place, "only tools of type function can be passed to this provider.")
    schema = function.get("parameters") or {}
    if not isinstance(schema, dict):
        raise Inexpressible(f"{place}.function.parameters", "must be a JSON schema.")
    schema = {"type": "object", **schema}
    spec: Body = {"name": function["name"]}
    if isinstance(function.get("description"), str) and function["description"].strip():
        spec["description"] = function["description"]
    if function.get("strict"):
        known = "json_schema" in call.endpoint.capabilities
        sent, changed = closed(schema)
        if known:
            spec["strict"], schema = True, sent
        if changed or not known:
            call.adjust("tools")
    yield {"toolSpec": {**spec, "inputSchema": {"json": schema}}}
    cache = cache_of(tool) or cache_of(function)
    if cache is not None and model.caches:
        yield cache_point(cache)


def _choice(asked: Body, more: Body, model: _Model, call: Call) -> Body:
    """A call cannot be forced while Claude thinks, nor where the model forbids it. To choose freely is said by saying nothing."""
    choice = asked.get("tool_choice")
    if choice in (None, "auto", "none") or not asked.get("tools"):
        return {}
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    wanted: Body | None = {"any": {}} if choice in ("required", "any") else None
    if isinstance(name, str):
        wanted = {"tool": {"name": name}}
    if wanted is None or _thinks(more) or not model.claude.forced:
        call.adjust("tool_choice")
        return {}
    return {"toolChoice": wanted}


def _thinking(asked: Body, conversation: Conversation, model: _Model, call: Call) -> tuple[Body, str | None]:
    """(fields of the model's own, effort). Nothing where nothing was asked: then the model's own way holds."""
    wanted, effort = wish(asked), None
    more: Body = {}
    if model.is_claude:
        limit = call.max_tokens or call.endpoint.max_output_tokens or min(LIMIT_UNSAID, call.endpoint.context_length)
        settings, effort, kept = thinking(wanted, model.claude, cast("Any", conversation), limit)  # it asks both conversations the same
        more = {"thinking": settings} if settings else {}
    elif "gpt-oss" in model.name and wanted.effort in GPT_OSS_EFFORTS:
        more, kept = {"reasoning_effort": wanted.effort}, wanted.budget is None
    else:
        kept = wanted.silent and not wanted.odd
    if not kept:
        call.adjust("reasoning" if "reasoning" in asked else "reasoning_effort")
    return more, effort


def _inference(asked: Body, more: Body, model: _Model, call: Call) -> Body:
    """`inferenceConfig`; top_k, which is no part of it, is added to `more`."""
    free = model.claude.sampling and not _thinks(more)
    config: Body = {} if call.max_tokens is None else {"maxTokens": call.max_tokens}
    for name, field in SAMPLING.items():
        value = asked.get(name)
        if value is None:
            continue
        if free and not (name == "top_p" and "temperature" in config and not model.claude.both):
            config[field] = min(value, 1)
        if config.get(field, 1) != value:
            call.adjust(name)
    if (top_k := asked.get("top_k")) is not None:
        if model.is_claude and free:
            more["top_k"] = top_k
        elif model.is_nova:
            more["inferenceConfig"] = {"topK": top_k}
        else:
            call.adjust("top_k")
    stop = asked.get("stop") or []
    wanted = [stop] if isinstance(stop, str) else stop
    if sent := [text for text in wanted if text.strip()]:
        config["stopSequences"] = sent
    if len(sent) < len(wanted):
        call.adjust("stop")  # a blank is no stop sequence there
    return config


def _thinks(more: Body) -> bool:
    return more.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _form(wanted: object, call: Call) -> Body:
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return {}
    if wanted["type"] != "json_schema":
        call.adjust("response_format")
        return {}
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(named, dict) or not isinstance(schema, dict):
        raise Inexpressible("response_format.json_schema.schema", "is missing.")
    sent, changed = closed(schema)
    if changed:
        call.adjust("response_format")
    texts = {name: named[name] for name in ("name", "description") if isinstance(named.get(name), str) and named[name]}
    described = {"schema": msgspec.json.encode(sent).decode(), **texts}
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": described}}}

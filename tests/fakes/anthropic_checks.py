"""What Anthropic's Messages API refuses: unknown fields, roles that do not alternate, results without calls, unsigned thoughts."""

import re
from collections.abc import Iterator

from tests.fakes.faults import Json

SIGNATURE = "signature-of-"
ADAPTIVE_ONLY = re.compile(r"claude-(opus-4-[78]|opus-5|sonnet-5|haiku-5|fable|mythos)")
TOP = {
    *("model", "max_tokens", "messages", "system", "stream", "stop_sequences", "temperature", "top_p", "top_k", "tools", "tool_choice"),
    *("thinking", "output_config", "metadata", "service_tier"),
}
BLOCKS = {
    "text": {"text"},
    "image": {"source"},
    "document": {"source", "title"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id", "content"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
ID = re.compile(r"[a-zA-Z0-9_-]+")
FINAL = "When `thinking` is enabled, a final `assistant` message must start with a thinking block"


def refused_key(headers: dict[str, str]) -> str | None:
    """What is said to a wrong key; None for a good one."""
    key = headers.get("x-api-key")
    if key is None:
        return "x-api-key header is required"
    return None if key.startswith("sk-") else "invalid x-api-key"


def complaints(body: dict[str, Json], headers: dict[str, str]) -> Iterator[str]:
    """What the API would say; the first is enough for a 400."""
    if headers.get("anthropic-version") != "2023-06-01":
        yield "anthropic-version: header is required"
    for name in body.keys() - TOP:
        yield f"{name}: Extra inputs are not permitted"
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            yield f"{name}: Field required"
    if type(body["max_tokens"]) is not int or body["max_tokens"] < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    yield from _system(body.get("system", ""))
    yield from _messages(body["messages"])
    yield from _tools(body)
    yield from _settings(body)
    yield from _thinking(body)


def texts_of(content: Json) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "text":
            yield block["text"]
        elif block.get("type") == "tool_result":
            yield from texts_of(block.get("content"))


def _system(system: Json) -> Iterator[str]:
    for number, block in enumerate(system if isinstance(system, list) else ()):
        if block.get("type") != "text":
            yield f"system.{number}: Input should be a text block"
        yield from _block(block, f"system.{number}")


def _messages(messages: list[Json]) -> Iterator[str]:
    if not messages:
        yield "messages: at least one message is required"
    before: Json = {}
    seen: set[str] = set()
    for number, message in enumerate(messages):
        at, role = f"messages.{number}", message.get("role")
        if role not in ("user", "assistant"):
            yield f"{at}.role: Input should be 'user' or 'assistant'"
        if role == before.get("role"):
            yield 'messages: roles must alternate between "user" and "assistant", but found multiple in a row'
        if not isinstance(message.get("content"), list) or not message["content"]:
            yield f"{at}.content: Input should be a valid list"
        for place, block in enumerate(message["content"]):
            yield from _block(block, f"{at}.content.{place}")
        yield from _pairs(before, message, at)
        ids = [block["id"] for block in _of(message, "tool_use")]
        if len(ids) != len(set(ids)) or seen & set(ids):
            yield "messages: `tool_use` ids must be unique"
        seen |= set(ids)
        before = message
    if before.get("role") == "assistant" and before["content"][-1].get("text", "").endswith((" ", "\n")):
        yield "messages: final assistant content cannot end with trailing whitespace"


def _pairs(before: Json, message: Json, at: str) -> Iterator[str]:
    """Results stand first, each once, right after the calls that they answer."""
    called = {block["id"] for block in _of(before, "tool_use")}
    answered = [block["tool_use_id"] for block in _of(message, "tool_result")]
    if not set(answered) <= called:
        yield f"{at}: unexpected `tool_use_id` found in `tool_result` blocks"
    if called - set(answered):
        yield f"{at}: `tool_use` ids were found without `tool_result` blocks immediately after"
    if len(answered) != len(set(answered)):
        yield f"{at}: each tool_use must have a single result"
    if any(block["type"] != "tool_result" for block in message["content"][: len(answered)]):
        yield f"{at}: `tool_result` blocks must come first"
    if message["role"] == "assistant" and answered:
        yield f"{at}: `tool_result` blocks can only be in `user` messages"
    if message["role"] == "user" and any(_of(message, kind) for kind in ("tool_use", "thinking", "redacted_thinking")):
        yield f"{at}: blocks of this type can only be in `assistant` messages"


def _block(block: Json, at: str) -> Iterator[str]:
    kind = block.get("type")
    if kind not in BLOCKS:
        yield f"{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
    for name in block.keys() - BLOCKS[kind] - {"type", "cache_control"}:
        yield f"{at}.{kind}.{name}: Extra inputs are not permitted"
    for name in BLOCKS[kind] - block.keys() - {"title", "content"}:
        yield f"{at}.{kind}.{name}: Field required"
    if block.get("cache_control", {"type": "ephemeral"}).get("type") != "ephemeral" or ("cache_control" in block and "thinking" in kind):
        yield f"{at}.{kind}.cache_control: Extra inputs are not permitted"
    if kind == "text" and not block["text"].strip():
        yield "messages: text content blocks must contain non-whitespace text"
    if kind == "tool_use" and (not ID.fullmatch(block["id"]) or not isinstance(block["input"], dict)):
        yield f"{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if kind == "thinking" and not block["signature"].startswith(SIGNATURE):
        yield f"{at}: Invalid `signature` in `thinking` block"
    if kind == "image" and block["source"].get("media_type", "image/png") not in IMAGES:
        yield f"{at}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
    for place, inner in enumerate(block["content"] if kind == "tool_result" and "content" in block else ()):
        yield from _block(inner, f"{at}.tool_result.content.{place}")


def _tools(body: dict[str, Json]) -> Iterator[str]:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    for number, tool in enumerate(tools):
        for name in tool.keys() - {"name", "description", "input_schema", "cache_control"}:
            yield f"tools.{number}.custom.{name}: Extra inputs are not permitted"
        if tool["input_schema"].get("type") != "object":
            yield f"tools.{number}.custom.input_schema.type: Field required"
    if choice is not None and not tools:
        yield "tool_choice may only be specified while providing tools"
    if choice is not None and choice.get("type") not in ("auto", "any", "tool", "none"):
        yield "tool_choice: Input tag does not match any of the expected tags"
    if not tools and any(_of(message, "tool_use") for message in body["messages"]):
        yield "Requests which include `tool_use` or `tool_result` blocks must define tools"


def _settings(body: dict[str, Json]) -> Iterator[str]:
    sampling = [name for name in ("temperature", "top_p", "top_k") if name in body]
    if not 0 <= body.get("temperature", 0) <= 1:
        yield "temperature: range: 0..1"
    if sampling and ADAPTIVE_ONLY.match(body["model"]):
        yield f"`{sampling[0]}` is deprecated for this model."
    if any(not text.strip() for text in body.get("stop_sequences", [])):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    config = body.get("output_config", {})
    for name in config.keys() - {"format", "effort"}:
        yield f"output_config.{name}: Extra inputs are not permitted"
    if "format" in config:
        yield from _schema(config["format"]["schema"])


def _schema(schema: Json) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
    if "minimum" in schema or "maxLength" in schema:
        yield "output_config.format.schema: property 'minimum' is not supported"
    for inner in schema.get("properties", {}).values():
        yield from _schema(inner)


def _thinking(body: dict[str, Json]) -> Iterator[str]:
    thinking, messages = body.get("thinking") or {}, body["messages"]
    kind, model = thinking.get("type"), body["model"]
    if kind not in (None, "enabled", "disabled", "adaptive", "between_tools"):
        yield "thinking: Input tag does not match any of the expected tags"
    if kind == "enabled" and ADAPTIVE_ONLY.match(model):
        yield '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort".'
    if kind not in ("enabled", "adaptive"):
        return
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."
    if body.keys() & {"temperature", "top_p", "top_k"}:
        yield "`temperature` may only be set to 1 when thinking is enabled."
    if kind == "adaptive":
        return
    if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if messages[-1]["role"] == "assistant":
        yield FINAL
    if _of(messages[-1], "tool_result") and "thinking" not in messages[-2]["content"][0]["type"]:
        yield f"{FINAL}. Expected `thinking` or `redacted_thinking`, but found `{messages[-2]['content'][0]['type']}`"


def _of(message: Json, kind: str) -> list[Json]:
    return [block for block in message.get("content", []) if block.get("type") == kind]

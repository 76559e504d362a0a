"""The chat request that asks for the same as a request of Converse, for the chat fake to answer."""

import json

from tests.fakes.faults import Json

CHOICES = {"auto": "auto", "any": "required"}


def chat_of(body: dict[str, Json], model: str) -> dict[str, Json]:
    tools = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", []) if "toolSpec" in tool]
    choice = body.get("toolConfig", {}).get("toolChoice", {"auto": {}})
    named = {"type": "function", "function": {"name": choice.get("tool", {}).get("name")}}
    wanted = body.get("outputConfig", {}).get("textFormat")
    schema = json.loads(wanted["structure"]["jsonSchema"]["schema"]) if wanted else None
    system = [{"role": "system", "content": _texts(body["system"])}] if "system" in body else []
    return {
        "model": model,
        "messages": system + [_message(turn) for turn in body["messages"]],
        "stream_options": {"include_usage": True},
        "max_tokens": body.get("inferenceConfig", {}).get("maxTokens"),
        "tools": [{"type": "function", "function": {"name": tool["name"], "parameters": tool["inputSchema"]["json"]}} for tool in tools],
        "tool_choice": named if "tool" in choice else CHOICES[next(iter(choice))],
        **({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}} if wanted else {}),
    }


def _message(turn: Json) -> Json:
    answers = any("toolResult" in block for block in turn["content"])
    return {"role": "tool" if answers else turn["role"], "content": _texts(turn["content"])}


def _texts(blocks: list[Json]) -> str:
    inner = [block["toolResult"]["content"] if "toolResult" in block else [block] for block in blocks]
    return " ".join(block["text"] for group in inner for block in group if "text" in block)


def loaded(text: str | bytes) -> dict[str, Json]:
    """What is no object is empty; so are arguments that a limit cut off."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}

"""Bedrock's answers as canonical ones: the whole answer of a Converse, and the words that a stream's events share with it."""

from typing import Any, Final

import msgspec

from providers.anthropic_messages import FORMAT
from providers.errors import ProviderInvalidAnswer
from providers.provider import Event
from providers.reading import CODE, json_object

REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
FORMAT_OF_OTHERS: Final = "unknown"
"""Thoughts of another model than Claude, which has no use for them on the next turn."""


class Style(msgspec.Struct, frozen=True):
    """How this model's thoughts are told."""

    format: str

    @classmethod
    def of(cls, upstream_model: str) -> "Style":
        return cls(FORMAT if "claude" in upstream_model.lower() else FORMAT_OF_OTHERS)

    def thought(self, said: str, index: int, signature: str | None = None) -> dict[str, Any]:
        detail = {"type": "reasoning.text", "text": said, "format": self.format, "index": index}
        return {**detail, "signature": signature} if signature else detail

    def hidden(self, data: str, index: int) -> dict[str, Any]:
        return {"type": "reasoning.encrypted", "data": data, "format": self.format, "index": index}


def completion(raw: bytes, style: Style) -> Event:
    """The answer of Converse as a chat completion."""
    answer = json_object(raw)
    output = answer.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise invalid("an answer without a list of content blocks")
    return {"choices": [{"index": 0, "message": _message(blocks, style), **finish(answer)}], **usage_of(answer.get("usage"))}


def as_chunk(completion: Event) -> Event:
    """A server that ignored the stream still gives its client one."""
    choice = completion["choices"][0]
    delta = choice["delta"] = choice.pop("message")
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(delta["tool_calls"])]
    return completion


def _message(blocks: list[dict[str, Any]], style: Style) -> dict[str, Any]:
    said: list[str] = []
    thoughts: list[str] = []
    details: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if "text" in block:
            said.append(text(block, "text"))
        elif "toolUse" in block:
            calls.append(_call(block["toolUse"]))
        elif "citationsContent" in block:
            said += _cited(block["citationsContent"])
        elif "reasoningContent" in block:
            thought = _thought(block["reasoningContent"], len(details), style)
            thoughts.append(thought.get("text", ""))
            details.append(thought)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said) if said or not calls else None}
    if details:
        message |= {"reasoning": "".join(thoughts) or None, "reasoning_details": details}
    return {**message, "tool_calls": calls} if calls else message


def _call(tool: object) -> dict[str, Any]:
    arguments = tool.get("input") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or not isinstance(arguments, dict):
        raise invalid("a tool call without its input")
    function = {"name": text(tool, "name"), "arguments": msgspec.json.encode(arguments).decode()}
    return {"id": text(tool, "toolUseId"), "type": "function", "function": function}


def _thought(content: object, index: int, style: Style) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise invalid("a thought that is no object")
    if "redactedContent" in content:
        return style.hidden(text(content, "redactedContent"), index)
    said = content.get("reasoningText")
    if not isinstance(said, dict):
        raise invalid("a thought without its text")
    return style.thought(text(said, "text"), index, text(said, "signature") if said.get("signature") else None)


def _cited(block: object) -> list[str]:
    """The words of a text whose sources are told."""
    content = block.get("content") if isinstance(block, dict) else None
    return [text(each, "text") for each in content if isinstance(each, dict) and "text" in each] if isinstance(content, list) else []


def chunk(delta: dict[str, Any]) -> Event:
    return {"choices": [{"index": 0, "delta": delta}]}


def finish(said: dict[str, Any]) -> dict[str, str]:
    """OpenAI's word for a `stopReason`, and Bedrock's."""
    reason = text(said, "stopReason")
    return {"finish_reason": REASONS.get(reason, "stop"), "native_finish_reason": reason if CODE.fullmatch(reason) else "unknown"}


def usage_of(reported: object) -> dict[str, Any]:
    """The canonical `usage`, whose prompt includes what the cache gave and took; nothing where the figures cannot be believed."""
    if not isinstance(reported, dict):
        return {}
    names = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    counts = [reported.get(name) or 0 for name in names]
    if not reported.keys() >= set(names[:2]) or not all(type(count) is int and count >= 0 for count in counts):
        return {}
    fresh, completion, read, written = counts
    prompt = fresh + read + written
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if read or written:
        usage["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": written}
    return {"usage": usage}


def text(holder: dict[str, Any], field: str) -> str:
    value = holder.get(field)
    if not isinstance(value, str):
        raise invalid("an answer with something else where a text belongs")
    return value


def invalid(what: str) -> ProviderInvalidAnswer:
    return ProviderInvalidAnswer(f"the provider sent {what}")

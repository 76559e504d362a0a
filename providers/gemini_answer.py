"""What Gemini answers: each GenerateContentResponse, whole or one of a stream, as a canonical completion or chunk."""

import re
from typing import Any, Final

import msgspec

from providers.errors import ProviderInvalidAnswer, ProviderUnavailable, RequestRefused
from providers.gemini_contents import FORMAT
from providers.gemini_errors import error_of
from providers.provider import Event
from providers.reading import json_object, json_or_none

FINISHED: Final = {
    **dict.fromkeys(("MAX_TOKENS", "CONTINUATION"), "length"),
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"), "content_filter"),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION"), "content_filter"),
}
"""A finishReason in OpenAI's word. STOP depends on whether functions are called; all that is not listed is a failure there: `error`."""
COUNTS: Final = ("promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
WORD: Final = re.compile(r"[A-Z_]{1,64}", re.ASCII)
IMAGE: Final = re.compile(r"image/[\w.+-]{1,64}", re.ASCII)
CALL_ID: Final = re.compile(r"[^A-Za-z0-9]")


class Answer:
    """A Reader: complete when each of `n` candidates has a finishReason; the API has no other end."""

    def __init__(self, generation_id: str, n: int) -> None:
        self.done = False
        self._candidates = [_Candidate(f"call_{CALL_ID.sub('', generation_id)[-20:]}_{index}") for index in range(n)]
        self._seen = False

    def read(self, frame: bytes) -> list[Event]:
        return [self.chunk(json_object(frame))]

    def last(self, rest: bytes) -> list[Event]:
        """The last event if only its blank line is missing; a torn one does not count."""
        return self.read(rest) if isinstance(json_or_none(rest), dict) else []

    def check(self) -> None:
        if not self._seen:
            raise ProviderInvalidAnswer("the provider sent an empty stream")
        if not all(candidate.finished for candidate in self._candidates):
            raise ProviderUnavailable("the provider's stream ended in the middle of the answer")

    def chunk(self, answer: Event) -> Event:
        if answer.get("error"):
            raise error_of(None, answer)
        candidates = answer.get("candidates") or []
        if not isinstance(candidates, list):
            raise ProviderInvalidAnswer("the provider's answer has no list of candidates")
        if not candidates:
            _refuse_blocked(answer)
        self._seen = True
        event: Event = {"id": answer.get("responseId"), "choices": [self._choice(candidate) for candidate in candidates]}
        if (usage := _usage(answer.get("usageMetadata"))) is not None:
            event["usage"] = usage
        return event

    def completion(self, answer: Event) -> Event:
        """The one event of an answer that is not streamed."""
        event = self.chunk(answer)
        if not event["choices"]:
            raise ProviderInvalidAnswer("the provider's answer has no candidates")
        for choice in event["choices"]:
            message = choice["message"] = choice.pop("delta")
            for entry in (*message.get("tool_calls", ()), *message.get("images", ())):
                del entry["index"]
            if "tool_calls" in message:
                message["content"] = message["content"] or None
            choice["finish_reason"] = choice["finish_reason"] or ("tool_calls" if "tool_calls" in message else "stop")
        return event

    def _choice(self, candidate: object) -> dict[str, Any]:
        index = candidate.get("index", 0) if isinstance(candidate, dict) else None
        if not isinstance(candidate, dict) or type(index) is not int or not 0 <= index < len(self._candidates):
            raise ProviderInvalidAnswer("the provider's answer has a candidate that was not asked for")
        said, reason = self._candidates[index], candidate.get("finishReason")
        choice = {"index": index, "delta": said.take(_parts(candidate)), "finish_reason": None}
        if reason and reason != "FINISH_REASON_UNSPECIFIED":
            if not isinstance(reason, str):
                raise ProviderInvalidAnswer("the provider's answer has a finishReason that is no word")
            said.finished = True
            stop = "tool_calls" if said.calls else "stop"
            choice["finish_reason"] = stop if reason == "STOP" else FINISHED.get(reason, "error")
            choice["native_finish_reason"] = reason if WORD.fullmatch(reason) else "UNKNOWN"
        if (logprobs := _logprobs(candidate.get("logprobsResult"))) is not None:
            choice["logprobs"] = logprobs
        return choice


class _Candidate:
    """What has to be remembered of one candidate between the events of a stream. `ids` is what the ids made up here begin with."""

    def __init__(self, ids: str) -> None:
        self.finished = False
        self.calls = 0
        self._images = 0
        self._begun = False
        self._ids = ids
        self._block = 0
        self._thinking = False

    def take(self, parts: list[Any]) -> dict[str, Any]:
        """The delta of some parts; those of a kind that nobody asked for are left out.

        Clients join deltas text by text and list by `index`: what stands in the first of them is not said again.
        """
        delta: dict[str, Any] = {"content": ""} if self._begun else {"role": "assistant", "content": ""}
        self._begun = True
        for part in parts:
            if part.__class__ is not dict:
                raise ProviderInvalidAnswer("the provider's answer has a part that is no object")
            call_id = None
            if part.get("functionCall") is not None:
                call_id = self._call(part["functionCall"], delta)
            elif part.get("text"):
                self._text(part, delta)
            elif part.get("inlineData") is not None and not part.get("thought"):
                self._image(part["inlineData"], delta)
            if part.get("thoughtSignature"):
                self._signature(part["thoughtSignature"], call_id, delta)
        return delta

    def _text(self, part: dict[str, Any], delta: dict[str, Any]) -> None:
        text = part["text"]
        if text.__class__ is not str:
            raise ProviderInvalidAnswer("the provider's answer has a text that is none")
        if not part.get("thought"):
            delta["content"] += text
            return
        delta["reasoning"] = delta.get("reasoning", "") + text
        details = delta.setdefault("reasoning_details", [])
        if not self._thinking:
            self._thinking = True
            details.append({"type": "reasoning.text", "text": text, "format": FORMAT, "index": self._block})
        elif details:
            details[-1]["text"] += text
        else:
            details.append({"type": "reasoning.text", "text": text, "index": self._block})

    def _signature(self, signature: object, call_id: str | None, delta: dict[str, Any]) -> None:
        """Each is an entry of its own, so that a client that joins entries by `index` keeps it whole."""
        if not isinstance(signature, str):
            raise ProviderInvalidAnswer("the provider's answer has a signature that is no text")
        self._block += self._thinking
        self._thinking = False
        detail = {"type": "reasoning.encrypted", "data": signature, "format": FORMAT, "index": self._block}
        delta.setdefault("reasoning_details", []).append({**detail, "id": call_id} if call_id else detail)
        self._block += 1

    def _call(self, call: object, delta: dict[str, Any]) -> str:
        name, arguments = (call.get("name"), call.get("args") or {}) if isinstance(call, dict) else (None, None)
        if not isinstance(call, dict) or not isinstance(name, str) or not name or not isinstance(arguments, dict):
            raise ProviderInvalidAnswer("the provider's answer has a function call without a name or with arguments that are no object")
        given = call.get("id")
        call_id = given if isinstance(given, str) and given else f"{self._ids}_{self.calls}"
        function = {"name": name, "arguments": msgspec.json.encode(arguments).decode()}
        delta.setdefault("tool_calls", []).append({"index": self.calls, "id": call_id, "type": "function", "function": function})
        self.calls += 1
        return call_id

    def _image(self, data: object, delta: dict[str, Any]) -> None:
        kind, encoded = (data.get("mimeType"), data.get("data")) if isinstance(data, dict) else (None, None)
        if isinstance(kind, str) and IMAGE.fullmatch(kind) and isinstance(encoded, str):
            image = {"url": f"data:{kind};base64,{encoded}"}
            delta.setdefault("images", []).append({"index": self._images, "type": "image_url", "image_url": image})
            self._images += 1


def _parts(candidate: dict[str, Any]) -> list[Any]:
    content = candidate.get("content") or {}
    parts = (content.get("parts") or []) if isinstance(content, dict) else None
    if not isinstance(parts, list):
        raise ProviderInvalidAnswer("the provider's answer has a content without a list of parts")
    return parts


def _refuse_blocked(answer: Event) -> None:
    feedback = answer.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if reason:
        word = reason if isinstance(reason, str) and WORD.fullmatch(reason) else "OTHER"
        raise RequestRefused(f"its filter blocked the prompt: {word}", status=400, code="content_filter")


def _logprobs(result: object) -> dict[str, Any] | None:
    """In OpenAI's shape; None where there are none."""
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(chosen, list):
        return None
    steps = result.get("topCandidates")
    tops = [step.get("candidates") if isinstance(step, dict) else None for step in steps] if isinstance(steps, list) else []
    content = [_logprob(token) for token in chosen]
    for number, entry in enumerate(content):
        others = tops[number] if number < len(tops) else None
        entry["top_logprobs"] = [_logprob(other) for other in others] if isinstance(others, list) else []
    return {"content": content, "refusal": None}


def _logprob(token: object) -> dict[str, Any]:
    text, value = (token.get("token"), token.get("logProbability")) if isinstance(token, dict) else (None, None)
    if not isinstance(text, str):
        raise ProviderInvalidAnswer("the provider's log-probabilities have a token without its text")
    number = value if isinstance(value, int | float) else 0.0
    return {"token": text, "logprob": number, "bytes": list(text.encode("utf-8", "surrogatepass"))}


def _usage(reported: object) -> dict[str, Any] | None:
    """In OpenAI's shape; None when it is absent or not believable. Thoughts and tools' prompts stand beside the other counts there."""
    if not isinstance(reported, dict) or "promptTokenCount" not in reported:
        return None
    counts = [reported.get(name) or 0 for name in COUNTS]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    prompt, of_tools, cached, said, thought = counts
    usage: dict[str, Any] = {"prompt_tokens": prompt + of_tools, "completion_tokens": said + thought}
    audio = _audio(reported.get("promptTokensDetails")) - _audio(reported.get("cacheTokensDetails"))
    if details := {name: count for name, count in (("cached_tokens", cached), ("audio_tokens", audio)) if count > 0}:
        usage["prompt_tokens_details"] = details
    if thought:
        usage["completion_tokens_details"] = {"reasoning_tokens": thought}
    return usage


def _audio(details: object) -> int:
    """The tokens of sound among those of one count."""
    each_kind = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    counts = [each.get("tokenCount") for each in each_kind if each.get("modality") == "AUDIO"]
    return sum(count for count in counts if type(count) is int and count > 0)

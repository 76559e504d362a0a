"""Answers Google's generateContent, streamGenerateContent and batchEmbedContents with the chat fake's answers, faults and ledger.

Models whose name begins with `gemini-3` sign their function calls and the end of their texts, and want the signatures of calls back;
they also give their calls ids. Thoughts (fault `reasoning`) are shown only where includeThoughts asks for them.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from tests.fakes.chat import converse
from tests.fakes.events import Event, Kind
from tests.fakes.faults import Json
from tests.fakes.gemini_checks import SIGNATURE, complaints
from tests.fakes.ledger import MAX_KEPT_BODY, Terms
from tests.fakes.plans import Plans
from tests.fakes.sending import Exchange, send_json
from tests.fakes.tongue import Tongue

METHODS = ("generateContent", "streamGenerateContent", "batchEmbedContents")
REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
DIMENSIONS = 4
RETRY_DELAY = "6.4s"


def is_gemini(path: str) -> bool:
    return path.rpartition(":")[2] in METHODS


async def answer_gemini(x: Exchange, plans: Plans) -> bool:
    """Whether the connection may serve another request."""
    model, _, method = x.request.path.partition("/models/")[2].rpartition(":")
    record, body = x.record, _parsed(x.request.body)
    record.model, record.stream = model, method == "streamGenerateContent"
    record.request_body = body if len(x.request.body) <= MAX_KEPT_BODY else None
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    signs = model.startswith("gemini-3")
    tongue = GeminiTongue(record.id, signs=signs, shows=thinking.get("includeThoughts") is True)
    x = replace(x, tongue=tongue)
    if not x.request.headers.get("x-goog-api-key"):
        return await send_json(x, 403, _error("Method doesn't allow unregistered callers (callers without established identity)."))
    if method == "batchEmbedContents":
        return await _embed(x, body)
    if record.stream and x.request.query.get("alt") != ["sse"]:
        return await send_json(x, 501, _error("The fake streams server-sent events only."))
    for complaint in complaints(body, model):
        return await send_json(x, 400, _error(complaint))
    return await converse(x, _chat(body, model), plans)


class GeminiTongue(Tongue):
    """Streams whole function calls, holds a candidate's end until the usage is known, and knows no [DONE]."""

    def __init__(self, serial: int, *, signs: bool, shows: bool) -> None:
        self._serial, self._signs, self._shows = serial, signs, shows
        self._calls: dict[int, dict[int, Json]] = {}
        self._numbers = count()

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        held: Event | None = None
        owed = 0
        for event in events:
            if event.kind is Kind.USAGE and held is not None:
                held = replace(held, data={**held.data, "usageMetadata": _usage(event.data["usage"])})
                continue
            if event.kind is Kind.DONE:
                continue
            said = self._said(event)
            if said is None:
                owed += event.tokens
                continue
            if held is not None:
                yield held
            said, owed, held = replace(said, tokens=said.tokens + owed), 0, None
            if event.kind is Kind.FINISH:
                held = said
            else:
                yield said
        if held is not None:
            yield replace(held, kind=Kind.DONE)

    def completion(self, completion: dict[str, Json]) -> Json:
        rows = [self._candidate(row["index"], row["message"], row["finish_reason"], row["logprobs"]) for row in completion["choices"]]
        usage = {"usageMetadata": _usage(completion["usage"])} if "usage" in completion else {}
        return {"candidates": rows, **usage, "modelVersion": completion["model"], "responseId": completion["id"]}

    def refusal(self, status: int, body: Json) -> tuple[int, Json]:
        error = body.get("error", body) if isinstance(body, dict) else {}
        error = error if isinstance(error, dict) else {"message": error}
        message, details = error.get("message"), []
        if error.get("code") == "invalid_api_key":
            status, message = 400, "API key not valid. Please pass a valid API key."
            details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
        if error.get("code") == "context_length_exceeded":
            message = "The input token count (25) exceeds the maximum number of tokens allowed (10)."
        if status == 429:
            details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": RETRY_DELAY}]
        code = 500 if status == 200 else status
        word = STATUSES.get(code, "UNAVAILABLE" if code == 503 else "INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
        return status, {"error": {"code": code, "message": message, "status": word, **({"details": details} if details else {})}}

    def _said(self, event: Event) -> Event | None:
        """None for what adds nothing that Google would send by itself."""
        if event.kind is Kind.ACT or isinstance(event.data, str):
            return event
        if event.kind is Kind.ERROR:
            return replace(event, data=self.refusal(200, event.data)[1])
        usage = {"usageMetadata": _usage(event.data["usage"])} if event.data.get("usage") else {}
        rows = [self._row(row) for row in event.data["choices"]]
        rows = [row for row in rows if row is not None]
        if event.kind is not Kind.USAGE and not rows:
            return None
        return replace(event, data={**({"candidates": rows} if rows else {}), **usage, "responseId": event.data["id"]})

    def _row(self, row: Json) -> Json:
        index, delta = row["index"], row["delta"]
        for call in delta.get("tool_calls", []):
            kept = self._calls.setdefault(index, {}).setdefault(call["index"], {"name": "", "arguments": ""})
            for name, text in call["function"].items():
                kept[name] += text
        message = {name: text for name, text in delta.items() if name in ("content", "refusal", "reasoning_content") and text}
        if "reasoning_content" in message and not self._shows:
            message = {}
        if row["finish_reason"] is None and not message:
            return None
        if row["finish_reason"] is not None:
            message["tool_calls"] = [{"function": call} for call in self._calls.pop(index, {}).values()]
        return self._candidate(index, message, row["finish_reason"], row["logprobs"])

    def _candidate(self, index: int, message: Json, finish: str | None, logprobs: Json) -> Json:
        parts: list[Json] = []
        if message.get("reasoning_content") and self._shows:
            parts.append({"text": message["reasoning_content"], "thought": True})
        parts += [{"text": message[name]} for name in ("content", "refusal") if message.get(name)]
        for number, call in enumerate(message.get("tool_calls") or []):
            given = {"id": f"fc-{self._serial}-{next(self._numbers)}"} if self._signs else {}
            called = {**given, "name": call["function"]["name"], "args": _loaded(call["function"]["arguments"])}
            parts.append({"functionCall": called, **(self._signature() if self._signs and number == 0 else {})})
        if finish and self._signs and not message.get("tool_calls"):
            parts.append({"text": "", **self._signature()})
        reason = {"finishReason": REASONS[finish]} if finish else {}
        chances = {"logprobsResult": _logprobs(logprobs["content"])} if logprobs else {}
        return {"content": {"role": "model", "parts": parts}, **reason, "index": index, **chances}

    def _signature(self) -> dict[str, str]:
        return {"thoughtSignature": base64.b64encode(SIGNATURE + str(self._serial).encode()).decode()}


async def _embed(x: Exchange, body: dict[str, Json]) -> bool:
    requests = body.get("requests", [])
    for request in requests:
        if request["model"] != f"models/{x.record.model}" or set(request) > {"model", "content", "outputDimensionality"}:
            return await send_json(x, 400, _error("Invalid JSON payload received."))
    if not 0 < len(requests) <= 100:
        return await send_json(x, 400, _error("* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"))
    texts = [request["content"]["parts"][0]["text"] for request in requests]
    x.record.terms = Terms(prompt=sum(len(text.split()) for text in texts))
    values = [vector(text, request.get("outputDimensionality", DIMENSIONS)) for text, request in zip(texts, requests, strict=True)]
    answer = {"embeddings": [{"values": each} for each in values], "usageMetadata": {"promptTokenCount": x.record.terms.prompt}}
    return await send_json(x, 200, answer, outcome="served")


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Always the same numbers for the same text."""
    return [byte / 256 for byte in hashlib.shake_128(text.encode()).digest(dimensions)]


def _chat(body: dict[str, Json], model: str) -> dict[str, Json]:
    """The chat request that asks for the same."""
    config, calling = body.get("generationConfig", {}), body.get("toolConfig", {}).get("functionCallingConfig", {})
    declarations = [each for tool in body.get("tools", []) for each in tool["functionDeclarations"]]
    tools = [{"type": "function", "function": {**each, "parameters": each.get("parametersJsonSchema")}} for each in declarations]
    choice: Json = MODES.get(calling.get("mode"), "auto")
    if calling.get("allowedFunctionNames"):
        choice = {"type": "function", "function": {"name": calling["allowedFunctionNames"][0]}}
    as_json = {"type": "json_schema", "json_schema": {"schema": config.get("responseJsonSchema", {})}}
    system = [{"role": "system", "parts": body["systemInstruction"]["parts"]}] if "systemInstruction" in body else []
    return {
        "model": model,
        "messages": [_message(content) for content in (*system, *body["contents"])],
        "stream_options": {"include_usage": True},
        "max_tokens": config.get("maxOutputTokens"),
        "n": config.get("candidateCount"),
        "tools": tools,
        "tool_choice": choice,
        "logprobs": config.get("responseLogprobs"),
        "top_logprobs": config.get("logprobs"),
        **({"response_format": as_json} if config.get("responseMimeType") == "application/json" else {}),
    }


def _message(content: Json) -> Json:
    answers = any("functionResponse" in part for part in content["parts"])
    role = "tool" if answers else {"model": "assistant"}.get(content["role"], content["role"])
    return {"role": role, "content": [{"type": "text", "text": part.get("text", "")} for part in content["parts"]]}


def _usage(usage: Json) -> Json:
    if not isinstance(usage, dict):
        return usage
    completion = usage.get("completion_tokens")
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    said = completion - thoughts if isinstance(completion, int) else completion
    told = {"promptTokenCount": usage.get("prompt_tokens"), "candidatesTokenCount": said, "totalTokenCount": usage.get("total_tokens")}
    return {**told, **({"thoughtsTokenCount": thoughts} if thoughts else {}), **({"cachedContentTokenCount": cached} if cached else {})}


def _logprobs(entries: list[Json]) -> Json:
    def said(entry: Json) -> Json:
        return {"token": entry["token"], "tokenId": 7, "logProbability": entry["logprob"]}

    tops = [{"candidates": [said(other) for other in entry["top_logprobs"]]} for entry in entries]
    return {"topCandidates": tops, "chosenCandidates": [said(entry) for entry in entries]}


def _error(message: str) -> Json:
    return {"error": {"message": message}}


def _parsed(body: bytes) -> dict[str, Json]:
    value = _loaded(body)
    return value if isinstance(value, dict) else {}


def _loaded(text: str | bytes) -> Json:
    """Arguments that a limit cut off are none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}

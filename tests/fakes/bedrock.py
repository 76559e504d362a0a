"""Answers Bedrock's Converse, ConverseStream and InvokeModel with the chat fake's answers, faults and ledger.

Thoughts (fault `reasoning`) are shown and signed where a Claude's `thinking` asks for them, and by other models always; who says HIDE
gets one more that is encrypted. A request that marks a cachePoint writes WRITTEN tokens of its prompt into the cache. An error in a
stream is the exception that `code=` names. InvokeModel knows Titan's and Cohere's embeddings.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.fakes.bedrock_chat import chat_of, loaded
from tests.fakes.bedrock_checks import REDACTED, SIGNATURE, complaints, path_of, refused_caller
from tests.fakes.bedrock_frames import TYPE, framer
from tests.fakes.chat import converse
from tests.fakes.events import Event, Kind
from tests.fakes.faults import Json
from tests.fakes.ledger import MAX_KEPT_BODY, Record, Terms
from tests.fakes.plans import Plans
from tests.fakes.sending import Exchange, send_json
from tests.fakes.tongue import Tongue

WRITTEN = 2
HIDE = "hide a thought"
DIMENSIONS = 4
_PATH = re.compile(r"(.*)/model/(.+)/(converse|converse-stream|invoke)")
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}
EXCEPTIONS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def is_bedrock(path: str) -> bool:
    return _PATH.fullmatch(path) is not None


async def answer_bedrock(x: Exchange, plans: Plans) -> bool:
    """Whether the connection may serve another request."""
    prefix, model, operation = _found(x.request.path)
    record, body = x.record, loaded(x.request.body)
    record.model, record.stream = model, operation == "converse-stream"
    record.request_body = body if len(x.request.body) <= MAX_KEPT_BODY else None
    if refused := refused_caller(x.request, path_of(prefix, model, operation)):
        return await send_json(x, 403, {"message": refused[1]}, headers={"x-amzn-errortype": refused[0]})
    if operation == "invoke":
        return await _embed(x, body)
    x = replace(x, tongue=BedrockTongue(record, body, hides=HIDE.encode() in x.request.body))
    for complaint in complaints(body, model):
        return await send_json(x, 400, {"message": complaint})
    return await converse(x, chat_of(body, model), plans)


@dataclass
class BedrockTongue(Tongue):
    """Blocks have a number and end before the next one begins; usage comes after the end of the message."""

    record: Record
    body: dict[str, Json]
    hides: bool = False
    stream_type = TYPE
    _open: Json = None
    _index: int = -1
    _held: Event | None = None
    _calls: dict[int, int] = field(default_factory=dict)

    @property
    def shows(self) -> bool:
        thinking = self.body.get("additionalModelRequestFields", {}).get("thinking", {})
        return "claude" not in str(self.record.model) or thinking.get("type") in ("enabled", "adaptive")

    def framer(self) -> Callable[[Json], bytes]:
        return framer()

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        owed = 0
        for event in events:
            said = list(self._said(event))
            owed += event.tokens
            if said and owed:
                said[-1], owed = replace(said[-1], tokens=owed), 0
            yield from said
        if self._held is not None:
            yield replace(self._held, kind=Kind.DONE)

    def completion(self, completion: dict[str, Json]) -> Json:
        row = completion["choices"][0] if completion["choices"] else {"message": {}, "finish_reason": None}
        content, message = [], row["message"]
        if self.hides and self.shows:
            content.append({"reasoningContent": {"redactedContent": REDACTED}})
        if message.get("reasoning_content") and self.shows:
            content.append({"reasoningContent": {"reasoningText": {"text": message["reasoning_content"], "signature": SIGNATURE}}})
        content += [{"text": message[name]} for name in ("content", "refusal") if message.get(name)]
        for call in message.get("tool_calls") or []:
            given = loaded(call["function"]["arguments"])
            content.append({"toolUse": {"toolUseId": call["id"], "name": call["function"]["name"], "input": given}})
        usage = {"usage": self._usage(completion["usage"])} if "usage" in completion else {}
        output = {"message": {"role": "assistant", "content": content}} if completion["choices"] else {}
        return {"metrics": {"latencyMs": 7}, "output": output, "stopReason": REASONS.get(row["finish_reason"]), **usage}

    def refusal(self, status: int, body: Json) -> tuple[int, Json]:
        error = body.get("error", body) if isinstance(body, dict) else {}
        error = error if isinstance(error, dict) else {"message": error}
        if error.get("code") == "context_length_exceeded":
            return status, {"message": "Input is too long for requested model."}
        return (403 if status == 401 else status), {"message": error.get("message")}

    def refusal_headers(self, status: int) -> dict[str, str]:
        name = EXCEPTIONS.get(status, "InternalServerException" if status >= 500 else EXCEPTIONS[400])
        return {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}

    def _said(self, event: Event) -> Iterator[Event]:
        if event.kind is Kind.ERROR:
            code = event.data.get("error", {}).get("code") if isinstance(event.data.get("error"), dict) else None
            name = code if code and code.endswith("Exception") else "internalServerException"
            yield replace(event, data={f"!{name}": self.refusal(500, event.data)[1]})
        elif event.kind is Kind.ACT or isinstance(event.data, str):
            if event.kind is not Kind.DONE:
                yield event
        elif event.kind is Kind.USAGE:
            yield from self._ended(event.data["usage"])
        else:
            row = event.data["choices"][0]
            if event.kind is Kind.ROLE:
                yield Event(Kind.ROLE, {"messageStart": {"role": "assistant", "p": "abcdefghijk"}})
                yield from self._hidden()
            yield from self._grown(row["delta"])
            if row["finish_reason"]:
                yield from self._close()
                self._held = Event(Kind.FINISH, {"messageStop": {"stopReason": REASONS[row["finish_reason"]]}})
                if event.data.get("usage"):
                    yield from self._ended(event.data["usage"])

    def _ended(self, usage: Json) -> Iterator[Event]:
        if self._held is not None:
            yield self._held
        self._held = None
        yield Event(Kind.DONE, {"metadata": {"metrics": {"latencyMs": 7}, "usage": self._usage(usage)}})

    def _hidden(self) -> Iterator[Event]:
        if self.hides and self.shows:
            yield from self._begin("redacted")
            yield self._delta({"reasoningContent": {"redactedContent": REDACTED}})

    def _grown(self, delta: dict[str, Json]) -> Iterator[Event]:
        for name in ("content", "refusal"):
            if delta.get(name):
                yield from self._begin("text")
                yield self._delta({"text": delta[name]})
        if delta.get("reasoning_content") and self.shows:
            yield from self._begin("thinking")
            yield self._delta({"reasoningContent": {"text": delta["reasoning_content"]}})
        for call in delta.get("tool_calls", []):
            if "id" in call:
                yield from self._begin(f"call {call['index']}")
                self._calls[call["index"]] = self._index
                start = {"toolUse": {"toolUseId": call["id"], "name": call["function"]["name"]}}
                yield Event(Kind.RAW, {"contentBlockStart": {"contentBlockIndex": self._index, "start": start}})
            else:
                at = self._calls[call["index"]]
                data = {"contentBlockIndex": at, "delta": {"toolUse": {"input": call["function"]["arguments"]}}}
                yield Event(Kind.TOKEN, {"contentBlockDelta": data})

    def _begin(self, key: str) -> Iterator[Event]:
        if self._open != key:
            yield from self._close()
            self._open, self._index = key, self._index + 1

    def _close(self) -> Iterator[Event]:
        if self._open == "thinking":
            yield self._delta({"reasoningContent": {"signature": SIGNATURE}})
        if self._open is not None:
            yield Event(Kind.RAW, {"contentBlockStop": {"contentBlockIndex": self._index}})
        self._open = None

    def _delta(self, delta: Json) -> Event:
        return Event(Kind.TOKEN, {"contentBlockDelta": {"contentBlockIndex": self._index, "delta": delta}})

    def _usage(self, usage: Json) -> Json:
        """The input's figures exclude what the cache gave and took."""
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            return usage
        cached = self.record.terms.cached
        written = min(WRITTEN, usage["prompt_tokens"]) if '"cachePoint"' in json.dumps(self.body) else 0
        told = {"inputTokens": usage["prompt_tokens"] - cached - written, "outputTokens": usage["completion_tokens"]}
        total = {"totalTokens": usage["total_tokens"]}
        return {**told, **total, **({"cacheReadInputTokens": cached, "cacheWriteInputTokens": written} if cached or written else {})}


async def _embed(x: Exchange, body: dict[str, Json]) -> bool:
    titan = "titan-embed-text-v2" in str(x.record.model)
    known = {"inputText", "dimensions", "normalize"} if titan else {"texts", "input_type", "output_dimension", "truncate"}
    texts = [body.get("inputText")] if titan else body.get("texts", [])
    unknown = sorted(body.keys() - known)
    if unknown or not 0 < len(texts) <= 96 or not all(texts) or (not titan and "input_type" not in body):
        message = f"Malformed input request: #: extraneous keys {unknown} are not permitted, please reformat your input and try again."
        return await send_json(x, 400, {"message": message}, headers={"x-amzn-errortype": EXCEPTIONS[400]})
    x.record.terms = Terms(prompt=sum(len(text.split()) for text in texts))
    size = body.get("dimensions") or body.get("output_dimension") or DIMENSIONS
    vectors = [vector(text, size) for text in texts]
    given = {"embedding": vectors[0], "inputTextTokenCount": x.record.terms.prompt} if titan else {"embeddings": vectors, "texts": texts}
    headers = {"x-amzn-bedrock-input-token-count": str(x.record.terms.prompt)}
    return await send_json(x, 200, given, headers=headers, outcome="served")


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Always the same numbers for the same text."""
    return [byte / 256 for byte in hashlib.shake_128(text.encode()).digest(dimensions)]


def _found(path: str) -> tuple[str, str, str]:
    found = _PATH.fullmatch(path)
    assert found
    return found[1], found[2], found[3]

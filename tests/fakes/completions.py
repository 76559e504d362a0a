"""The JSON shapes of an answer: stream chunks, the whole completion, log-probabilities, error bodies."""

import time
from dataclasses import dataclass

from tests.fakes.answers import Choice, Piece, Step, Wish
from tests.fakes.faults import Json

FINGERPRINT = "fp_fake"


@dataclass(frozen=True)
class Shape:
    """What all chunks of one answer share."""

    wish: Wish
    created: int

    @classmethod
    def of(cls, wish: Wish) -> "Shape":
        return cls(wish, int(time.time()))

    def envelope(self, kind: str) -> dict[str, Json]:
        return {
            "id": f"chatcmpl-{self.wish.serial}",
            "object": kind,
            "created": self.created,
            "model": self.wish.model,
            "system_fingerprint": FINGERPRINT,
        }

    def chunk(self, choice: Choice, delta: dict[str, Json], *, finish: str | None = None, text: str | None = None) -> dict[str, Json]:
        probabilities = self.logprobs([text]) if text is not None and self.wish.body.get("logprobs") else None
        row = {"index": choice.index, "delta": delta, "logprobs": probabilities, "finish_reason": finish}
        return {**self.envelope("chat.completion.chunk"), "choices": [row]}

    def usage_chunk(self, usage: Json) -> dict[str, Json]:
        return {**self.envelope("chat.completion.chunk"), "choices": [], "usage": usage}

    def completion(self, parts: list[Step]) -> dict[str, Json]:
        finished = {step.choice.index: step.choice for step in parts}
        rows = [self._row(choice, [s.piece for s in parts if s.piece and s.choice is choice]) for _, choice in sorted(finished.items())]
        return {**self.envelope("chat.completion"), "choices": rows}

    def logprobs(self, texts: list[str]) -> dict[str, Json]:
        wanted = self.wish.whole("top_logprobs") or 0
        return {"content": [_logprob(text, min(wanted, 20)) for text in texts], "refusal": None}

    def _row(self, choice: Choice, pieces: list[Piece]) -> dict[str, Json]:
        texts = [piece.text for piece in pieces if piece.text is not None]
        probabilities = self.logprobs(texts) if self.wish.body.get("logprobs") else None
        return {"index": choice.index, "message": _message(pieces), "logprobs": probabilities, "finish_reason": choice.finish}


def error_body(message: str, *, kind: str = "server_error", code: str | int | None = None, param: str | None = None) -> dict[str, Json]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _message(pieces: list[Piece]) -> dict[str, Json]:
    texts: dict[str, list[str]] = {}
    calls: dict[int, dict[str, Json]] = {}
    for delta in (piece.delta for piece in pieces):
        for name in ("content", "refusal", "reasoning_content"):
            if name in delta:
                texts.setdefault(name, []).append(delta[name])
        for part in delta.get("tool_calls", []):
            if "id" in part:
                calls[part["index"]] = {"id": part["id"], "type": "function", "function": {**part["function"], "arguments": ""}}
            else:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    said = {name: "".join(parts) for name, parts in texts.items()}
    empty = None if calls or "refusal" in said else ""
    message = {"role": "assistant", "content": empty, "refusal": None, **said}
    return {**message, "tool_calls": list(calls.values())} if calls else message


def _logprob(text: str, top: int) -> dict[str, Json]:
    entry = {"token": text, "logprob": -0.25, "bytes": list(text.encode("utf-8", "replace"))}
    others = [{"token": f"other{rank}", "logprob": -1.5 - rank, "bytes": list(f"other{rank}".encode())} for rank in range(1, top)]
    return {**entry, "top_logprobs": [entry, *others] if top else []}

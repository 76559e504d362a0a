"""Counts one attempt's answer while its events pass: the provider's own figures where they can be believed, else our count.

Memory is bounded: text is kept only until it has been counted, and it is counted only when it must be (near the limit, every 64 KiB,
or at an end without reported usage). However often that is, the sum is that of the text in one piece: text is counted for good only up
to a blank after a letter, where a new token begins in every encoding.
"""

import re
from typing import Any, Final, Protocol

import msgspec

from metering.usage import COUNT_MAX, Usage, from_openai

UNCOUNTED_BYTES_MAX: Final = 64 * 1024
TAIL_CHARACTERS: Final = 1024
"""So much text is kept to be counted with what follows it; where it has no blank after a letter, one token more may be counted."""
_LOSSLESS_CUT: Final = re.compile(r"(?<=[A-Za-z]) ")


class Tokenizer(Protocol):
    """See `metering.tokens`."""

    @property
    def exact(self) -> bool: ...

    def count(self, text: str) -> int: ...


class Meter:
    """`see` every event before it leaves; `over` says that the answer has outgrown `tokens_max`; `usage` is the final count.

    `tokens_max` is what has been paid for so far and grows with the hold; it ends the relay. `tokens_limit` is the client's own limit
    and `prompt_tokens_max` the most the prompt can be: reported figures above these two are cut to them, so that a provider that
    ignores `max_tokens` or misreports cannot charge more than the client allowed.
    """

    def __init__(self, tokenizer: Tokenizer, *, tokens_max: int, tokens_limit: int, prompt_tokens_max: int, strict: bool = False) -> None:
        self._tokenizer = tokenizer
        self._tokens_max = tokens_max
        self._tokens_limit = tokens_limit
        self._strict = strict
        self._prompt_tokens_max = prompt_tokens_max
        self._texts: list[str] = []
        self._newest: list[str] = []
        self._kept_bytes = 0
        self._counted = 0
        self._at_most = 0
        self._events = 0
        self._reported: Usage | None = None

    def see(self, event: dict[str, Any]) -> None:
        """Takes `usage` out of the event, so that the client sees it only once it has been charged, and counts what is left."""
        reported = event.pop("usage", None)
        if reported is not None:
            self._reported = from_openai(reported) or self._reported
        self._keep_newest()
        if self._kept_bytes > UNCOUNTED_BYTES_MAX:
            self._shorten()
        delivered = False
        for choice in event["choices"]:
            part = choice.get("delta") or choice.get("message")
            if part and part.__class__ is dict:
                delivered |= self._take(part)
        self._events += delivered

    def drop(self) -> None:
        """The newest event will not leave after all."""
        self._events -= bool(self._newest)
        self._newest = []

    @property
    def events(self) -> int:
        """Events with output so far."""
        return self._events

    @property
    def delivered(self) -> bool:
        """Whether any output has passed."""
        return self._events > 0

    @property
    def over(self) -> bool:
        """More output than was held for. Tokenizers differ, so the number of events must agree, unless we count twice the limit.

        Where the balance is the limit (`strict`), our own count alone decides.
        """
        limit = self._tokens_max
        if self._at_most <= limit:
            return False
        counted = self._count()
        return counted > limit and (self._strict or self._events > limit or counted > 2 * limit + 64)

    @property
    def nearly_over(self) -> bool:
        """Three quarters of what was held for are used."""
        limit = 3 * self._tokens_max
        return 4 * self._at_most > limit and 4 * self._count() > limit

    def raise_limit(self, tokens_max: int, *, strict: bool) -> None:
        """More has been held."""
        self._tokens_max, self._strict = tokens_max, strict

    def usage(self, prompt_tokens: int, *, whole: bool) -> tuple[Usage, str]:
        """The usage and its source: `provider`, or `counted` / `estimated` with the given count of the prompt.

        What a provider said in the middle of an answer that was not to be a `whole` one may lag behind what it had delivered.
        """
        counted_by = "counted" if self._tokenizer.exact else "estimated"
        if self._reported is None:
            return Usage(prompt=prompt_tokens, completion=min(self._count(), self._tokens_max)), counted_by
        usage = self._cut(self._reported)
        if whole and usage.completion_tokens:
            return usage, "provider"
        missing = min(self._count(), self._tokens_max) - usage.completion_tokens
        if missing <= 0:
            return usage, "provider"
        return msgspec.structs.replace(usage, completion=usage.completion + missing), counted_by

    @property
    def reported(self) -> bool:
        return self._reported is not None

    @property
    def cached_prompt(self) -> int:
        """Prompt tokens that the provider said it had in its cache."""
        return self._reported.cached_prompt if self._reported is not None else 0

    @property
    def paced_tokens(self) -> int:
        """Completion tokens for a rate per second: as reported, else one per event, which is what most providers send."""
        return self._reported.completion_tokens if self._reported is not None else self._events

    @property
    def completion_reported(self) -> bool:
        return self._reported is not None and self._reported.completion_tokens > 0

    def _cut(self, usage: Usage) -> Usage:
        """The reported units, the largest part shortened where a sum exceeds what it can be."""
        excess = usage.completion_tokens - self._tokens_limit
        for unit in ("completion", "reasoning", "audio_completion"):
            if excess > 0:
                cut = min(excess, getattr(usage, unit))
                usage, excess = msgspec.structs.replace(usage, **{unit: getattr(usage, unit) - cut}), excess - cut
        excess = usage.prompt_tokens - self._prompt_tokens_max
        for unit in ("prompt", "cached_prompt", "cache_write", "image", "audio"):
            if excess > 0:
                cut = min(excess, getattr(usage, unit))
                usage, excess = msgspec.structs.replace(usage, **{unit: getattr(usage, unit) - cut}), excess - cut
        return usage

    def _take(self, part: dict[str, Any]) -> bool:
        reasoning = "reasoning" if part.get("reasoning") else "reasoning_content"  # some servers send the same text under both
        for name in ("content", reasoning, "refusal"):
            text = part.get(name)
            if text.__class__ is str and text:
                self._keep(text)
        calls = part.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            self._take_call(call)
        if part.get("function_call"):
            self._take_call({"function": part["function_call"]})
        return bool(self._newest) or any(part.get(name) for name in ("audio", "images", "reasoning_details", "embeddings"))

    def _take_call(self, call: object) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return
        for name in ("name", "arguments"):
            text = function.get(name)
            if isinstance(text, str) and text:
                self._keep(text)

    def _keep(self, text: str) -> None:
        """A text has at most as many tokens as bytes."""
        size = _bytes(text)
        self._newest.append(text)
        self._kept_bytes += size
        self._at_most += size

    def _keep_newest(self) -> None:
        self._texts += self._newest
        self._newest = []

    def _count(self) -> int:
        """The tokens of everything so far."""
        self._shorten()
        self._at_most = min(self._counted + self._tokenizer.count("".join(self._texts + self._newest)), COUNT_MAX)
        return self._at_most

    def _shorten(self) -> None:
        """Counts what is older than the tail for good."""
        text = "".join(self._texts)
        if len(text) > 2 * TAIL_CHARACTERS:
            cuts = [match.start() for match in _LOSSLESS_CUT.finditer(text, len(text) - TAIL_CHARACTERS)]
            end = cuts[-1] if cuts else len(text)
            self._counted += self._tokenizer.count(text[:end])
            text = text[end:]
        self._texts = [text]
        self._kept_bytes = _bytes(text) + sum(map(_bytes, self._newest))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

"""What one generation used, in disjoint units: each token is counted in exactly one field, so a cost is a plain sum.

Providers report overlapping figures (cached tokens are part of `prompt_tokens`, reasoning tokens part of `completion_tokens`);
`from_openai` takes them apart. A dialect with another shape brings its own reader and ends in the same struct.
"""

from typing import Any

import msgspec

COUNT_MAX = 2**31
"""A reported figure above this is rubbish, not usage."""

PROMPT_UNITS = ("prompt", "cached_prompt", "cache_write", "image", "audio")
COMPLETION_UNITS = ("completion", "reasoning", "audio_completion")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts by unit. `image` and `audio` are parts of the prompt, `audio_completion` of the answer."""

    prompt: int = 0
    cached_prompt: int = 0
    cache_write: int = 0
    image: int = 0
    audio: int = 0
    completion: int = 0
    reasoning: int = 0
    audio_completion: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.prompt + self.cached_prompt + self.cache_write + self.image + self.audio

    @property
    def completion_tokens(self) -> int:
        return self.completion + self.reasoning + self.audio_completion


def from_openai(reported: object) -> Usage | None:
    """The `usage` object of a chat completion -> Usage; None when it is absent or not believable (then we count ourselves).

    Understands OpenAI's details objects, DeepSeek's `prompt_cache_hit_tokens`, and servers that leave reasoning tokens out of
    `completion_tokens` (recognised by `total_tokens`).
    """
    if not isinstance(reported, dict):
        return None
    counts = _Counts(reported)
    prompt, completion = counts.top("prompt_tokens"), counts.top("completion_tokens")
    if prompt is None or completion is None:
        return None
    of_prompt, of_completion = counts.details("prompt_tokens_details"), counts.details("completion_tokens_details")
    cached = of_prompt.get("cached_tokens") or counts.top("prompt_cache_hit_tokens") or 0
    reasoning = of_completion.get("reasoning_tokens", 0)
    if reasoning and counts.top("total_tokens") == prompt + completion + reasoning:
        completion += reasoning
    write, image, audio = (of_prompt.get(name, 0) for name in ("cache_write_tokens", "image_tokens", "audio_tokens"))
    cached, write, image, audio = _within(prompt, cached, write, image, audio)
    spoken = of_completion.get("audio_tokens", 0)
    reasoning, spoken = _within(completion, reasoning, spoken)
    return Usage(
        prompt=prompt - cached - write - image - audio,
        cached_prompt=cached,
        cache_write=write,
        image=image,
        audio=audio,
        completion=completion - reasoning - spoken,
        reasoning=reasoning,
        audio_completion=spoken,
    )


class _Counts:
    """Reads figures out of a reported usage object; a figure that is not a plausible count is absent."""

    def __init__(self, reported: dict[str, Any]) -> None:
        self.reported = reported

    def top(self, name: str) -> int | None:
        return _count(self.reported.get(name))

    def details(self, name: str) -> dict[str, int]:
        details = self.reported.get(name)
        if not isinstance(details, dict):
            return {}
        return {key: count for key, value in details.items() if (count := _count(value)) is not None}


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= COUNT_MAX else None


def _within(total: int, *parts: int) -> tuple[int, ...]:
    """Parts cut so that together they never exceed the total they are part of."""
    kept = []
    for part in parts:
        kept.append(min(part, total))
        total -= kept[-1]
    return tuple(kept)

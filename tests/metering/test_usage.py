"""Whatever a provider reports, each token ends in exactly one unit, and what cannot be a count is not believed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.usage import COUNT_MAX, Usage, from_openai

COUNTS = st.integers(0, COUNT_MAX)
RUBBISH = [-1, COUNT_MAX + 1, 2**63, 10**400, 1.5, "7", None, True, [], {}]
NAMES = (
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens", "prompt_tokens_details", "completion_tokens_details",
    "cached_tokens", "cache_write_tokens", "image_tokens", "audio_tokens", "reasoning_tokens",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)


def _reported(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        pytest.param(_reported(10, 5), Usage(prompt=10, completion=5), id="plain"),
        pytest.param(_reported(0, 0), Usage(), id="nothing"),
        pytest.param(
            _reported(10, 5, prompt_tokens_details={"cached_tokens": 4}), Usage(prompt=6, cached_prompt=4, completion=5), id="cached"
        ),
        pytest.param(
            _reported(10, 5, prompt_cache_hit_tokens=4, prompt_cache_miss_tokens=6), Usage(prompt=6, cached_prompt=4, completion=5),
            id="deepseek"
        ),
        pytest.param(
            _reported(10, 5, prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 3, "image_tokens": 2, "audio_tokens": 1}),
            Usage(cached_prompt=4, cache_write=3, image=2, audio=1, completion=5), id="all-of-the-prompt",
        ),
        pytest.param(
            _reported(10, 9, total_tokens=19, completion_tokens_details={"reasoning_tokens": 6, "audio_tokens": 2}),
            Usage(prompt=10, completion=1, reasoning=6, audio_completion=2), id="reasoning-inside",
        ),
        pytest.param(
            _reported(10, 5, total_tokens=21, completion_tokens_details={"reasoning_tokens": 6}),
            Usage(prompt=10, completion=5, reasoning=6), id="reasoning-left-out-of-completion",
        ),
        pytest.param(
            _reported(10, 5, prompt_tokens_details={"cached_tokens": 99}), Usage(cached_prompt=10, completion=5),
            id="more-cached-than-prompt"
        ),
        pytest.param(
            _reported(10, 5, completion_tokens_details={"reasoning_tokens": 99}), Usage(prompt=10, reasoning=5),
            id="more-reasoning-than-output"
        ),
        pytest.param(_reported(10, 5, prompt_tokens_details=[], completion_tokens_details="x"), Usage(prompt=10, completion=5),
        id="odd-details"),
    ],
)  # fmt: skip
def test_reported_figures_become_disjoint_units(reported: dict[str, Any], usage: Usage) -> None:
    assert from_openai(reported) == usage


@pytest.mark.parametrize("rubbish", RUBBISH)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_usage_without_a_believable_count_is_no_usage(name: str, rubbish: Any) -> None:
    assert from_openai(_reported(10, 5) | {name: rubbish}) is None


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_a_detail_that_is_no_count_is_as_good_as_absent(rubbish: Any) -> None:
    details = {"cached_tokens": rubbish, "reasoning_tokens": rubbish, "audio_tokens": rubbish}
    reported = _reported(10, 5, prompt_tokens_details=details, completion_tokens_details=details, prompt_cache_hit_tokens=rubbish)
    assert from_openai(reported) == Usage(prompt=10, completion=5)


@pytest.mark.parametrize("reported", [None, [], "usage", 7, {}])
def test_what_is_no_usage_object_is_no_usage(reported: Any) -> None:
    assert from_openai(reported) is None


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 3 * COUNT_MAX))
def test_no_token_is_lost_or_counted_twice(
    prompt: int, completion: int, cached: int, audio: int, reasoning: int, spoken: int, total: int
) -> None:
    usage = from_openai(
        _reported(
            prompt, completion, total_tokens=total,
            prompt_tokens_details={"cached_tokens": cached, "audio_tokens": audio},
            completion_tokens_details={"reasoning_tokens": reasoning, "audio_tokens": spoken},
        )
    )  # fmt: skip
    assert usage is not None
    assert usage.prompt_tokens == prompt
    assert usage.completion_tokens in (completion, completion + reasoning)
    assert all(getattr(usage, unit) >= 0 for unit in Usage.__struct_fields__)


@given(JSON)
def test_any_json_gives_usage_with_bounded_counts_or_none(reported: Any) -> None:
    usage = from_openai(reported)
    assert usage is None or all(0 <= getattr(usage, unit) <= COUNT_MAX for unit in Usage.__struct_fields__)


def test_the_largest_count_is_believed_and_one_more_is_not() -> None:
    assert from_openai(_reported(COUNT_MAX, COUNT_MAX)) == Usage(prompt=COUNT_MAX, completion=COUNT_MAX)
    assert from_openai(_reported(COUNT_MAX + 1, 5)) is None

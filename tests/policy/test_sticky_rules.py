"""What a conversation is known by, and when its route is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.price import Price
from policy.sticky import TEXT_MAX, Conversation, conversation, worth_keeping
from providers.content import Content
from providers.provider import ChatRequest

SECRET = "a-secret-for-tests-of-40-characters-long"
SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "Where is my parcel?"}


def _request(messages: Any, model: str = "acme/fast-1", preferences: dict[str, Any] | None = None, **body: Any) -> ChatRequest:
    return ChatRequest(
        body=Content({"model": model, "messages": messages, **body}),
        model=model,
        stream=True,
        include_usage=False,
        max_tokens=None,
        n=1,
        prompt_tokens_max=100,
        preferences=preferences or {},
    )


def _known(messages: Any, session_id: str | None = None, account: str = "acc_1", **changed: Any) -> Conversation:
    found = conversation(account, _request(messages, **changed), session_id, secret=SECRET)
    assert found is not None
    return found


def test_a_conversation_that_goes_on_stays_the_same() -> None:
    later = [SYSTEM, USER, {"role": "assistant", "content": "On its way."}, {"role": "user", "content": "When?"}]
    assert _known([SYSTEM, USER]) == _known(later)
    assert _known([USER]) == _known([USER, *later[2:]])


def test_developer_counts_as_system_and_order_of_the_two_does_not_matter() -> None:
    first, second = {"role": "developer", "content": "a"}, {"role": "system", "content": "b"}
    assert _known([first, USER, second]) == _known([first, second, USER])


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [SYSTEM, {"role": "user", "content": "Where is my parcel"}]},
        {"messages": [{"role": "system", "content": "You are terse"}, USER]},
        {"messages": [USER]},
        {"messages": [{**SYSTEM, "role": "developer"}, USER]},
        {"messages": [SYSTEM, USER], "model": "acme/fast-2"},
        {"messages": [SYSTEM, USER], "account": "acc_2"},
        {"messages": [SYSTEM, USER], "session_id": "s"},
        {"messages": [SYSTEM, USER], "prompt_cache_key": "s"},
    ],
    ids=["user", "system", "no system", "role", "model", "account", "session", "cache key"],
)
def test_another_opening_model_or_account_is_another_conversation(other: dict[str, Any]) -> None:
    assert _known([SYSTEM, USER]).key != _known(**other).key


def test_a_named_conversation_is_known_by_its_name_alone() -> None:
    by_name = _known([SYSTEM], session_id="chat-7")
    assert by_name.explicit
    assert by_name == _known([USER], session_id="chat-7", prompt_cache_key="other")
    assert by_name == _known([USER], prompt_cache_key="chat-7")
    assert not _known([USER]).explicit
    assert not _known([USER], session_id="", prompt_cache_key="").explicit


def test_an_explicit_order_has_no_sticky_route() -> None:
    assert conversation("acc", _request([USER], preferences={"order": ["acme"]}), "chat-7", secret=SECRET) is None
    assert conversation("acc", _request([USER], preferences={"order": []}), "chat-7", secret=SECRET) is not None


@pytest.mark.parametrize("messages", [[], [SYSTEM], None, "text", [5, None]], ids=str)
def test_without_an_opening_there_is_no_conversation(messages: Any) -> None:
    assert conversation("acc", _request(messages), None, secret=SECRET) is None


def test_long_texts_count_by_their_beginning_and_their_length() -> None:
    long = {"role": "user", "content": "x" * TEXT_MAX}
    one, two = ({"role": "user", "content": long["content"] + end} for end in ("a", "ab"))
    assert len({_known([each]).key for each in (long, one, two)}) == 3
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 5_000_000}}]}
    assert _known([picture]) == _known([picture])


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(content=json, role=st.sampled_from(["user", "system", "assistant"]), cache_key=json, secret=st.text(min_size=32))
def test_whatever_a_body_holds_there_is_an_answer_that_shows_nothing_of_it(content: Any, role: str, cache_key: Any, secret: str) -> None:
    found = conversation("acc", _request([{"role": role, "content": content}], prompt_cache_key=cache_key), None, secret=secret)
    if found is not None:
        assert len(found.key) == 64
        assert set(found.key) <= set("0123456789abcdef")
        other = conversation("acc", _request([{"role": role, "content": content}], prompt_cache_key=cache_key), None, secret=secret + "x")
        assert other is not None
        assert other.key != found.key


CHEAPER = Price(prompt=100, completion=100, cached_prompt=10)


@pytest.mark.parametrize(
    ("price", "explicit", "cached_tokens", "found", "kept"),
    [
        (CHEAPER, True, 0, False, True),
        (CHEAPER, False, 0, False, False),
        (CHEAPER, False, 1, False, True),
        (CHEAPER, True, 9, True, False),
        (Price(prompt=100, completion=100), True, 9, False, False),
        (Price(prompt=100, completion=100, cached_prompt=100), True, 9, False, False),
        (Price(prompt=0, completion=0), True, 9, False, False),
    ],
)
def test_a_route_is_kept_where_it_saves_money(price: Price, explicit: bool, cached_tokens: int, found: bool, kept: bool) -> None:
    assert worth_keeping(Conversation("k", explicit), price, cached_tokens=cached_tokens, found=found) is kept

"""What counts as a parameter that an endpoint must know."""

from typing import Any

import pytest

from policy.parameters import BASIC, BY_CAPABILITY, KNOWN, LIMITS, NEUTRAL, supported, used
from tests.policy.routing import endpoint


@pytest.mark.parametrize(
    ("body", "counted"),
    [
        ({"model": "a/b", "messages": [], "stream": True, "user": "u", "provider": {}, "metadata": {"a": "b"}}, set()),
        ({"temperature": 0, "top_k": 1, "unheard_of": "x"}, {"temperature", "top_k", "unheard_of"}),
        ({"temperature": None, "tools": [], "logit_bias": {}}, set()),
        ({"n": 1, "response_format": {"type": "text"}, "logprobs": False}, set()),
        ({"n": 2, "response_format": {"type": "json_object"}, "logprobs": True}, {"n", "response_format", "logprobs"}),
    ],
)
def test_only_what_changes_the_answer_is_a_used_parameter(body: dict[str, Any], counted: set[str]) -> None:
    assert used(body) == counted


def test_no_field_is_both_a_parameter_and_none() -> None:
    assert not KNOWN & NEUTRAL


def test_a_list_replaces_the_basic_ones_and_nothing_else() -> None:
    tools = BY_CAPABILITY["tools"]
    assert supported(endpoint("one", capabilities=frozenset({"text"}))) == LIMITS | BASIC
    assert supported(endpoint("one", capabilities=frozenset({"tools"}), parameters=frozenset({"top_k"}))) == LIMITS | tools | {"top_k"}

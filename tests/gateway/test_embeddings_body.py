"""The body of an embeddings request: one shape for the providers, whatever shape of input came, and a name for what is wrong."""

import json
from typing import Any

import pytest

from gateway.api.embeddings_body import INPUTS_MAX, VALUES_MAX, parse
from gateway.errors import BadRequest
from metering.tokens import tokenizer
from policy.errors import UnknownPreset
from policy.preferences import Preferences
from policy.presets import Preset
from providers import prompt
from providers.provider import ChatRequest


def body(**fields: object) -> bytes:
    return json.dumps({"model": "acme/vectors", "input": "Hello", **fields}).encode()


def parsed(**fields: object) -> ChatRequest:
    return parse(body(**fields), {})


def refusal(raw: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(raw, {})
    return caught.value


def test_a_request_asks_for_embeddings_and_for_no_tokens() -> None:
    request = parsed()
    assert (request.operation, request.model, request.capabilities) == ("embeddings", "acme/vectors", {"embeddings"})
    assert (request.stream, request.n, request.max_tokens, request.extras) == (False, 1, None, frozenset())
    assert request.body.reveal() == {"model": "acme/vectors", "input": ["Hello"]}


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("Hello", ["Hello"]),
        (["Hello"], ["Hello"]),
        (["a", "b", "a"], ["a", "b", "a"]),
        (["x"] * INPUTS_MAX, ["x"] * INPUTS_MAX),
        ([15339, 0], [[15339, 0]]),
        ([[15339], [1, 2]], [[15339], [1, 2]]),
        ([7] * 10_000, [[7] * 10_000]),
    ],
    ids=["text", "list", "texts", "2048", "tokens", "lists of tokens", "10,000 tokens"],
)
async def test_every_shape_of_input_becomes_a_list_of_inputs(given: object, inputs: list[Any]) -> None:
    request = parsed(input=given)
    assert request.body.reveal()["input"] == inputs
    counted = await prompt.count(request.body.reveal(), tokenizer("o200k_base"))
    assert counted == sum(len(each) if isinstance(each, list) else tokenizer("o200k_base").count(each) for each in inputs)
    assert request.prompt_tokens_max >= counted


def test_what_providers_know_passes_and_what_routers_know_is_read_and_taken_out() -> None:
    known = {"dimensions": 8, "encoding_format": "base64", "input_type": "query", "user": "u", "truncate": "END"}
    request = parsed(**known, provider={"only": ["a"]}, models=["a/b"], session_id="s", usage={"include": True})
    assert request.body.reveal() == {"model": "acme/vectors", "input": ["Hello"], **known}
    assert (request.preferences, request.models, request.session_id) == ({"only": ["a"]}, ("a/b",), "s")
    assert request.parameters == {"dimensions", "input_type", "truncate"}


def test_of_a_preset_only_the_route_counts() -> None:
    presets = {"near": Preset(model="acme/vectors", provider=Preferences(only=("a",)), parameters={"temperature": 1, "stream": True})}
    for fields in ({"model": "@preset/near"}, {"preset": "near"}):
        request = parse(body(**fields), presets)
        assert (request.model, request.preferences, request.stream) == ("acme/vectors", {"only": ("a",)}, False)
        assert request.body.reveal() == {"model": "acme/vectors", "input": ["Hello"]}
    with pytest.raises(UnknownPreset):
        parse(body(preset="far"), presets)


@pytest.mark.parametrize("field", ["dimensions", "encoding_format", "input_type", "user", "models", "provider", "session_id", "preset"])
def test_null_counts_as_absent(field: str) -> None:
    assert parsed(**{field: None}).model == "acme/vectors"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": {}}, "input"),
        ({"input": True}, "input"),
        ({"input": ["x"] * (INPUTS_MAX + 1)}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": ["a", [5]]}, "input[1]"),
        ({"input": [[5], "a"]}, "input[1]"),
        ({"input": [[5], []]}, "input[1]"),
        ({"input": [[5], [True]]}, "input[1]"),
        ({"input": [[5], [-1]]}, "input[1]"),
        ({"input": [[5], [2**31]]}, "input[1]"),
        ({"input": [5, 2**31]}, "input"),
        ({"input": [5, -1]}, "input"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [{"content": []}]}, "input[0]"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 65_537}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"input_type": 5}, "input_type"),
        ({"user": 5}, "user"),
        ({"provider": []}, "provider"),
        ({"models": "a/b"}, "models"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"base_url": "http://10.0.0.1"}, "base_url"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    error = refusal(body(**fields))
    assert (error.status, error.param) == (400, param)
    assert error.message.startswith(f"{param}: ")


def test_a_missing_input_is_named() -> None:
    assert refusal(b'{"model": "acme/vectors"}').param == "input"
    assert refusal(b'{"input": "x"}').param == "model"


def test_300_000_tokens_may_be_sent_as_numbers_and_a_million_may_not() -> None:
    assert len(parse(body(input=[1] * 300_000), {}).body.reveal()["input"][0]) == 300_000
    assert refusal(body(input=[1] * (VALUES_MAX + 2))).status == 413

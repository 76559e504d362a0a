"""The body of a text completion: the chat request that means the same, and what no chat can say is refused by its name."""

import json
from typing import Any

import pytest

from gateway.api.completions_body import Completion, parse
from gateway.errors import BadRequest
from policy.presets import Preset


def body(**fields: object) -> bytes:
    return json.dumps({"model": "acme/fast-1", "prompt": "Once upon", **fields}).encode()


def parsed(**fields: object) -> Completion:
    return parse(body(**fields), {})


def sent(**fields: object) -> dict[str, Any]:
    """What a provider gets besides the model and the message."""
    chat: dict[str, Any] = parsed(**fields).request.body.reveal()
    assert (chat.pop("model"), chat.pop("messages")) == ("acme/fast-1", [{"role": "user", "content": "Once upon"}])
    return chat


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parsed(**fields)
    return caught.value


def test_the_prompt_becomes_one_user_message_and_nothing_is_added() -> None:
    asked = parsed()
    assert sent() == {}
    assert asked.prefix == ""
    assert (asked.request.stream, asked.request.n, asked.request.max_tokens) == (False, 1, None), "16 tokens are nobody's wish"
    assert sent(prompt=["Once upon"]) == {}


def test_what_a_chat_has_as_well_is_passed_on_as_it_is() -> None:
    fields = {
        "max_tokens": 9, "n": 2, "stop": ["."], "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5,
        "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1, "seed": 7, "user": "u", "logit_bias": {"1": 2}, "top_k": 5,
    }  # fmt: skip
    request = parsed(**fields).request
    assert sent(**fields) == fields
    assert (request.stream, request.include_usage, request.n, request.max_tokens) == (True, True, 2, 9)


def test_what_routers_know_is_read_and_taken_out() -> None:
    fields = {"provider": {"only": ["a"]}, "models": ["a/b"], "session_id": "s"}
    request = parsed(**fields).request
    assert (request.preferences, request.models, request.session_id) == ({"only": ["a"]}, ("a/b",), "s")
    assert sent(**fields) == {}


def test_a_preset_is_put_in() -> None:
    asked = parse(body(preset="short"), {"short": Preset(parameters={"max_tokens": 9, "stream": True})})
    assert (asked.request.max_tokens, asked.request.stream) == (9, True)


@pytest.mark.parametrize(
    ("logprobs", "expected"), [(None, {}), (0, {"logprobs": True, "top_logprobs": None}), (3, {"logprobs": True, "top_logprobs": 3})]
)
def test_the_number_of_logprobs_becomes_a_chats_two_fields(logprobs: int | None, expected: dict[str, Any]) -> None:
    assert sent(logprobs=logprobs) == expected


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]])
def test_echo_is_kept_here(prompt: object) -> None:
    assert parsed(prompt=prompt, echo=True).prefix == "Once upon"
    assert sent(echo=True, best_of=1, suffix="") == {}


@pytest.mark.parametrize("field", ["suffix", "echo", "n", "best_of", "logprobs", "max_tokens", "stream", "stop"])
def test_null_counts_as_absent(field: str) -> None:
    assert parsed(**{field: None}).request.n == 1


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": None}, "prompt", "is required"),
        ({"prompt": ["a", "b"]}, "prompt", "one request per prompt"),
        ({"prompt": []}, "prompt", "one request per prompt"),
        ({"prompt": [1, 2]}, "prompt", "send text"),
        ({"prompt": [[1, 2]]}, "prompt", "send text"),
        ({"prompt": [None]}, "prompt", "must be a text"),
        ({"prompt": 5}, "prompt", "must be a text"),
        ({"prompt": {}}, "prompt", "must be a text"),
        ({"suffix": " the end"}, "suffix", "cannot be passed on"),
        ({"suffix": 5}, "suffix", "expected str"),
        ({"best_of": 2}, "best_of", "must equal n"),
        ({"best_of": 2, "n": 3}, "best_of", "must equal n"),
        ({"best_of": 0}, "best_of", "expected int >= 1"),
        ({"n": 0}, "n", "expected int >= 1"),
        ({"n": 129}, "n", "expected int <= 128"),
        ({"logprobs": 21}, "logprobs", "expected int <= 20"),
        ({"logprobs": -1}, "logprobs", "expected int >= 0"),
        ({"logprobs": True}, "logprobs", "expected int"),
        ({"logprobs": 1, "echo": True}, "logprobs", "leave out echo"),
        ({"logprobs": 0, "echo": True}, "logprobs", "leave out echo"),
        ({"max_tokens": 0, "echo": True}, "max_tokens", "must be 1 or more"),
        ({"max_tokens": -1}, "max_tokens", "expected int >= 0"),
        ({"echo": "yes"}, "echo", "expected bool"),
        ({"temperature": 3}, "temperature", "expected float"),
        ({"stream": 1}, "stream", "expected bool"),
        ({"model": None}, "model", "expected str"),
        ({"model": ""}, "model", "length >= 1"),
        ({"base_url": "http://10.0.0.1"}, "base_url", "not accepted"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages", "POST chat/completions"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "POST chat/completions"),
        ({"modalities": ["audio"]}, "modalities", "POST chat/completions"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], param: str, words: str) -> None:
    error = refusal(**fields)
    assert (error.status, error.param) == (400, param)
    assert error.message.startswith(f"{param}: ")
    assert words in error.message


def test_best_of_may_say_what_n_says() -> None:
    assert parsed(n=3, best_of=3).request.n == 3


def test_the_bound_of_the_prompt_is_by_the_clients_own_bytes() -> None:
    short, long = (parsed(prompt="x" * size).request.prompt_tokens_max for size in (10, 1000))
    assert long - short == 990

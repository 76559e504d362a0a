"""Legacy text completions over real sockets: OpenAI's own client, the provider's ledger, and every end that an answer can have."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.path.claims import COUNT, PROMPT_COUNTED, assert_booked, assert_error, assert_nothing_leaks
from tests.path.client import PROMPT, Answer
from tests.path.models import CUT, TEXT, model_id, upstream
from tests.path.place import Place, billed, charge_for
from tests.path.posting import post
from tests.running import Account

ECHO = "tollway/echo"
PLAIN = model_id("plain")
ROUTE = "completions"


@pytest.fixture(scope="module")
def owner(place: Place) -> Account:
    return place.account()


@pytest.fixture
def client(quiet: Place, owner: Account) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=quiet.tollway.base_url, api_key=owner.key, max_retries=0) as client:
        yield client


def ask(place: Place, account: Account, model: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return post(place, account, ROUTE, {"model": model, "prompt": PROMPT, **fields}, headers)


def text_of(answer: Answer, index: int = 0) -> str:
    return "".join(choice["text"] for choice in answer.choices if choice["index"] == index)


# Answers


def test_a_whole_answer_is_valid_for_the_sdk(client: openai.OpenAI) -> None:
    raw = client.completions.with_raw_response.create(model=PLAIN, prompt=PROMPT)
    answer = Completion.model_validate_json(raw.text, strict=True)
    assert (answer.object, answer.model, answer.id) == ("text_completion", PLAIN, raw.headers["x-generation-id"])
    assert answer.to_dict().keys() >= {"id", "object", "created", "model", "provider", "system_fingerprint", "choices", "usage"}
    assert [choice.to_dict() for choice in answer.choices] == [
        {"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "stop", "native_finish_reason": "stop"}
    ]


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_has_the_same_shape_and_ends_with_its_usage_and_done(quiet: Place, owner: Account, include_usage: bool) -> None:
    answer = ask(quiet, owner, PLAIN, stream=True, n=2, stream_options={"include_usage": include_usage})
    *chunks, last = answer.events
    assert (answer.done, answer.data[-1]) == (1, "[DONE]")
    assert {chunk["object"] for chunk in answer.events} == {"text_completion"}
    assert [text_of(answer, index) for index in (0, 1)] == [TEXT, TEXT]
    assert [answer.reasons(index) for index in (0, 1)] == [["stop"], ["stop"]]
    empty = {"text": "", "index": 0, "logprobs": None, "finish_reason": None, "native_finish_reason": None}
    assert last["choices"] == ([] if include_usage else [empty])
    assert all(choice.keys() == empty.keys() for choice in answer.choices)
    assert not any("usage" in chunk for chunk in chunks)
    assert not any(not choice["text"] and not choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    assert_nothing_leaks(answer)


def test_the_sdks_stream_reads_as_text(client: openai.OpenAI) -> None:
    stream = client.completions.create(model=ECHO, prompt="one two three", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "one two three"


@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_before_every_choice(quiet: Place, owner: Account, stream: bool) -> None:
    answer = ask(quiet, owner, ECHO, echo=True, n=2, max_tokens=1, stream=stream)
    assert [text_of(answer, index) for index in (0, 1)] == [PROMPT + "Say"] * 2
    assert answer.usage["completion_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_come_as_parallel_lists(quiet: Place, owner: Account, stream: bool) -> None:
    answer = ask(quiet, owner, ECHO, prompt="one two three", logprobs=1, stream=stream)
    lists = [choice["logprobs"] for choice in answer.choices if choice["logprobs"]]
    joined = {name: [entry for each in lists for entry in each[name]] for name in lists[0]}
    assert joined == {
        "tokens": ["one", " two", " three"],
        "token_logprobs": [0, 0, 0],
        "top_logprobs": [{"one": 0}, {" two": 0}, {" three": 0}],
        "text_offset": [0, 3, 7],
    }


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_stands_beside_the_text(quiet: Place, owner: Account, stream: bool) -> None:
    answer = ask(quiet, owner, model_id("reasoning"), stream=stream)
    assert text_of(answer) == TEXT
    assert "".join(choice.get("reasoning", "") for choice in answer.choices) == "Let me think."


def test_the_provider_is_asked_for_a_chat(quiet: Place, owner: Account) -> None:
    fields: dict[str, Any] = {
        "stop": ["zz"],
        "seed": 7,
        "temperature": 0.5,
        "top_p": 0.5,
        "logit_bias": {"5": 1},
        "user": "u",
        "max_tokens": 50,
    }
    ours = {"provider": {"only": ["fake-a"]}, "models": [PLAIN], "session_id": "s", "best_of": 1, "echo": False, "suffix": None}
    assert ask(quiet, owner, PLAIN, prompt=[PROMPT], **fields, **ours).status == 200
    [row] = quiet.fake.settled(upstream("plain"))
    assert row["path"] == "/v1/chat/completions"
    assert row["request_body"] == {"model": upstream("plain"), "messages": [{"role": "user", "content": PROMPT}], **fields}


# Money


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["plain", "plain@cached=3", "reasoning"])
def test_the_charge_is_the_providers_own_figure_to_the_nano(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id(fault), stream=stream, n=2)
    expected = charge_for(**billed(quiet.fake.settled(upstream(fault))))
    assert answer.usage["cost"] == expected > 0
    assert_booked(quiet, owner, answer, since=before, expected=expected)
    assert quiet.generation(owner, answer)["api_type"] == "completions"


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_was_not_told_is_counted(quiet: Place, owner: Account, stream: bool) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id("missing-usage"), stream=stream)
    expected = charge_for(prompt=PROMPT_COUNTED, completion=COUNT(TEXT))
    assert (answer.usage["usage_source"], answer.usage["cost"]) == ("counted", expected)
    assert_booked(quiet, owner, answer, since=before, expected=expected)


def test_no_money_is_402_and_a_little_ends_with_an_error_behind_what_it_paid_for(quiet: Place) -> None:
    for stream in (False, True):
        answer = ask(quiet, quiet.account("0"), PLAIN, stream=stream)
        assert_error(answer, 402)
    account = quiet.account("1")
    answer = ask(quiet, account, "priced/endless", stream=True, max_tokens=5000)
    assert_error_at_the_end(answer, 402)
    assert answer.error["metadata"]["reason"] == "insufficient_credits"
    assert answer.reasons() == ["length"]
    assert text_of(answer).startswith("word word ")
    assert 0 < quiet.used(account) == answer.usage["cost"] <= 1


def assert_error_at_the_end(answer: Answer, code: int) -> None:
    """A stream that had begun: its last chunk has the error and a choice of this API's shape, and no [DONE] follows."""
    assert (answer.status, answer.done, answer.error["code"]) == (200, 0, code)
    last = answer.events[-1]
    assert last["object"] == "text_completion"
    assert [choice.keys() for choice in last["choices"]] == [{"text", "index", "logprobs", "finish_reason", "native_finish_reason"}]
    assert last["usage"]["cost"] >= 0
    assert_nothing_leaks(answer)


@pytest.mark.parametrize("fault", ["error-midstream", "clean-eof-midstream", "close-midstream"])
def test_a_stream_that_breaks_ends_with_an_error_and_is_charged_what_came(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id(fault), stream=True)
    assert_error_at_the_end(answer, CUT[fault])
    assert answer.reasons() == ["error"]
    said = text_of(answer)
    assert said
    assert TEXT.startswith(said)
    assert_booked(quiet, owner, answer, since=before, expected=charge_for(prompt=PROMPT_COUNTED, completion=COUNT(said)))
    assert quiet.generation(owner, answer)["outcome"] == "failed"


def test_the_sdk_raises_an_error_in_the_middle(client: openai.OpenAI) -> None:
    stream = client.completions.create(model=model_id("error-midstream"), prompt=PROMPT, stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    body: Any = caught.value.body
    assert body["code"] == 502


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status"), [("status@status=500", 502), ("rate-limit@secs=7", 429), ("context-length", 400), ("bad-json", 502)]
)
def test_a_failure_before_the_answer_is_its_status_and_free(quiet: Place, owner: Account, fault: str, status: int, stream: bool) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id(fault), stream=stream)
    assert_error(answer, status)
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert quiet.used(owner) == before


def test_another_endpoint_answers_where_the_first_fails(quiet: Place, owner: Account) -> None:
    answer = ask(quiet, owner, model_id("status@status=500", "two"), stream=True)
    assert (text_of(answer), answer.events[-1]["provider"]) == ("Hello from second.", "fake-b")
    assert answer.usage["cost"] == charge_for(**billed(quiet.fake.settled("second")))


def test_an_idempotency_key_is_answered_once_and_bound_to_this_route(quiet: Place, owner: Account) -> None:
    key = {"Idempotency-Key": "completions-1"}
    before = quiet.used(owner)
    first, second = (ask(quiet, owner, PLAIN, key) for _ in range(2))
    assert (first.status, second.status) == (200, 409)
    assert second.error["metadata"]["generation_id"] == first.headers["x-generation-id"]
    assert quiet.used(owner) - before == first.usage["cost"]
    elsewhere = post(quiet, owner, "chat/completions", {"model": PLAIN, "messages": [{"role": "user", "content": "x"}]}, key)
    assert elsewhere.status == 422


# Bad input


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"temperature": 9}, "temperature"),
        ({"provider": {"sort": "colour"}}, "provider"),
        ({"model": "fake/plan"}, "model"),
    ],
)
def test_what_is_wrong_is_named_and_costs_nothing(quiet: Place, owner: Account, fields: dict[str, Any], param: str) -> None:
    before = quiet.used(owner)
    answer = post(quiet, owner, ROUTE, {"model": PLAIN, "prompt": PROMPT, **fields})
    assert_error(answer, 400)
    assert answer.error["param"] == param
    assert (quiet.used(owner), quiet.open_holds(), quiet.fake.ledger()) == (before, 0, [])


def test_a_body_that_is_no_json_and_a_wrong_method_are_refused_as_everywhere(quiet: Place, owner: Account) -> None:
    assert_error(post(quiet, owner, ROUTE, b"{"), 400)
    assert_error(post(quiet, Account("", "sk-tw-v1-nobody"), ROUTE, {}), 401)


def test_the_books_are_right_after_all_this(place: Place, owner: Account) -> None:
    assert Decimal(place.used(owner)) > 0
    place.verify()

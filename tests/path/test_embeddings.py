"""Embeddings over real sockets: OpenAI's own client, the provider's ledger, and the same refusals and fallbacks as a chat's."""

import base64
import json
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai.types import CreateEmbeddingResponse
from openrouter import OpenRouter
from openrouter.errors import BadRequestResponseError

from tests.fakes.embeddings import DIMENSIONS, vector
from tests.path.claims import COUNT, assert_booked, assert_error, assert_nothing_leaks
from tests.path.client import Answer
from tests.path.models import DEAR, model_id, upstream
from tests.path.place import Place, billed, charge_for
from tests.path.posting import post
from tests.running import Account

ECHO = "tollway/echo"
PLAIN = model_id("plain")
ROUTE = "embeddings"
TEXTS = ["one two three", "Grüße aus 漢字 😀", "one two three"]
WORDS = 10


@pytest.fixture(scope="module")
def owner(place: Place) -> Account:
    return place.account()


@pytest.fixture
def client(quiet: Place, owner: Account) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=quiet.tollway.base_url, api_key=owner.key, max_retries=0) as client:
        yield client


def ask(place: Place, account: Account, model: str, input: Any = TEXTS, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return post(place, account, ROUTE, {"model": model, "input": input, **fields}, headers)


def vectors(answer: Answer) -> list[list[float]]:
    assert answer.status == 200, answer.body
    assert [row["index"] for row in answer.json["data"]] == list(range(len(answer.json["data"])))
    return [[float(number) for number in row["embedding"]] for row in answer.json["data"]]


# Answers


@pytest.mark.parametrize("given", ["one two three", ["one two three"], TEXTS], ids=["text", "list", "texts"])
@pytest.mark.parametrize("dimensions", [None, 3])
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_the_sdk_gets_the_providers_vectors(client: openai.OpenAI, given: Any, dimensions: int | None, encoding: Any) -> None:
    wish = {"dimensions": dimensions, "encoding_format": encoding}
    answer = client.embeddings.create(model=PLAIN, input=given, **{name: value for name, value in wish.items() if value is not None})
    assert (answer.object, answer.model, [row.index for row in answer.data]) == ("list", PLAIN, list(range(len(answer.data))))
    inputs = [given] if isinstance(given, str) else given
    expected = [vector(text, dimensions or DIMENSIONS) for text in inputs]
    if encoding == "base64":  # then the SDK leaves it packed
        expected = [base64.b64encode(struct.pack(f"<{len(each)}f", *each)).decode() for each in expected]  # type: ignore[misc]
    else:
        CreateEmbeddingResponse.model_validate(answer.to_dict(), strict=True)
    assert [row.embedding for row in answer.data] == expected


def test_an_answer_has_openais_shape_and_our_labels(quiet: Place, owner: Account) -> None:
    answer = ask(quiet, owner, PLAIN)
    assert answer.json.keys() == {"object", "data", "model", "id", "provider", "usage"}
    assert (answer.json["id"], answer.json["provider"]) == (answer.headers["x-generation-id"], "fake-a")
    assert all(row.keys() == {"object", "index", "embedding"} and row["object"] == "embedding" for row in answer.json["data"])
    assert answer.usage["prompt_tokens"] == answer.usage["total_tokens"] == WORDS
    assert_nothing_leaks(answer)


@pytest.mark.parametrize("way", ["float", "base64"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_provider_that_answers_in_the_other_coding_is_understood(quiet: Place, owner: Account, way: str, encoding: str) -> None:
    quiet.fake.fault("planned", **{"as": way})
    answer = ask(quiet, owner, model_id("planned"), encoding_format=encoding)
    if encoding == "base64":
        found = [list(struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(row["embedding"]))) for row in answer.json["data"]]
    else:
        found = vectors(answer)
    assert found == [vector(text, DIMENSIONS) for text in TEXTS]


def test_tokens_are_passed_on_and_counted_one_by_one(quiet: Place, owner: Account) -> None:
    for given, inputs in (([5, 6, 7], [[5, 6, 7]]), ([[5, 6], [7]], [[5, 6], [7]])):
        quiet.fake.reset()
        answer = ask(quiet, owner, model_id("missing-usage"), given)
        assert vectors(answer) == [vector(each, DIMENSIONS) for each in inputs]
        assert (answer.usage["prompt_tokens"], answer.usage["usage_source"]) == (3, "counted")
        [row] = quiet.fake.settled(upstream("missing-usage"))
        assert row["request_body"]["input"] == inputs


def test_the_provider_is_asked_for_what_the_client_asked(quiet: Place, owner: Account) -> None:
    fields = {"dimensions": 4, "encoding_format": "float", "input_type": "query", "user": "u", "x_made_up": {"deep": [1]}}
    ours = {"provider": {"only": ["fake-a"]}, "models": [PLAIN], "session_id": "s"}
    assert ask(quiet, owner, PLAIN, **fields, **ours).status == 200
    [row] = quiet.fake.settled(upstream("plain"))
    assert row["path"] == "/v1/embeddings"
    assert row["request_body"] == {"model": upstream("plain"), "input": TEXTS, **fields}


def test_the_echo_provider_gives_equal_texts_equal_vectors_of_length_1(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model=ECHO, input=TEXTS)
    one, two, three = (row.embedding for row in found.data)
    assert one == three != two
    assert (len(one), round(sum(number * number for number in one), 5)) == (256, 1)
    assert found.usage.prompt_tokens == sum(map(COUNT, TEXTS))
    short = client.embeddings.create(model=ECHO, input="one two three", dimensions=8)
    assert len(short.data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=ECHO, input=TEXTS, dimensions=60_000)
    assert caught.value.param == "dimensions"


# Money


def test_the_charge_is_the_prompt_alone_by_the_providers_own_figure(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, PLAIN)
    rows = quiet.fake.settled(upstream("plain"))
    assert billed(rows) == {"prompt": WORDS, "completion": 0, "cached": 0, "reasoning": 0}
    expected = charge_for(**billed(rows))
    assert answer.usage["cost"] == expected > 0
    assert_booked(quiet, owner, answer, since=before, expected=expected)
    found = quiet.generation(owner, answer)
    assert (found["api_type"], found["outcome"], found["finish_reason"], found["streamed"]) == ("embeddings", "completed", "stop", False)
    assert (found["tokens_prompt"], found["tokens_completion"], found["usage_source"]) == (WORDS, 0, "provider")


@pytest.mark.parametrize("fault", ["missing-usage", "usage-null"])
def test_usage_that_was_not_told_is_counted(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id(fault))
    counted = sum(map(COUNT, TEXTS))
    expected = charge_for(prompt=counted, completion=0)
    assert (answer.usage["prompt_tokens"], answer.usage["usage_source"], answer.usage["cost"]) == (counted, "counted", expected)
    assert_booked(quiet, owner, answer, since=before, expected=expected)


def test_many_texts_may_be_more_than_one_context_and_are_all_paid_for(quiet: Place, owner: Account) -> None:
    """The model's context is 100,000 tokens; each text has it for itself."""
    before, texts = quiet.used(owner), ["word " * 80] * 2048
    answer = ask(quiet, owner, PLAIN, texts, encoding_format="base64", dimensions=2)
    assert (answer.status, len(answer.json["data"])) == (200, 2048)
    assert answer.usage["prompt_tokens"] == 80 * 2048 > 100_000
    expected = charge_for(**billed(quiet.fake.settled(upstream("plain"))))
    assert answer.usage["hold"] >= answer.usage["cost"] == expected
    assert_booked(quiet, owner, answer, since=before, expected=expected)


def test_a_large_answer_is_the_same_in_both_codings(quiet: Place, owner: Account) -> None:
    texts = [f"text {number}" for number in range(200)]
    numbers = ask(quiet, owner, PLAIN, texts, dimensions=1024)
    packed = ask(quiet, owner, PLAIN, texts, dimensions=1024, encoding_format="base64")
    assert len(numbers.body) > 10**6
    assert vectors(numbers) == [list(struct.unpack("<1024f", base64.b64decode(row["embedding"]))) for row in packed.json["data"]]


@pytest.mark.parametrize(
    ("fault", "status"),
    [("status@status=500", 502), ("rate-limit@secs=7", 429), ("bad-json", 502), ("context-length", 400), ("error-200", 502)],
)
def test_a_failure_is_its_status_and_free(quiet: Place, owner: Account, fault: str, status: int) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id(fault))
    assert_error(answer, status)
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert quiet.used(owner) == before


@pytest.mark.parametrize("number", [0, 2, 4])
def test_another_number_of_vectors_is_an_error_and_free(quiet: Place, owner: Account, number: int) -> None:
    quiet.fake.fault("planned", vectors=number)
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id("planned"))
    assert_error(answer, 502)
    assert f"3 inputs with {number} embeddings" in answer.error["message"]
    assert quiet.used(owner) == before


def test_another_endpoint_answers_where_the_first_fails(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = ask(quiet, owner, model_id("status@status=500", "two"))
    assert (vectors(answer), answer.json["provider"]) == ([vector(text, DIMENSIONS) for text in TEXTS], "fake-b")
    assert [each["status"] for each in quiet.generation(owner, answer)["provider_responses"]] == [500, 200]
    assert_booked(quiet, owner, answer, since=before, expected=charge_for(**billed(quiet.fake.settled("second"))))


def test_a_small_balance_is_402_or_just_enough(quiet: Place) -> None:
    """A token costs a thousandth of a dollar; the bound by bytes is far above it, so it is counted."""
    assert_error(ask(quiet, quiet.account("0"), PLAIN), 402)
    poor, enough = quiet.account("0.002999999"), quiet.account("0.003")
    refused = ask(quiet, poor, "priced/dear", "one two three")
    assert_error(refused, 402)
    assert refused.error["metadata"]["least_nano"] == 3_000_000
    assert quiet.used(poor) == 0
    answer = ask(quiet, enough, "priced/dear", "one two three")
    assert answer.usage["cost"] == quiet.used(enough) == charge_for(prompt=3, completion=0, price=DEAR) == Decimal("0.003")


def test_an_idempotency_key_is_answered_once_and_bound_to_this_route(quiet: Place, owner: Account) -> None:
    key = {"Idempotency-Key": "embeddings-1"}
    before = quiet.used(owner)
    first, second = (ask(quiet, owner, PLAIN, headers=key) for _ in range(2))
    assert (first.status, second.status) == (200, 409)
    assert second.error["metadata"]["cost"] == quiet.used(owner) - before == first.usage["cost"]
    assert post(quiet, owner, "completions", {"model": PLAIN, "prompt": "x"}, key).status == 422


# What cannot be had


def test_a_chat_with_a_model_of_embeddings_and_embeddings_of_a_chat_model_are_404(quiet: Place, owner: Account) -> None:
    chat = quiet.ask(owner, "only/embeddings")
    embeddings = ask(quiet, owner, "only/chats")
    for answer, word in ((chat, "chat"), (embeddings, "embeddings")):
        assert_error(answer, 404)
        metadata = answer.error["metadata"]
        assert metadata["failed_routing_step"] == "Filter by Capabilities"
        assert metadata["routing_funnel"][-1]["removed"] == {
            f"fake-a/only/{'embeddings' if answer is chat else 'chats'}": f"it does not support {word}"
        }
    assert quiet.fake.ledger() == []
    assert ask(quiet, owner, "only/embeddings").status == 200
    assert quiet.ask(owner, "only/chats").status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": [5, 2**70]}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"provider": {"sort": "colour"}}, "provider"),
        ({"model": "fake/plan"}, "model"),
        ({"base_url": "http://10.0.0.1"}, "base_url"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named_and_costs_nothing(quiet: Place, owner: Account, fields: dict[str, Any], param: str) -> None:
    before = quiet.used(owner)
    answer = post(quiet, owner, ROUTE, {"model": PLAIN, "input": "x", **fields})
    assert_error(answer, 400)
    assert answer.error["param"] == param
    assert (quiet.used(owner), quiet.open_holds(), quiet.fake.ledger()) == (before, 0, [])


def test_the_sdk_raises_what_its_users_catch(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as busy:
        client.embeddings.create(model=model_id("rate-limit@secs=7"), input="x")
    assert busy.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=PLAIN, input="")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="only/chats", input="x")


def test_openrouters_sdk_reads_them_too(quiet: Place, owner: Account) -> None:
    with OpenRouter(api_key=owner.key, server_url=quiet.tollway.base_url) as client:
        answer: Any = client.embeddings.generate(model=PLAIN, input=TEXTS)
        assert [row.embedding for row in answer.data] == [vector(text, DIMENSIONS) for text in TEXTS]
        assert (answer.usage.prompt_tokens, answer.usage.is_byok) == (WORDS, False)
        with pytest.raises(BadRequestResponseError):
            client.embeddings.generate(model=PLAIN, input="")


def test_the_books_and_the_log_are_right_after_all_this(place: Place, owner: Account) -> None:
    place.verify()
    log = place.tollway.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert not [text for text in (*TEXTS, json.dumps(TEXTS[1]), owner.key) if text in log]

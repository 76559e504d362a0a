"""Every refusal reaches the OpenAI Python SDK as the exception that its users catch, with a body that says what to do."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from policy import keys
from tests.path.sdk_fixtures import ECHO, FAST, Place, exact, place

HI: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("sdk-errors")) as running:
        yield running


@pytest.fixture(scope="module")
def client(here: Place) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=here.account.key, max_retries=0) as client:
        yield client


def body_of(error: openai.APIStatusError) -> dict[str, Any]:
    """The error object: always the same fields, `code` the status as a number, and the response's request id."""
    body: Any = error.body
    assert body.keys() == {"message", "type", "param", "code", "metadata"}
    assert body["code"] == error.status_code
    assert body["metadata"]["error_type"]
    assert error.request_id
    assert "server" not in error.response.headers
    return dict(body)


def test_every_bad_key_is_an_authentication_error(here: Place, client: openai.OpenAI) -> None:
    revoked = here.new_key_object()
    live = client.with_options(api_key=revoked["key"])
    assert live.chat.completions.create(model=ECHO, messages=HI).choices
    here.revoke(revoked["id"])
    dead_by = time.monotonic() + 1
    mistyped = here.account.key[:-7] + ("A" if here.account.key[-7] != "A" else "B") + here.account.key[-6:]
    unknown, expired = keys.generate(secrets.randbelow), here.new_key(expires="2020-01-01T00:00:00Z")
    said = {key: unauthenticated(client.with_options(api_key=key)) for key in ("sk-or-v1-not-ours", mistyped, unknown, expired)}
    assert said["sk-or-v1-not-ours"] == said[mistyped]
    assert "does not exist" in said[unknown]
    assert "expired" in said[expired]
    assert "Authorization: Bearer" in unauthenticated(client, authorization=openai.Omit())
    assert "Authorization: Bearer" in unauthenticated(client, authorization="Basic dXNlcjpwYXNz")
    time.sleep(max(0, dead_by - time.monotonic()))
    assert "revoked" in unauthenticated(live)


def unauthenticated(client: openai.OpenAI, **headers: Any) -> str:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=ECHO, messages=HI, extra_headers=headers)
    body = body_of(caught.value)
    assert (body["type"], body["param"]) == ("authentication_error", None)
    return str(body["message"])


def test_a_management_key_may_not_infer(here: Place, client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.with_options(api_key=here.new_key(management=True)).chat.completions.create(model=ECHO, messages=HI)
    assert body_of(caught.value)["type"] == "permission_error"


def test_an_unknown_model_comes_with_names_that_resemble_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"tollway/ecko is not a valid model ID\. Did you mean tollway/echo") as caught:
        client.chat.completions.create(model="tollway/ecko", messages=HI)
    body = body_of(caught.value)
    assert (body["type"], body["param"]) == ("invalid_request_error", "model")
    assert ECHO in body["metadata"]["close"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"temperature": "warm"}, "temperature"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"extra_body": {"base_url": "http://10.0.0.1/v1"}}, "base_url"),
    ],
)
def test_a_wrong_field_is_named(client: openai.OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": ECHO, "messages": HI, **wrong})
    body = body_of(caught.value)
    assert body["param"] == param
    assert body["message"].startswith(f"{param}: ")


def test_a_request_that_cannot_be_paid_says_what_can(here: Place, client: openai.OpenAI) -> None:
    poor = here.new_account("0")
    sources = {poor.key: "tollway_credits", here.new_key(limit="0"): "tollway_key_limit"}
    for key, source in sources.items():
        with pytest.raises(openai.APIStatusError) as caught:
            client.with_options(api_key=key).chat.completions.create(model=ECHO, messages=HI, max_tokens=100)
        body = body_of(caught.value)
        assert (caught.value.status_code, body["type"], body["metadata"]["limit_source"]) == (402, "insufficient_quota", source)
        metadata = body["metadata"]
        assert (metadata["error_type"], metadata["affordable_output_tokens"]) == ("payment_required", 0)
        assert metadata["required_nano"] > metadata["available_nano"] == 0
        assert "shorten the prompt" in metadata["remedy_hint"]
    assert here.used(poor) == 0


def test_a_keys_own_rate_limit_says_when_to_come_back(here: Place, client: openai.OpenAI) -> None:
    limited = client.with_options(api_key=here.new_key(requests_per_minute=1))
    limited.chat.completions.create(model=ECHO, messages=HI)
    with pytest.raises(openai.RateLimitError) as caught:
        limited.chat.completions.create(model=ECHO, messages=HI)
    metadata = body_of(caught.value)["metadata"]
    assert 1 <= int(caught.value.response.headers["retry-after"]) == metadata["retry_after_seconds"] <= 61
    assert metadata["limit_source"] == "tollway_key_limit"


@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_failure_is_the_error_that_its_status_means(client: openai.OpenAI, stream: bool) -> None:
    def failure(model: str, kind: type[openai.APIStatusError]) -> dict[str, Any]:
        with pytest.raises(kind) as caught:
            client.chat.completions.create(model=model, messages=HI, stream=stream)
        return {**body_of(caught.value), "retry-after": caught.value.response.headers.get("retry-after")}

    busy = failure("acme/busy", openai.RateLimitError)
    assert (busy["retry-after"], busy["metadata"]["retry_after_seconds"]) == ("7", 7)
    assert busy["metadata"]["provider_name"] == "Acme Cloud"
    assert failure("acme/broken", openai.InternalServerError)["code"] == 502
    assert failure("acme/late", openai.InternalServerError)["code"] == 504
    assert "maximum context length" in failure("acme/long", openai.BadRequestError)["message"]
    leaky = failure("acme/leaky", openai.InternalServerError)
    assert leaky["code"] == 502
    assert not [secret for secret in ("sk-secret", "10.7.7.7", "org-operator") if secret in str(leaky)]


def test_an_error_in_the_middle_of_a_stream_is_raised_after_what_had_come(here: Place) -> None:
    account = here.new_account("1")
    parts: list[str] = []
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=account.key, max_retries=0) as client:
        stream = client.chat.completions.create(model="acme/breaks", messages=HI, stream=True)
        with pytest.raises(openai.APIError) as caught:
            parts.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert not isinstance(caught.value, openai.APIStatusError)
    body: Any = caught.value.body
    assert body["code"] == 502
    assert body["metadata"]["error_type"]
    (record,) = here.fake.settled("error-midstream@k=3")
    assert "".join(parts).split() == ["Hello", "from"]
    found = here.exact(f"/generation?id={stream.response.headers['x-generation-id']}", account.key)["data"]
    assert found["total_cost"] == here.used(account) > 0
    assert found["tokens_completion"] == record["billed_tokens"]["completion_tokens"] == 2


def test_refused_requests_cost_nothing(here: Place, client: openai.OpenAI) -> None:
    before = here.used(here.account)
    for model in ("acme/busy", "acme/broken", "acme/late", "tollway/ecko"):
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=model, messages=HI)
    assert here.used(here.account) == before
    raw = client.chat.completions.with_raw_response.create(model=FAST, messages=HI)
    assert here.used(here.account) - before == exact(raw.text)["usage"]["cost"]

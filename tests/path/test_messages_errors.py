"""What goes wrong on POST messages, as Anthropic's SDK raises it: typed, by its field, with its status, and never charged for nothing."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest

from tests.path.claims import assert_nothing_leaks
from tests.path.client import Answer
from tests.path.messages_clients import TOOLS, asking, client_of, raw_post, say
from tests.path.models import CUT, model_id, upstream
from tests.path.place import Books, Place, billed, charge_for
from tests.running import Account

PLAIN = model_id("plain")
HELLO = say("Hello")


@pytest.fixture
def owner(quiet: Place) -> Account:
    return quiet.account()


@pytest.fixture
def client(quiet: Place, owner: Account) -> Iterator[anthropic.Anthropic]:
    with client_of(quiet, owner) as client:
        yield client


def untouched(place: Place, account: Account) -> None:
    """Nothing was sent, charged or is held."""
    assert place.fake.ledger() == []
    assert place.open_holds() == 0
    assert place.books(account) == Books(usage=0, held=0, available=10 * 10**9)


def body_of(error: anthropic.APIStatusError) -> dict[str, Any]:
    body: Any = error.body
    assert body["type"] == "error"
    assert body["request_id"] == error.request_id == error.response.headers["x-request-id"]
    assert body["error"].keys() == {"type", "message", "error_type"}
    return dict(body)


def refused_key(place: Place, key: str, counting: bool) -> anthropic.APIStatusError:
    with client_of(place, Account("", key)) as client:
        asked, ask = asking(PLAIN), client.messages.create
        if counting:
            asked, ask = {"model": PLAIN, "messages": HELLO}, client.messages.count_tokens  # type: ignore[assignment]
        with pytest.raises(anthropic.APIStatusError) as caught:
            ask(**asked)
    assert body_of(caught.value)["error"]["type"] == caught.value.type
    return caught.value


@pytest.mark.parametrize("counting", [False, True], ids=["create", "count"])
def test_a_wrong_key_is_401_and_a_management_key_403(quiet: Place, owner: Account, counting: bool) -> None:
    wrong = refused_key(quiet, "sk-tw-v1-wrong", counting)
    assert (type(wrong), wrong.type) == (anthropic.AuthenticationError, "authentication_error")
    manager = quiet.tollway.cli_json("key", "create", "--account", owner.account_id, "--management")["key"]
    forbidden = refused_key(quiet, manager, counting)
    assert (type(forbidden), forbidden.type) == (anthropic.PermissionDeniedError, "permission_error")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_without_money_it_is_402(quiet: Place, stream: bool) -> None:
    with client_of(quiet, quiet.account("0")) as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**asking(PLAIN), stream=stream)
    body = body_of(caught.value)
    assert (caught.value.status_code, caught.value.type) == (402, "billing_error")
    assert (body["error"]["error_type"], body["metadata"]["limit_source"]) == ("payment_required", "tollway_credits")
    assert quiet.fake.ledger() == []


def test_an_unknown_model_is_named_with_those_that_resemble_it(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    for ask in (client.messages.create, client.messages.count_tokens):
        wanted = asking("fake/plian") if ask == client.messages.create else {"model": "fake/plian", "messages": HELLO}
        with pytest.raises(anthropic.BadRequestError, match=r"Did you mean .*fake/plain") as caught:
            ask(**wanted)
        assert body_of(caught.value)["metadata"]["param"] == "model"
    untouched(quiet, owner)


def test_a_request_that_no_endpoint_takes_is_404(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**asking(PLAIN), extra_body={"provider": {"only": ["nobody"]}})
    assert body_of(caught.value)["error"]["type"] == "not_found_error"
    assert body_of(caught.value)["metadata"]["routing_funnel"]
    untouched(quiet, owner)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_providers_429_keeps_its_retry_after(client: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**asking(model_id("rate-limit@secs=7")), stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"
    assert body_of(caught.value)["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("status@status=500", 502, "api_error"), ("leaky-error", 502, "api_error"), ("status@status=529", 503, "overloaded_error"),
        ("status@status=504", 504, "timeout_error"), ("status@status=413", 413, "request_too_large"), ("error-200", 502, "api_error"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_providers_failure_before_content_has_its_status_and_costs_nothing(
    quiet: Place, owner: Account, client: anthropic.Anthropic, fault: str, status: int, kind: str, stream: bool
) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**asking(model_id(fault)), stream=stream)
    assert (caught.value.status_code, body_of(caught.value)["error"]["type"]) == (status, kind)
    response = caught.value.response
    assert_nothing_leaks(Answer(response.status_code, dict(response.headers), response.content))
    assert quiet.used(owner) == 0


def test_a_prompt_that_is_too_long_is_said_in_anthropics_words(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: This model's maximum context length is 10 tokens"):
        client.messages.create(**asking(model_id("context-length")))


@pytest.mark.parametrize(("fault", "code"), CUT.items())
def test_a_cut_stream_raises_and_costs_what_was_delivered(
    quiet: Place, owner: Account, client: anthropic.Anthropic, fault: str, code: int
) -> None:
    texts: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**asking(model_id(fault))) as stream:
        texts.extend(stream.text_stream)
    body = body_of(caught.value)
    assert body["error"]["type"] == ("timeout_error" if code == 504 else "api_error")
    assert texts == ["Hello", " é"]
    quiet.wait_until_idle()
    assert Decimal(str(body["usage"]["cost"])) == quiet.used(owner) > 0
    _, _, raw = raw_post(quiet, "/v1/messages", {"x-api-key": owner.key}, {**asking(model_id(fault)), "stream": True})
    assert raw.count(b"event: error\n") == 1
    assert raw.rpartition(b"event: ")[2].startswith(b"error\n")
    assert b"message_stop" not in raw


def test_credits_that_run_out_end_the_stream_with_an_error(quiet: Place) -> None:
    poor = quiet.account("3")
    said: list[str] = []
    asked = asking("priced/endless", max_tokens=100_000)
    with client_of(quiet, poor) as client, pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**asked) as stream:
        said.extend(stream.text_stream)
    assert said
    assert body_of(caught.value)["error"]["type"] == "billing_error"
    assert quiet.used(poor) <= 3


def test_a_client_that_leaves_pays_for_what_it_got(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    with client.messages.stream(**asking(model_id("endless"))) as stream:
        for number, _ in enumerate(stream.text_stream):
            if number == 5:
                break
    quiet.wait_until_idle()
    (row,) = quiet.fake.settled(upstream("endless"))
    blank = 1  # after the last word, which our count has as a token of its own
    assert 0 < quiet.used(owner) <= charge_for(prompt=20, completion=billed([row])["completion"] + blank)


def test_an_idempotency_key_is_answered_once(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    headers = {"Idempotency-Key": "canary-messages"}
    client.messages.create(**asking(PLAIN), extra_headers=headers)
    charged = quiet.used(owner)
    with pytest.raises(anthropic.ConflictError) as again:
        client.messages.create(**asking(PLAIN), extra_headers=headers)
    with pytest.raises(anthropic.UnprocessableEntityError):
        client.messages.create(**asking(PLAIN, max_tokens=999), extra_headers=headers)
    assert body_of(again.value)["metadata"]["error_type"] == "idempotency_completed"
    assert (again.value.response.headers["x-should-retry"], len(quiet.fake.ledger())) == ("false", 1)
    assert quiet.used(owner) == charged


BAD: dict[str, tuple[Any, str | None]] = {
    "no JSON": (b'{"model": ', None),
    "no object": (b"[]", None),
    "no model": ({"max_tokens": 5, "messages": HELLO}, "model"),
    "no messages": ({"model": PLAIN, "max_tokens": 5}, "messages"),
    "no limit": ({"model": PLAIN, "messages": HELLO}, "max_tokens"),
    "no role": (asking(PLAIN, messages=[{"content": "x"}]), "messages[0].role"),
    "an unknown role": (asking(PLAIN, messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
    "a server's tool": (asking(PLAIN, tools=[{"type": "web_search_20250305", "name": "web_search"}]), "tools[0]"),
    "a server tool's block": (
        asking(PLAIN, messages=say([{"type": "text", "text": "x"}, {"type": "web_search_tool_result", "content": []}])),
        "messages[0].content[1]",
    ),
    "broken base64": (
        asking(PLAIN, messages=say([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "@@"}}])),
        "messages[0].content[0].source.data",
    ),
    "a result without its call": (
        asking(PLAIN, messages=say([{"type": "tool_result", "tool_use_id": "x", "content": "y"}])),
        "messages[0].content[0].tool_use_id",
    ),
    "a tool of another name": (asking(PLAIN, tools=TOOLS, tool_choice={"type": "tool", "name": "x"}), "tool_choice.name"),
    "too hot": (asking(PLAIN, temperature=1.5), "temperature"),
    "NUL": (asking(PLAIN, system="a\0b"), "system"),
    "a preset that is not there": (asking(f"{PLAIN}@preset/x"), "model"),
    "preferences that are none": (asking(PLAIN, provider={"sort": "beauty"}), "provider"),
    "somebody's key": (asking(PLAIN, api_key="sk-x"), "api_key"),
}
OF_ROUTING = ("preferences that are none",)
"""A count asks for no route."""


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_its_field_and_nothing_is_sent_or_charged(quiet: Place, owner: Account, name: str) -> None:
    body, param = BAD[name]
    counted = name != "no limit" and name not in OF_ROUTING
    for path in ("messages", "messages/count_tokens") if counted else ("messages",):
        status, headers, raw = raw_post(quiet, f"/v1/{path}", {"x-api-key": owner.key}, body)
        answer = json.loads(raw)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), answer
        assert answer["metadata"].get("param") == param, answer
        assert param is None or "preset" in name or param in answer["error"]["message"]
        assert headers["content-type"] == "application/json"
        assert headers["x-request-id"]
    untouched(quiet, owner)


@pytest.mark.parametrize("path", ["messages", "messages/count_tokens"])
def test_other_methods_are_405(quiet: Place, path: str) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", quiet.tollway.port, timeout=10)) as connection:
        connection.request("GET", f"/v1/{path}")
        assert connection.getresponse().status == 405

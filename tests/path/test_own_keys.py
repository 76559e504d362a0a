"""Customers' own provider keys on the wire: used first, charged only the fee, dead within a second, and never to be seen again."""

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import books, servers
from tests.fakes.faults import Json
from tests.fakes.process import Fake
from tests.path.claims import assert_booked, assert_charged, assert_complete, assert_error
from tests.path.models import DEAR, PRICE, SECOND, model_id, upstream
from tests.path.place import NANO, UPSTREAM_KEY, Place, billed, charge_for
from tests.running import Account, tollway

OWN = "sk-canary-4b1f-of-a-customer"
FEE = "5.25"
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


class Reply(NamedTuple):
    status: int
    json: Json


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def with_fee(
    request: pytest.FixtureRequest, fake: Fake, path_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A Tollway that takes a fee of 5.25 %."""
    folder = tmp_path_factory.mktemp(f"fee-{request.param}")
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder / 'tollway.db'}"
        if request.param == "postgres":
            template = request.getfixturevalue("postgres_template")
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url"), template=template))
        settings = {**path_settings, "TOLLWAY_DATABASE_URL": url, "TOLLWAY_BYOK_FEE_PERCENT": FEE}
        running = stack.enter_context(tollway(settings, Path(folder)))
        yield stack.enter_context(contextlib.closing(Place(tollway=running, fake=fake, database_url=url)))


@pytest.fixture
def fee(with_fee: Place) -> Iterator[Place]:
    with_fee.fake.reset()
    yield with_fee
    with_fee.wait_until_idle()
    with_fee.verify()


@MODES
def test_the_request_goes_out_with_the_customers_key_and_costs_exactly_the_fee(fee: Place, stream: bool) -> None:
    owner = fee.account("1")
    add(fee, owner, "fake-a")
    answer = fee.ask(owner, "priced/request", stream=stream)
    assert_complete(answer, stream=stream)
    rows = fee.fake.settled(upstream("plain"))
    assert [row["request_headers"]["authorization"] for row in rows] == [f"Bearer {OWN}"]
    listed = charge_for(**billed(rows), price={**PRICE, "request": "0.000123457"})
    charged = share(price={**PRICE, "request": "0.000123457"}, **billed(rows))
    assert 0 < charged < listed
    assert_charged(fee, owner, answer, since=Decimal(0), expected=charged)
    details = answer.usage["cost_details"]
    assert (answer.usage["is_byok"], details["upstream_inference_cost"]) == (True, listed)
    assert details["upstream_inference_prompt_cost"] + details["upstream_inference_completions_cost"] == listed
    shown = fee.generation(owner, answer)
    assert (shown["is_byok"], shown["upstream_inference_cost"], shown["cost_arithmetic"]["share_percent"]) == (True, listed, FEE)
    assert [tried["is_byok"] for tried in shown["provider_responses"]] == [True]


@MODES
def test_the_operators_endpoint_follows_with_the_operators_key_at_the_list_price(fee: Place, stream: bool) -> None:
    owner = fee.account()
    add(fee, owner, "fake-a")
    answer = fee.ask(owner, model_id("status@status=500", "two"), stream=stream)
    assert_complete(answer, stream=stream)
    [tried] = fee.fake.settled(upstream("status@status=500"))
    [row] = fee.fake.settled(SECOND)
    assert tried["request_headers"]["authorization"] == f"Bearer {OWN}"
    assert row["request_headers"]["authorization"] == f"Bearer {UPSTREAM_KEY}"
    listed = charge_for(**billed([row]))
    assert_charged(fee, owner, answer, since=Decimal(0), expected=listed)
    assert (answer.usage["is_byok"], answer.usage["cost_details"]["upstream_inference_cost"]) == (False, listed)
    shown = fee.generation(owner, answer)
    assert [attempt["is_byok"] for attempt in shown["provider_responses"]] == [True, False]
    assert (shown["is_byok"], shown["cost_arithmetic"]["share_percent"]) == (False, "100")


def test_an_own_key_goes_before_an_endpoint_of_a_better_place(fee: Place) -> None:
    owner = fee.account()
    add(fee, owner, "fake-b")
    answer = fee.ask(owner, model_id("plain", "two"))
    assert answer.said() == "Hello from second."
    assert [row["request_headers"]["authorization"] for row in fee.fake.settled(SECOND)] == [f"Bearer {OWN}"]
    assert answer.usage["is_byok"]


def test_a_key_is_used_for_no_other_account(fee: Place) -> None:
    add(fee, fee.account(), "fake-a")
    assert not fee.ask(fee.account(), model_id("plain")).usage["is_byok"]
    assert [row["request_headers"]["authorization"] for row in fee.fake.settled(upstream("plain"))] == [f"Bearer {UPSTREAM_KEY}"]


def test_a_deleted_key_is_dead_within_a_second(fee: Place) -> None:
    owner = fee.account()
    id = add(fee, owner, "fake-a")
    assert fee.ask(owner, model_id("plain")).usage["is_byok"]
    assert call(fee, owner, "DELETE", f"/{id}") == Reply(200, {"deleted": True})
    deleted = time.monotonic()
    while fee.ask(owner, model_id("plain")).usage["is_byok"]:
        assert time.monotonic() - deleted < 1.5
    assert call(fee, owner, "GET").json == {"data": []}


def test_without_a_balance_even_the_fee_is_not_to_be_had(fee: Place) -> None:
    owner = fee.account("0")
    add(fee, owner, "fake-a")
    assert_error(fee.ask(owner, model_id("plain")), 402)
    assert fee.fake.ledger() == []


def test_a_stream_is_cut_where_the_balance_cannot_pay_the_fee_any_more(fee: Place) -> None:
    owner = fee.account("0.2")
    add(fee, owner, "fake-a")
    answer = fee.ask(owner, "priced/endless", stream=True)
    assert answer.error["metadata"]["reason"] == "insufficient_credits"
    shown = fee.generation(owner, answer)
    tokens = {"prompt": shown["tokens_prompt"], "completion": shown["tokens_completion"]}
    assert tokens["completion"] > 20
    charged = share(price=DEAR, **tokens)
    assert charged <= Decimal("0.2")
    assert_booked(fee, owner, answer, since=Decimal(0), expected=charged)
    assert shown["is_byok"]
    assert charged + share(price=DEAR, prompt=0, completion=2) > Decimal("0.2")


@MODES
def test_without_a_fee_a_request_needs_no_balance_and_costs_nothing(quiet: Place, stream: bool) -> None:
    owner = quiet.account("0")
    add(quiet, owner, "fake-a")
    answer = quiet.ask(owner, model_id("plain", "two"), stream=stream)
    assert_complete(answer, stream=stream)
    [row] = quiet.fake.settled(upstream("plain"))
    assert_charged(quiet, owner, answer, since=Decimal(0), expected=Decimal(0))
    assert answer.usage["cost_details"]["upstream_inference_cost"] == charge_for(**billed([row]))
    shown = quiet.generation(owner, answer)
    assert (shown["hold"], shown["upstream_inference_cost"]) == (0, charge_for(**billed([row])))
    assert len(shown["cost_arithmetic"]["lines"]) == 2
    quiet.verify()


def test_without_a_fee_and_a_balance_nobody_pays_for_the_operators_endpoints(quiet: Place) -> None:
    owner = quiet.account("0")
    add(quiet, owner, "fake-a")
    assert_error(quiet.ask(owner, model_id("status@status=500", "two")), 502)
    assert quiet.fake.ledger(SECOND) == []
    assert_error(quiet.ask(owner, model_id("refusing", "two")), 402)
    quiet.verify()


def test_without_a_fee_a_stream_outgrows_its_quantum_for_nothing(quiet: Place) -> None:
    owner = quiet.account("0")
    add(quiet, owner, "fake-a")
    answer = quiet.ask(owner, model_id("endless@tokens=100"), stream=True, max_tokens=60)
    assert answer.usage["completion_tokens"] <= 60
    assert quiet.used(owner) == 0
    quiet.verify()


@MODES
def test_a_key_that_the_provider_refuses_is_named_as_the_customers_own(fee: Place, stream: bool) -> None:
    owner = fee.account()
    id = add(fee, owner, "fake-a")
    answer = fee.ask(owner, model_id("needs-key"), stream=stream)
    assert_error(answer, 502)
    assert f"Your own key {id}" in answer.error["message"]
    assert (answer.error["metadata"]["is_byok"], answer.error["metadata"]["own_key_id"]) == (True, id)
    assert OWN not in answer.body.decode()
    assert fee.used(owner) == 0
    elsewhere = fee.account()
    add(fee, elsewhere, "fake-a", "good-key")
    assert_complete(fee.ask(elsewhere, model_id("needs-key"), stream=stream), stream=stream)


def test_a_stored_key_that_was_tampered_with_is_passed_over_and_never_replaced_by_the_operators(fee: Place) -> None:
    owner, other = fee.account(), fee.account()
    mine, theirs = add(fee, owner, "fake-a"), add(fee, other, "fake-a", "sk-of-the-other-customer")
    copy = f"UPDATE provider_key SET sealed = (SELECT sealed FROM provider_key WHERE id = '{theirs}') WHERE id = '{mine}'"
    asyncio.run(books.sql(fee.tollway.environment["TOLLWAY_DATABASE_URL"], copy))
    assert_error(fee.ask(owner, model_id("plain")), 502)
    assert fee.ask(owner, model_id("plain", "two")).said() == "Hello from second."
    assert fee.fake.ledger(upstream("plain")) == []


@pytest.mark.parametrize(
    ("body", "param", "word"),
    [
        ({}, "provider", "required"),
        ({"provider": "fake-a"}, "key", "required"),
        ({"provider": "fake-a", "key": 12345678}, "key", "string"),
        ({"provider": "fake-a", "key": "short"}, "key", "8 to 4096"),
        ({"provider": "fake-a", "key": "sk-with\r\nx-injected: 1"}, "key", "printable"),
        ({"provider": "fake-c", "key": OWN}, "provider", "fake-a"),
        ({"provider": OWN, "key": OWN}, "provider", "no such provider"),
        ({"provider": "tollway", "key": OWN}, "provider", "takes no key"),
        ({"provider": "fake-a", "key": OWN, "fee": 0}, None, "not known"),
        ([1], None, "object"),
        (b'{"provider": "' + OWN.encode(), None, "valid JSON"),
    ],
)
def test_what_cannot_be_added_is_400_by_its_field_and_not_repeated(fee: Place, body: Json, param: str | None, word: str) -> None:
    owner = fee.account()
    refused = call(fee, owner, "POST", body=body)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert word in refused.json["error"]["message"]
    assert OWN not in json.dumps(refused.json)
    assert call(fee, owner, "GET").json == {"data": []}


def test_only_the_owner_and_managers_touch_keys_and_only_their_own(fee: Place) -> None:
    owner, other = fee.account(), fee.account()
    id = add(fee, owner, "fake-a")
    [shown] = call(fee, owner, "GET").json["data"]
    assert shown.keys() == {"id", "provider", "label", "created_at"}
    assert (shown["id"], shown["provider"], shown["label"]) == (id, "fake-a", "sk-...mer")
    again = call(fee, owner, "POST", body={"provider": "fake-a", "key": OWN})
    assert (again.status, again.json["error"]["param"]) == (400, "provider")
    for wrong in (f"/{id}", "/pk_none", "/%00"):
        assert call(fee, other, "DELETE", wrong).status == 404
    inference = fee.limited_key(owner, "1")
    for method, path, body in (("GET", "", None), ("POST", "", {"provider": "fake-b", "key": OWN}), ("DELETE", f"/{id}", None)):
        assert call(fee, inference, method, path, body=body).status == 403
        assert call(fee, Account("", "sk-tw-v1-nobody"), method, path, body=body).status == 401
    assert [key["id"] for key in call(fee, owner, "GET").json["data"]] == [id]


def test_no_key_stands_in_the_database_or_in_the_log(fee: Place) -> None:
    owner = fee.account()
    add(fee, owner, "fake-a")
    fee.ask(owner, model_id("needs-key"))
    fee.ask(owner, model_id("plain"), stream=True)
    url = fee.tollway.environment["TOLLWAY_DATABASE_URL"]
    if url.startswith("sqlite"):
        database = Path(url.removeprefix("sqlite:///"))
        stored = b"".join(file.read_bytes() for file in database.parent.glob(f"{database.name}*"))
    else:
        stored = repr(asyncio.run(everything(url))).encode()
    assert b"v1:" in stored
    assert OWN.encode() not in stored
    assert OWN[3:].encode() not in stored
    assert OWN not in fee.tollway.log.read_text()


async def everything(url: str) -> list[object]:
    """Every row of every table of a Postgres database, as text."""
    tables = await books.sql(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return [await books.sql(url, f'SELECT t::text FROM "{name}" t') for (name,) in tables]


def share(*, price: dict[str, str], **tokens: int) -> Decimal:
    """The fee on so many tokens, in Decimal and by hand: each kind at its rate, 5.25 % of the sum, cut to whole nano-dollars."""
    prompt, cached, reasoning = tokens["prompt"], tokens.get("cached", 0), tokens.get("reasoning", 0)
    kinds = {"prompt": prompt - cached, "cached_prompt": cached, "completion": tokens["completion"] - reasoning, "reasoning": reasoning}
    total = sum(Decimal(price[kind]) * count for kind, count in kinds.items() if count) / 10**6 + Decimal(price.get("request", 0))
    return (total * Decimal(FEE) / 100 * NANO).to_integral_value(ROUND_FLOOR) / NANO


def add(place: Place, account: Account, provider: str, key: str = OWN) -> str:
    """The id of the key, once every process knows of it."""
    added = call(place, account, "POST", body={"provider": provider, "key": key})
    assert added.status == 201, added
    time.sleep(1.05)  # the call itself has made the caller remembered
    id: str = added.json["data"]["id"]
    return id


def call(place: Place, account: Account, method: str, path: str = "", *, body: Json = None) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", place.tollway.port, timeout=30)
    with contextlib.closing(connection):
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {account.key}", "Content-Type": "application/json"}
        connection.request(method, f"/api/v1/account/provider-keys{path}", raw, headers)
        response = connection.getresponse()
        return Reply(response.status, json.loads(response.read()))

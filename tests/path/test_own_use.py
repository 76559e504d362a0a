"""What a customer's own provider keys used, as the customer sees it: in GET key, GET keys, GET activity, the export and route/explain."""

import asyncio
import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pyarrow import parquet

from tests import books
from tests.path.models import model_id
from tests.path.place import Place
from tests.running import Account

OWN = "sk-canary-9d2e-of-a-customer"


def call(place: Place, account: Account, method: str, path: str, body: object = None) -> httpx.Response:
    bearer = {"authorization": f"Bearer {account.key}"}
    answer = httpx.request(method, f"{place.tollway.base_url}/{path}", json=body, headers=bearer, timeout=30)
    assert answer.status_code in (200, 201), answer.text
    return answer


def exact(answer: httpx.Response) -> Any:
    return json.loads(answer.text, parse_float=Decimal)


@pytest.fixture
def owner(quiet: Place) -> Account:
    """With a key of their own at the provider of every fault, where this installation takes no fee."""
    account = quiet.account()
    call(quiet, account, "POST", "account/provider-keys", {"provider": "fake-a", "key": OWN})
    time.sleep(1.05)  # for as long as a caller may be remembered
    return account


def test_the_key_and_the_day_tell_what_own_keys_used_at_list_price(quiet: Place, owner: Account) -> None:
    answers = [quiet.ask(owner, model_id("plain")) for _ in range(2)]
    listed = sum(Decimal(answer.usage["cost_details"]["upstream_inference_cost"]) for answer in answers)
    assert listed > 0
    current = exact(call(quiet, owner, "GET", "key"))["data"]
    (among,) = exact(call(quiet, owner, "GET", "keys"))["data"]
    for key in (current, among):
        assert [key[f"byok_usage{period}"] for period in ("", "_daily", "_weekly", "_monthly")] == [listed] * 4
        assert [key[f"usage{period}"] for period in ("", "_daily", "_weekly", "_monthly")] == [0] * 4
    yesterday = f"UPDATE generation SET created_at = created_at - 86400000 WHERE account_id = '{owner.account_id}'"
    asyncio.run(books.sql(quiet.tollway.environment["TOLLWAY_DATABASE_URL"], yesterday))
    for query in ("", f"?api_key_hash={among['hash']}"):
        (row,) = exact(call(quiet, owner, "GET", f"activity{query}"))["data"]
        assert (row["usage"], row["byok_usage_inference"], row["requests"]) == (0, listed, 2)
        assert row["prompt_tokens"] == sum(answer.usage["prompt_tokens"] for answer in answers)
    idle = call(quiet, owner, "POST", "keys", {"name": "idle"}).json()["data"]["hash"]
    assert call(quiet, owner, "GET", f"activity?api_key_hash={idle}").json() == {"data": []}


def test_every_format_of_the_export_names_the_own_key(quiet: Place, owner: Account) -> None:
    (own,) = call(quiet, owner, "GET", "account/provider-keys").json()["data"]
    assert quiet.ask(owner, model_id("plain")).status == 200
    assert quiet.ask(owner, "tollway/echo").status == 200
    today = datetime.now(UTC).date()
    query = f"from={today - timedelta(days=2)}&to={today + timedelta(days=2)}"
    files = {format: call(quiet, owner, "GET", f"usage/export?{query}&format={format}").content for format in ("csv", "jsonl", "parquet")}
    found = {
        "csv": [row["own_key_id"] or None for row in csv.DictReader(io.StringIO(files["csv"].decode()))],
        "jsonl": [json.loads(line)["own_key_id"] for line in files["jsonl"].splitlines()],
        "parquet": parquet.read_table(io.BytesIO(files["parquet"])).column("own_key_id").to_pylist(),
    }
    for format, ids in found.items():
        assert sorted(ids, key=str) == sorted([own["id"], None], key=str), format
        assert OWN.encode() not in files[format]


def test_explain_shows_what_would_be_charged_where_the_own_key_pays(quiet: Place, owner: Account) -> None:
    asked = {"model": model_id("plain", "two"), "max_tokens": 10}
    found = call(quiet, owner, "POST", "route/explain", asked).json()
    prices = {endpoint["own_key"]: endpoint for endpoint in found["endpoints"]}
    assert prices[True]["usd_per_million_tokens"] == {"prompt": "0", "completion": "0"}
    assert prices[True]["usd_per_request"] == "0"
    assert Decimal(prices[False]["usd_per_million_tokens"]["prompt"]) > 0
    others = call(quiet, quiet.account(), "POST", "route/explain", asked).json()
    listed = {endpoint["endpoint"]: endpoint["usd_per_million_tokens"] for endpoint in others["endpoints"]}
    assert prices[False]["usd_per_million_tokens"] == listed[prices[False]["endpoint"]]
    assert listed[prices[True]["endpoint"]] != prices[True]["usd_per_million_tokens"]

"""The pages about usage and generations say what the API charged, to the digit, and nothing of anybody else's."""

import csv
import io
import json
import re
import time
from decimal import Decimal
from html import unescape

import pytest
from pyarrow import parquet

from tests.browser.house import House
from tests.path.client import Answer, ask
from tests.path.routes import MODELS

WAYS = ("day", "model", "provider", "key", "member", "app")
TOTAL = re.compile(r'<tr class="total"><td>Total</td>(.*?)</tr>', re.DOTALL)
NUMBER = re.compile(r'<td class="num">([^<]*)</td>')


def spent(house: House) -> Decimal:
    return Decimal(str(house.api(house.home.account, "GET", "credits")["data"]["total_usage"]))


def total(page: Answer) -> list[str]:
    found = TOTAL.search(page.body.decode())
    assert found, page.body[:300]
    return [unescape(number) for number in NUMBER.findall(found[1])]


def rows(answer: Answer, format: str) -> list[dict[str, object]]:
    assert answer.status == 200, answer.body[:300]
    if format == "csv":
        return [dict(row) for row in csv.DictReader(io.StringIO(answer.body.decode()))]
    if format == "jsonl":
        return [json.loads(line) for line in answer.body.splitlines()]
    return list(parquet.read_table(io.BytesIO(answer.body)).to_pylist())


@pytest.mark.parametrize("by", WAYS)
async def test_every_way_of_adding_up_has_the_same_total_as_the_api_and_as_its_files(lived_in: House, by: str) -> None:
    asked = ask(lived_in.tollway.port, lived_in.home.account.key, MODELS[0], messages=[{"role": "user", "content": "Once more"}])
    assert asked.status == 200
    for _ in range(2):
        page = lived_in.look("owner", f"/dashboard/usage?by={by}")
        assert page.status == 200
        requests, _, _, _, amount = total(page)
        assert Decimal(amount.removeprefix("$")) == spent(lived_in)
        for format in ("csv", "jsonl", "parquet"):
            file = rows(lived_in.look("owner", f"/dashboard/usage/export?by={by}&format={format}"), format)
            assert sum(Decimal(str(row["charge_usd"])) for row in file) == spent(lived_in)
            assert sum(int(str(row["requests"])) for row in file) == int(requests.replace(",", ""))
        time.sleep(0.2)


async def test_a_filter_shows_its_part_and_a_strangers_key_shows_nothing_not_even_its_name(lived_in: House) -> None:
    mine, theirs = (lived_in.look("owner", f"/dashboard/usage?key={home.ids['key_id']}") for home in (lived_in.home, lived_in.abroad))
    assert mine.status == theirs.status == 200
    assert total(theirs)[0] == "0"
    name = re.search(r"<h1>(.*?)</h1>", lived_in.look("stranger", f"/dashboard/keys/{lived_in.abroad.ids['key_id']}").body.decode())
    assert name
    assert total(lived_in.look("owner", f"/dashboard/usage?model={MODELS[0]}"))[0] != "0"
    assert total(lived_in.look("owner", "/dashboard/usage?model=no/such"))[0] == "0"
    listed = lived_in.look("owner", f"/dashboard/generations?key={lived_in.abroad.ids['key_id']}").body.decode()
    assert "There is none." in listed
    assert lived_in.abroad.ids["generation"] not in listed


async def test_a_generation_shows_its_price_line_by_line_to_its_own_account_alone(lived_in: House) -> None:
    id = lived_in.home.ids["generation"]
    told = lived_in.api(lived_in.home.account, "GET", f"generation?id={id}")["data"]
    page = lived_in.look("viewer", f"/dashboard/generations/{id}")
    assert page.status == 200
    text = unescape(page.body.decode())
    for line in told["cost_arithmetic"]["lines"]:
        assert f'{line["units"]:,}</td><td class="num">{line["usd_per_unit"]}</td>' in text
    assert told["cost_arithmetic"]["total_usd"] in text
    assert told["provider_responses"][0]["endpoint_id"] in text
    assert lived_in.look("stranger", f"/dashboard/generations/{id}").status == 404
    assert lived_in.look("owner", "/dashboard/generations/gen-1-none").status == 404
    assert id in lived_in.look("owner", "/dashboard/generations").body.decode()


@pytest.mark.parametrize(
    "address",
    [
        *("usage?from=yesterday", "usage?from=2027-01-01&to=2026-01-01", "usage?from=2020-01-01", "usage?by=colour", "usage?show=all"),
        *("usage?from=2026-01-01T10:30:00Z&to=2026-01-02", "usage/export?format=xls", "usage?model=%00", f"usage?app={'a' * 400}"),
        *("generations?before=yesterday", "generations?before=99999999999999999999.x", "generations?from=1", "generations?error=%0d%0a"),
        "generations?from=2027-01-02&to=2027-01-01",
    ],
)
async def test_an_address_that_cannot_be_read_is_refused_with_a_page_that_says_why(lived_in: House, address: str) -> None:
    answer = lived_in.look("owner", f"/dashboard/{address}")
    assert answer.status == 400, answer.body[:300]
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<h1>" in answer.body

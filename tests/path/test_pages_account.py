"""What the pages of privacy, logs and billing do by a browser's forms, and what they refuse with nothing changed, on both databases."""

import csv
import html
import io
import itertools
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from metering import credits, ledger
from metering.money import now_ms
from metering.periods import period
from policy import account_privacy, account_states, budgets, content_store
from policy.permissions import ROLES_BY_RIGHT
from policy.tables import ROLES
from tests import books
from tests.browser.house import Home, House
from tests.fakes.process import Fake
from tests.path.family import (
    CHOICE,
    DAY_MS,
    EVIL,
    GETS,
    POSTS,
    SECONDS,
    Family,
    ask_and_keep,
    choose,
    families,
    grow_old,
    iso_day,
    kept,
    problem,
    stored,
    usd,
)
from tests.path.routes import MODELS, Crossing, crossing
from tests.running import Account

in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    fake.reset()
    with crossing(request.param, fake, tmp_path_factory.mktemp("family"), request, TOLLWAY_SHARING_DISCOUNT_PERCENT="12.5") as running:
        yield running
        verified = running.tollway.cli("audit", "verify")
        assert verified.returncode == 0, verified.stdout
        assert "canary-9c1f" not in running.tollway.log.read_text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(place: Crossing) -> AsyncIterator[House]:
    async with books.connected(place.tollway.environment["TOLLWAY_DATABASE_URL"]) as database:
        nobody, nowhere = Home(Account("", "")), Path()
        yield House(place.tollway, place.fake, database, nowhere, nowhere, nobody, nobody)


@pytest.fixture(scope="module")
def accounts(house: House) -> Iterator[Family]:
    return families(house)


@pytest_asyncio.fixture(loop_scope="module")
async def own(accounts: Iterator[Family]) -> Family:
    """A fresh account whose owner is signed in."""
    family = next(accounts)
    await family.join("owner")
    return family


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled(accounts: Iterator[Family]) -> Family:
    """An account with somebody in every role, which nothing below can change: everything sent to it is refused."""
    family = next(accounts)
    await family.join(*ROLES)
    choose(family)
    ask_and_keep(family)
    family.post("/dashboard/billing/budgets", {"subject": f"account:{family.id}", "usd": "4", "reset": "daily"})
    return family


async def state(own: Family) -> tuple[Any, ...]:
    """What a form could have changed."""
    choice = await own.find(account_privacy.of, own.id)
    limits = [row.limit_id for row, _ in await own.find(budgets.listed, own.id)]
    return (
        choice,
        kept(own),
        limits,
        await own.find(account_states.of, own.id),
        own.api("GET", "account/privacy/history"),
        await own.deeds(),
    )


async def filled(own: Family, path: str) -> str:
    """The path below /dashboard with the account's own things in it."""
    limits = await own.find(budgets.listed, own.id)
    budget = limits[0][0].limit_id if limits else "none"
    return f"/dashboard/{path}".replace("(log)", kept(own)[0]).replace("(budget)", budget)


def form_of(own: Family, path: str) -> dict[str, str]:
    return {name: value.replace("(own)", own.id) for name, value in POSTS[path][1].items()}


@in_one_loop
@pytest.mark.parametrize("path", sorted(POSTS))
async def test_a_forged_or_odd_form_is_refused_and_changes_nothing(settled: Family, path: str) -> None:
    before, address, form = await state(settled), await filled(settled, path), form_of(settled, path)
    assert settled.post(address, form, Origin="https://evil.example").status == 403
    assert settled.post(address, {**form, "csrf": ""}).status == 403
    assert settled.post(address, {**form, "csrf": settled.house.csrf(settled.who("viewer"))}).status == 403
    odd = settled.post(address, {**form, "role": "owner"})
    assert (odd.status, "role" in problem(odd.body)) == (400, True)
    assert await state(settled) == before


@in_one_loop
@pytest.mark.parametrize("path", sorted(POSTS))
async def test_who_may_not_do_a_deed_is_told_who_may_and_nothing_is_changed(settled: Family, path: str) -> None:
    before, address, form = await state(settled), await filled(settled, path), form_of(settled, path)
    for role in set(ROLES) - ROLES_BY_RIGHT[POSTS[path][0]]:
        answer = settled.post(address, form, role)
        assert (answer.status, "owner" in problem(answer.body)) == (403, True), role
    assert await state(settled) == before


@in_one_loop
@pytest.mark.parametrize("path", sorted(GETS))
async def test_a_page_or_a_file_is_for_its_roles_alone(settled: Family, path: str) -> None:
    address = await filled(settled, path)
    for role in ROLES:
        assert settled.look(address, role).status == (200 if role in ROLES_BY_RIGHT[GETS[path]] else 403), role


@in_one_loop
async def test_another_accounts_things_are_not_there(settled: Family, own: Family) -> None:
    before, log = await state(settled), kept(settled)[0]
    budget = (await settled.find(budgets.listed, settled.id))[0][0].limit_id
    key = (await settled.find(content_store.page, settled.id, before=None, limit=1, now=now_ms()))[0].key_id
    assert {own.look(f"/dashboard/logs/{log}{more}").status for more in ("", "/json")} == {404}
    assert own.post(f"/dashboard/logs/{log}/delete", {}).status == 404
    assert own.post(f"/dashboard/billing/budgets/{budget}/remove", {}).status == 404
    for subject in (f"account:{settled.id}", f"key:{key}", "project:prj_none", "house:cash", "nothing"):
        assert own.post("/dashboard/billing/budgets", {"subject": subject, "usd": "1"}).status == 404, subject
    assert own.post("/dashboard/privacy", {**CHOICE, "which_keys": "these", "keys": key}).status == 404
    assert await state(settled) == before
    assert (await own.find(account_privacy.of, own.id)).version == 0


@in_one_loop
async def test_the_choice_of_a_form_is_the_choice_and_its_history_says_who_made_it(own: Family) -> None:
    own.api("POST", "keys", {"name": "app"})
    page = own.read("/dashboard/privacy")
    assert "was never changed" in page
    id = next(found for found in re.findall(r'name="keys" value="(key_\w+)"[^>]*>app', page))
    fields = [*CHOICE.items(), ("keys", id), ("memories", "true")]
    sent = [(name, {"which_keys": "these", "sampling_percent": "33.3"}.get(name, value)) for name, value in fields]
    assert own.post("/dashboard/privacy", sent).status == 303
    found = own.api("GET", "account/privacy")
    assert (found["logging"], found["retention_days"], str(found["sampling_rate"]), found["keys"]) == ("full", 14, "0.333", [id])
    assert (found["memories"], found["chat_history"], found["version"]) == (True, False, 1)
    own.api("PATCH", "account/privacy", {"retention_days": 7})
    page = own.read("/dashboard/privacy")
    assert f"{own.who('owner')}@example.com" in page
    assert "key owner (" in page
    assert re.search(r"<td>retention days: 7</td>", page), page
    assert 'value="33.3"' in page
    assert (own.person(), "privacy.change") in await own.deeds()


@in_one_loop
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("logging", "everything"), ("retention_days", "0"), ("retention_days", "366"), ("retention_days", "a week")],
        *[("sampling_percent", "0"), ("sampling_percent", "100.1"), ("sampling_percent", "NaN"), ("sampling_percent", "many")],
    ],
)
async def test_a_choice_that_cannot_be_is_refused_by_name_and_nothing_is_changed(own: Family, field: str, value: str) -> None:
    answer = own.post("/dashboard/privacy", {**CHOICE, field: value})
    assert answer.status == 400
    assert problem(answer.body).startswith(f"{field}:")
    assert (await own.find(account_privacy.of, own.id)).version == 0


@in_one_loop
async def test_the_page_says_what_is_kept_until_when_and_what_the_consents_are(own: Family) -> None:
    page = own.read("/dashboard/privacy")
    assert "No prompt and no answer of this account is kept." in page
    assert page.count("It stores nothing yet") == 5
    assert "You pay 12.5 % less while it is on." in page
    choose(own)
    ask_and_keep(own)
    ask_and_keep(own)
    row = own.api("GET", "logs")["data"][0]
    page = own.read("/dashboard/privacy")
    assert re.search(r"<dd>2 ·", page)
    assert row["expires_at"].replace("T", " ")[:16] in page


@in_one_loop
async def test_an_export_opens_and_needs_somebody_who_just_proved_who_they_are(own: Family) -> None:
    answer = own.post("/dashboard/privacy/export", {})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert own.id in archive.read("README.md").decode()
    await own.forget_who_they_are()
    for path in ("export", "close"):
        again = own.post(f"/dashboard/privacy/{path}", {"account_id": own.id} if path == "close" else {})
        assert (again.status, again.headers["location"]) == (303, "/confirm?next=/dashboard/privacy")
    assert [deed for deed in await own.deeds() if deed[1] != "account.create"] == [(own.person(), "account.export")]


@in_one_loop
async def test_an_account_is_closed_read_exported_and_the_closing_called_off(own: Family) -> None:
    await own.join("viewer")
    wrong = own.post("/dashboard/privacy/close", {"account_id": "acc_other"})
    assert (wrong.status, "Nothing was changed" in problem(wrong.body)) == (400, True)
    assert own.ask().status == 200
    assert own.post("/dashboard/privacy/close", {"account_id": own.id}).headers["location"] == "/dashboard/privacy?done=account.closing"
    time.sleep(SECONDS)
    assert own.ask().status in (401, 403)
    assert "Call the closing off" in own.read("/dashboard/privacy")
    assert {own.look(f"/dashboard/{page}").status for page in ("billing", "logs")} == {200}
    assert own.post("/dashboard/privacy/export", {}).status == 200
    assert own.post("/dashboard/privacy", CHOICE).status == 403
    assert own.look("/dashboard/privacy", "viewer").status == 403
    assert own.post("/dashboard/privacy/close/cancel", {}).headers["location"] == "/dashboard/privacy?done=account.cancelled"
    time.sleep(SECONDS)
    assert own.ask().status == 200
    assert [action for actor, action in await own.deeds() if actor == own.person()] == ["account.close", "account.export", "account.cancel"]
    assert own.post("/dashboard/privacy/close/cancel", {}).status == 409


@in_one_loop
async def test_a_closing_without_its_window_is_due_at_once(own: Family) -> None:
    before = now_ms()
    assert own.post("/dashboard/privacy/close", {"account_id": own.id, "waive_window": "true"}).status == 303
    standing = await own.find(account_states.of, own.id)
    assert standing.due_at is not None
    assert standing.due_at - before < 60_000


@in_one_loop
async def test_a_request_under_a_law_is_opened_and_its_words_are_the_owners_alone(own: Family) -> None:
    await own.join("admin")
    assert own.post("/dashboard/privacy/requests", {"kind": "everything", "law": "gdpr"}).status == 400
    assert own.post("/dashboard/privacy/requests", {"kind": "access", "law": "ccpa", "note": EVIL}).status == 303
    page = own.read("/dashboard/privacy")
    assert html.escape("<script>alert(") in page
    assert "<script>alert" not in page
    assert "canary-9c1f" not in own.read("/dashboard/privacy", "admin")


@in_one_loop
async def test_a_log_is_shown_without_running_and_nowhere_but_in_its_place(own: Family) -> None:
    assert "Logging of prompts and answers is off (metadata)" in own.read("/dashboard/logs")
    choose(own)
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"<b>Bern"}'}}
    said = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": EVIL},
        {"role": "user", "content": [{"type": "text", "text": EVIL}]},
    ]
    answer = own.ask(messages=[{"role": "user", "content": EVIL}, *said])
    id = answer.headers["x-generation-id"]
    listed, page = own.read("/dashboard/logs"), own.read(f"/dashboard/logs/{id}")
    assert (id in listed, MODELS[0] in listed, "canary-9c1f" in listed) == (True, True, False)
    assert page.count('<p class="words">&lt;script&gt;alert(&#39;canary-9c1f&#39;)') == 3
    assert "<script>alert" not in page
    assert re.search(r"calls weather \(call_1\)</p>\s*<pre[^>]*><code>{\s*&#34;city&#34;: &#34;&lt;b&gt;Bern", page)
    assert html.escape(answer.said()) in page
    assert "canary" not in page.partition("<title>")[2].partition("</title>")[0]
    file = own.look(f"/dashboard/logs/{id}/json")
    assert json.loads(file.body)["input"]["messages"][0]["content"] == EVIL
    assert file.headers["content-disposition"] == f'attachment; filename="{id}.json"'


@in_one_loop
async def test_one_log_those_before_a_day_and_all_are_deleted_with_a_receipt(own: Family) -> None:
    choose(own)
    ids = [ask_and_keep(own) for _ in range(4)]
    assert "Deleted for good: 1 logs" in own.post(f"/dashboard/logs/{ids[0]}/delete", {}).body.decode()
    assert sorted(kept(own)) == sorted(ids[1:])
    assert own.look(f"/dashboard/logs/{ids[0]}").status == 404
    wrong = own.post("/dashboard/logs/delete-before", {"before": "yesterday"})
    assert (wrong.status, problem(wrong.body).startswith("before")) == (400, True)
    await own.house.database.write(grow_old, ids[1])
    assert "Deleted for good: 1 logs" in own.post("/dashboard/logs/delete-before", {"before": iso_day(now_ms() - DAY_MS)}).body.decode()
    assert sorted(kept(own)) == sorted(ids[2:])
    page = own.post("/dashboard/logs/delete-all", {}).body.decode()
    assert re.search(r"Deleted for good: 2 logs, [\d,]{3,} bytes, and 1 keys", page)
    assert "Nothing is kept." in page
    assert [action for actor, action in await own.deeds() if actor == own.person()] == ["privacy.change", *["logs.delete"] * 3]


@in_one_loop
async def test_many_logs_are_paged_and_one_that_does_not_open_says_so(own: Family) -> None:
    await own.house.database.write(stored, own.id, 120)
    seen: list[str] = []
    path = "/dashboard/logs"
    for _ in range(3):
        page = own.read(path)
        seen += re.findall(r'href="/dashboard/logs/(gen-page-[^"]+)"', page)
        path = html.unescape(next(iter(re.findall(r'href="(/dashboard/logs\?after=[^"]+)"', page)), ""))
    assert (len(seen), seen == sorted(seen, reverse=True), path) == (120, True, "")
    assert own.look(f"/dashboard/logs/{seen[0]}").status == 410
    assert own.look("/dashboard/logs?after=nowhere").status == 400


@in_one_loop
async def test_the_page_shows_the_exact_balance_its_credits_and_a_statement_that_adds_up(own: Family) -> None:
    long_ago = now_ms() - 70 * DAY_MS
    gift: dict[str, Any] = {"account_id": own.id, "amount": 123_456_789, "kind": "promotional", "refundable": False, "reason": EVIL}
    await own.house.database.write(credits.add, id=f"dep_{own.id}", expires_at=now_ms() + DAY_MS, now=long_ago, **gift)
    for _ in range(3):
        assert own.ask().status == 200
    balance = await own.find(ledger.balance, own.id)
    page = html.unescape(own.read("/dashboard/billing"))
    assert f"for new requests: {usd(balance.available)}<" in page
    assert f'Balance now</td><td class="num">{usd(balance.available)}<' in page
    assert f'Charged for generations</td><td class="num">{usd(-balance.usage)}<' in page
    assert f'<td class="num">{usd(123_456_789)}</td><td class="num">{usd(123_456_789 - balance.usage)}</td>' in page
    assert "promotional" in page
    start, _ = period("monthly", long_ago)
    month = time.strftime("%Y-%m", time.gmtime(start / 1000))
    old = own.read(f"/dashboard/billing?month={month}")
    assert f'Balance at the end of {month}</td><td class="num">{usd(123_456_789)}<' in old
    assert "<script>alert" not in old
    rows = list(csv.DictReader(io.StringIO(own.read(f"/dashboard/billing/statement?month={month}"))))
    assert [row["kind"] for row in rows] == ["opening", "deposit", "closing"]
    assert rows[-1]["balance_usd"] == "0.123456789"


@in_one_loop
async def test_files_of_a_month_and_the_proof_open_and_a_wrong_one_is_named(own: Family, tmp_path: Path) -> None:
    ids = [ask_and_keep(own) for _ in range(2)]
    month = time.strftime("%Y-%m", time.gmtime())
    assert month in own.read("/dashboard/billing")
    for by, format in itertools.product(("generation", "day"), ("csv", "jsonl", "parquet")):
        assert own.look(f"/dashboard/billing/usage/export?month={month}&by={by}&format={format}").status == 200
    rows = [json.loads(line) for line in own.read(f"/dashboard/billing/usage/export?month={month}&format=jsonl").splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(ids)
    file = tmp_path / "proof.jsonl"
    file.write_bytes(own.look("/dashboard/billing/proof").body)
    checked = own.house.tollway.cli("ledger", "check-proof", str(file))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for wrong in (
        "?month=2026-13",
        "?month=now",
        "/usage/export?month=2026-01&format=xml",
        "/usage/export?month=2026-01&by=hour",
        "/statement",
    ):
        assert own.look(f"/dashboard/billing{wrong}").status == 400, wrong


@in_one_loop
async def test_a_budget_that_is_set_is_held_to_until_it_is_removed(own: Family) -> None:
    project = own.house.tollway.cli_json("project", "create", "--account", own.id, "--name", "Website")["id"]
    await own.join("billing")
    for subject, reset in ((f"account:{own.id}", "daily"), (f"project:{project}", "")):
        form = {"subject": subject, "usd": "0.000000001", "reset": reset}
        assert own.post("/dashboard/billing/budgets", form, "billing").headers["location"] == "/dashboard/billing?done=budget.set"
    time.sleep(SECONDS)
    assert own.ask().status == 402
    page = own.read("/dashboard/billing")
    assert re.search(r'Project Website</td><td class="num">\$0.000000001</td>', page)
    again = own.post("/dashboard/billing/budgets", {"subject": f"account:{own.id}", "usd": "1", "reset": "daily"})
    assert (again.status, "already" in problem(again.body)) == (400, True)
    for field, value in (("usd", "-1"), ("usd", "much"), ("reset", "hourly")):
        wrong = own.post("/dashboard/billing/budgets", {"subject": f"account:{own.id}", "usd": "1", field: value})
        assert (wrong.status, problem(wrong.body).startswith(f"{field}:")) == (400, True), field
    for row, _ in await own.find(budgets.listed, own.id):
        assert own.post(f"/dashboard/billing/budgets/{row.limit_id}/remove", {}, "billing").status == 303
    time.sleep(SECONDS)
    assert own.ask().status == 200
    assert [action for actor, action in await own.deeds() if actor == own.person("billing")] == ["budget.set"] * 2 + ["budget.remove"] * 2

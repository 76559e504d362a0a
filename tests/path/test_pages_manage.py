"""What the pages of keys, routing, members, playground and the operator do, driven as a browser's forms drive them, seen by the API."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.house import House, house
from tests.fakes.process import fake_provider
from tests.path.client import Answer, ask
from tests.path.routes import MODELS
from tests.running import Account

in_one_loop = pytest.mark.asyncio(loop_scope="module")
ECHO = "tollway/echo"
"""At list price, while the account has a key of its own for the others."""
SECRET = re.compile(rb'id="key"[^>]*>(sk-tw-v1-[0-9A-Za-z]{46})<')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    with fake_provider() as fake:
        async with house(fake, tmp_path_factory.mktemp("managing")) as built:
            yield built


def made(home: House, answer: Answer) -> Account:
    found = SECRET.search(answer.body)
    assert (answer.status, found is not None) == (200, True), answer.body[:800]
    assert found is not None
    return Account(home.home.account.account_id, found[1].decode())


def works(home: House, account: Account, model: str = MODELS[0]) -> int:
    return ask(home.tollway.port, account.key, model, messages=[{"role": "user", "content": "hello"}]).status


def id_of(home: House, account: Account) -> str:
    """The id of a key, by its name in the list of the page."""
    label = f"{account.key[:12]}...{account.key[-4:]}"
    page = home.look("owner", "/dashboard/keys").body.decode()
    row = next(row for row in page.split("<tr>") if label in row)
    return re.search(r"/dashboard/keys/(key_\w+)", row)[1]  # type: ignore[index]


@in_one_loop
async def test_a_key_that_a_page_makes_calls_models_within_its_limit_and_is_shown_once(home: House) -> None:
    key = made(home, home.post("owner", "/dashboard/keys", {"name": "app", "limit": "0.000000001", "limit_reset": "daily"}))
    assert works(home, key, ECHO) == 402
    page = home.look("owner", f"/dashboard/keys/{id_of(home, key)}")
    assert (page.status, key.key.encode() in page.body) == (200, False)
    changed = home.post("owner", f"/dashboard/keys/{id_of(home, key)}", {"name": "app", "limit": "2"})
    assert (changed.status, changed.headers["location"].endswith("?done=key.changed")) == (303, True)
    await until(lambda: works(home, key, ECHO) == 200)


@in_one_loop
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "-1"),
        ("limit", "a lot"),
        ("limit_reset", "hourly"),
        ("expires_at", "soon"),
        ("logging", "more"),
        ("data_collection", "maybe"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_made(home: House, field: str, value: str) -> None:
    before = home.rows()["key"]
    answer = home.post("owner", "/dashboard/keys", {"name": "wrong", "limit": "1", field: value})
    assert answer.status == 400
    assert re.search(rf'role="alert">[^<]*{field}'.encode(), answer.body), answer.body[:1500]
    assert home.rows()["key"] == before


@in_one_loop
async def test_a_rotated_key_works_and_the_old_one_does_not(home: House) -> None:
    old = made(home, home.post("owner", "/dashboard/keys", {"name": "to rotate"}))
    new = made(home, home.post("owner", f"/dashboard/keys/{id_of(home, old)}/rotate", {"grace_hours": "0"}))
    assert works(home, new) == 200
    await until(lambda: works(home, old) == 401)


@in_one_loop
async def test_a_revoked_key_is_dead_within_a_second(home: House) -> None:
    key = made(home, home.post("admin", "/dashboard/keys", {"name": "to revoke"}))
    assert works(home, key) == 200
    assert home.post("admin", f"/dashboard/keys/{id_of(home, key)}/revoke", {}).status == 303
    await until(lambda: works(home, key) == 401)


@in_one_loop
async def test_a_developer_changes_only_their_own_keys(home: House) -> None:
    theirs = made(home, home.post("developer", "/dashboard/keys", {"name": "mine"}))
    others = made(home, home.post("owner", "/dashboard/keys", {"name": "the owner's"}))
    for deed in ("rotate", "revoke"):
        assert home.post("developer", f"/dashboard/keys/{id_of(home, others)}/{deed}", {}).status == 403
    assert works(home, others) == 200
    assert home.post("developer", f"/dashboard/keys/{id_of(home, theirs)}/revoke", {}).status == 303


@in_one_loop
async def test_rules_of_the_page_bind_requests_and_the_explanation_says_so(home: House) -> None:
    account = home.home.account
    document = home.api(account, "GET", "account/routing")
    assert home.post("owner", "/dashboard/routing", {"ignored_models": MODELS[0]}).status == 303
    await until(lambda: works(home, account) == 404)
    explained = home.look("owner", f"/dashboard/routing?model={MODELS[0]}")
    assert b"ignored_models" in explained.body
    wrong = home.post("owner", "/dashboard/routing/document", {"document": '{"zdr": "perhaps"}'})
    assert (wrong.status, b"zdr" in wrong.body) == (400, True)
    home.api(account, "PUT", "account/routing", document)
    await until(lambda: works(home, account) == 200)


@in_one_loop
async def test_a_member_who_gets_another_role_must_sign_in_again(home: House) -> None:
    before = home.tokens["viewer"]
    assert home.look("viewer", "/dashboard").status == 200
    assert home.post("owner", "/dashboard/members/mem_per_viewer/role", {"role": "billing"}).status == 303
    assert home.look("viewer", "/dashboard").headers["location"].startswith("/login?next=")
    home.tokens["viewer"] = await home.sign_in("viewer")
    assert home.look("viewer", "/dashboard/billing").status == 200
    home.post("owner", "/dashboard/members/mem_per_viewer/role", {"role": "viewer"})
    home.tokens["viewer"] = await home.sign_in("viewer")
    assert home.tokens["viewer"] != before


@in_one_loop
async def test_the_playground_charges_exactly_what_it_says(home: House) -> None:
    before = home.api(home.home.account, "GET", "credits")["data"]["total_usage"]
    answer = home.post("developer", "/dashboard/playground", {"model": ECHO, "prompt": "hello", "max_tokens": "20"})
    assert answer.status == 200, answer.body[:800]
    said = re.search(rb"charged \$([0-9.]+)", answer.body)
    assert said is not None
    assert float(said[1]) > 0
    after = home.api(home.home.account, "GET", "credits")["data"]["total_usage"]
    assert f"{after - before:.9f}".rstrip("0") == said[1].decode().rstrip("0")


@in_one_loop
async def test_an_operator_books_credit_and_suspends_and_nobody_else_sees_that_there_is_such_a_page(home: House) -> None:
    account = home.abroad.account
    where = f"/operator/accounts/{account.account_id}"
    before = home.api(account, "GET", "credits")["data"]["total_credits"]
    assert home.post("operator", f"{where}/credit", {"usd": "1.000000001", "reason": "a gift", "kind": "promotional"}).status == 303
    assert f"{home.api(account, 'GET', 'credits')['data']['total_credits'] - before:.9f}" == "1.000000001"
    for wrong in ({"usd": "1e400", "reason": "x"}, {"usd": "1", "reason": ""}, {"usd": "-1000", "reason": "x"}):
        assert home.post("operator", f"{where}/credit", wrong).status == 400
    assert home.post("operator", f"{where}/suspend", {"reason": "an unpaid invoice"}).status == 303
    await until(lambda: works(home, account) == 401)
    assert home.post("operator", f"{where}/resume", {}).status == 303
    await until(lambda: works(home, account) == 200)
    assert home.post("owner", f"{where}/credit", {"usd": "1", "reason": "mine"}).status == 404


@in_one_loop
async def test_the_operators_ledger_page_says_that_everything_holds(home: House) -> None:
    answer = home.post("operator", "/operator/ledger", {})
    assert (answer.status, b"Everything holds" in answer.body) == (200, True), answer.body[:800]


async def until(holds: object, seconds: float = 3.0) -> None:
    """A change takes effect within a second, which is how long a caller is remembered."""
    import asyncio
    import time

    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        await asyncio.sleep(0.1)

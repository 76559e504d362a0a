"""Who may see and do what on the pages: every route of the application, by every role, with foreign ids and forged forms.

A route without a rule fails, and so does a rule without a route.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from policy.permissions import ROLES_BY_RIGHT
from tests.browser import pages
from tests.browser.house import EVERYBODY, ROLES, House, house
from tests.browser.pages import Route
from tests.fakes.process import fake_provider
from tests.path.client import Answer
from tests.path.dashboard_rules import BODIES, BY_MAIL_PROGRAMS, FOREIGN_FIELDS, IF_THERE, RULES

in_one_loop = pytest.mark.asyncio(loop_scope="module")

NAMES = sorted(f"{method} {route.name}" for route in pages.routes() for method in route.methods)
BY_NAME = {f"{method} {route.name}": route for route in pages.routes() for method in route.methods}
POSTS = [name for name in NAMES if name.startswith("POST") and name not in BY_MAIL_PROGRAMS]
GETS = [name for name in NAMES if name.startswith("GET")]
WITH_IDS = [name for name in NAMES if RULES.get(name) != "public" and BY_NAME[name].parameters]
NO_SUCH = "no-such-thing"
TOO_LARGE = "x" * (2 << 20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("doors-of-pages")
    with fake_provider() as fake:
        async with house(fake, folder) as built:
            yield built


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert set(NAMES) ^ set(RULES) == set()
    assert {rule for rule in RULES.values() if rule not in ROLES_BY_RIGHT} <= {"public", "session", "operator"}


def test_every_id_in_a_path_is_tried_with_a_foreign_one() -> None:
    assert [name for name in WITH_IDS if name.startswith("POST") and name not in BODIES] == []


@in_one_loop
@pytest.mark.parametrize("name", WITH_IDS)
async def test_a_foreign_id_is_answered_as_one_that_does_not_exist(home: House, name: str) -> None:
    route = BY_NAME[name]
    who = "operator" if RULES[name] == "operator" else "owner"
    unknown = await tried(home, who, name, pages.PARAMETER.sub(NO_SUCH, route.path), BODIES.get(name))
    assert unknown.status == 404, unknown.body[:500]
    if who == "operator":
        return
    foreign = await tried(home, who, name, pages.filled(route, home.abroad), BODIES.get(name))
    assert foreign.status == 404, foreign.body[:500]
    assert blank(foreign, pages.filled(route, home.abroad)) == blank(unknown, pages.PARAMETER.sub(NO_SUCH, route.path))


@in_one_loop
@pytest.mark.parametrize(("name", "field"), sorted(FOREIGN_FIELDS))
async def test_a_foreign_id_in_a_form_does_nothing(home: House, name: str, field: str) -> None:
    thing, more = FOREIGN_FIELDS[name, field]
    before = abroad(home)
    answer = await tried(home, "owner", name, pages.filled(BY_NAME[name], home.home), {**more, field: thing.format(**home.abroad.ids)})
    assert answer.status in (400, 403, 404), (answer.status, answer.headers, answer.body[:300])
    assert abroad(home) == before


@in_one_loop
@pytest.mark.parametrize("name", GETS)
async def test_looking_changes_nothing(home: House, name: str) -> None:
    route = BY_NAME[name]
    path = pages.address(route, home.home)
    before = home.rows()
    who = {"public": "nobody", "operator": "operator"}.get(RULES[name], "owner")
    answer = home.look(who, path)
    assert answer.status in ((200, 303, 404) if route.path in pages.LEADING else (200,)), answer.body[-500:]
    after = home.rows()
    assert {table for table in before if before[table] != after[table]} == set()


@in_one_loop
@pytest.mark.parametrize("name", POSTS)
async def test_a_forged_form_is_refused_and_changes_nothing(home: House, name: str) -> None:
    path, form = pages.filled(BY_NAME[name], home.home), BODIES.get(name, {})
    who = {"public": "nobody", "operator": "operator"}.get(RULES[name], "owner")
    before = home.rows()
    forged = {"of another site": {"Origin": "https://evil.example"}, "of nowhere": {"Origin": "null"}}
    forged["of a site beside us"] = {"Origin": f"{home.origin}.evil.example"}
    forged["fetched across"] = {"Sec-Fetch-Site": "cross-site"}
    for kind, headers in forged.items():
        assert home.post(who, path, form, **headers).status == 403, kind
    if who != "nobody":
        for token in ("", "0" * 64, home.csrf("stranger")):
            assert home.post(who, path, {**form, "csrf": token}).status == 403
    silent = home.send("POST", path, urlencode(form).encode(), {**home.cookie(who), "Content-Type": "application/x-www-form-urlencoded"})
    assert silent.status == 403
    assert home.rows() == before


@in_one_loop
@pytest.mark.parametrize("name", POSTS)
async def test_an_odd_form_is_refused_and_changes_nothing(home: House, name: str) -> None:
    path, form = pages.filled(BY_NAME[name], home.home), BODIES.get(name, {})
    who = {"public": "nobody", "operator": "operator"}.get(RULES[name], "owner")
    before = home.rows()
    for extra in ("role", "account_id_", "operator", "__proto__", "person_id", "kind_"):
        answer = home.post(who, path, {**form, f"{extra}x": "owner"})
        assert answer.status == 400, (extra, answer.status, answer.body[-600:])
    assert home.post(who, path, {**form, "filler": TOO_LARGE}).status == 413
    assert home.post(who, path, [(f"field{number}", "x") for number in range(2000)]).status == 400
    assert home.post(who, path, form, **{"Content-Type": "multipart/form-data; boundary=x"}).status == 415
    assert home.post(who, path, form, **{"Content-Type": "application/json"}).status == 415
    not_text = home.send("POST", path, b"name=%ff%fe&csrf=%ff", {**home.cookie(who), "Origin": home.origin,
                         "Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
    assert not_text.status in (400, 403)
    assert home.rows() == before


@in_one_loop
@pytest.mark.parametrize("name", NAMES)
async def test_each_role_gets_past_the_doors_that_are_its_own_and_no_other(home: House, name: str) -> None:
    route, rule = BY_NAME[name], RULES[name]
    path = pages.PARAMETER.sub(NO_SUCH, route.path)
    for who in EVERYBODY:
        answer = await tried(home, who, name, path)
        assert seen(answer) in doors(rule, who, route), (who, answer.status, answer.headers.get("location"), answer.body[:300])
        assert answer.status < 500


async def tried(home: House, who: str, name: str, path: str, form: dict[str, str] | None = None) -> Answer:
    """By a session of its own, since some forms end the one that sends them."""
    method = name.partition(" ")[0]
    if who != "nobody":
        home.tokens[who] = await home.sign_in(who)
    return home.look(who, path) if method == "GET" else home.post(who, path, form or {})


def doors(rule: str, who: str, route: Route) -> set[str]:
    """What `seen` may say: what does not exist is looked for only by those who may."""
    inside = {"in", "nothing there"} if route.parameters or route.path in IF_THERE else {"in"}
    if rule == "public":
        return inside
    if who == "nobody":
        return {"sign in"}
    if rule == "operator":
        return inside if who == "operator" else {"nothing there"}
    if rule == "session" or who not in ROLES or who in ROLES_BY_RIGHT[rule]:  # type: ignore[index]
        return inside
    return {"forbidden"}


def seen(answer: Answer) -> str:
    if answer.status == 303 and answer.headers["location"].startswith("/login?next="):
        return "sign in"
    return {403: "forbidden", 404: "nothing there"}.get(answer.status, "in")


def blank(answer: Answer, path: str) -> bytes:
    """The page without what differs between two visits: its address, and the token of the session's forms."""
    return re.sub(rb'value="[0-9a-f]{64}"', b"", answer.body.replace(path.encode(), b""))


def abroad(home: House) -> dict[str, list[object]]:
    """The rows that name the other account."""
    account_id = home.abroad.account.account_id
    return {table: [row for row in rows if account_id in row] for table, rows in home.rows().items()}

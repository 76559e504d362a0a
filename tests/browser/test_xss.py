"""Text stays text: with payloads in every stored and reflected field no script runs on any page, and what was written is shown.

The browser is told to ignore our Content-Security-Policy here, so that it is escaping alone that is tried.
"""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.browser import pages, poison
from tests.browser.conftest import Visit
from tests.browser.corpus import ODD, POLYGLOT, SCRIPTS
from tests.browser.house import House, house
from tests.browser.pages import Route
from tests.fakes.process import Fake

REFLECTED = (POLYGLOT, "javascript:window.__xss=60//")
NAMES = (
    *("q", "model", "provider", "key", "member", "app", "origin", "project", "from", "to", "day", "month", "sort", "by", "show", "next"),
    *("done", "token", "after", "before", "cursor", "email", "state", "code", "error", "status", "outcome", "company", "order", "name"),
    *("account", "action", "actor", "data", "format"),
)
"""Parameters of queries that pages read by name, besides those in the signatures of their handlers."""
INTRUDERS = """() => {
  const found = [...document.querySelectorAll("script:not([src]), iframe, object, embed, base, style, [style], animate, meta[http-equiv]")];
  const all = [...document.querySelectorAll("*")];
  const handled = all.filter((e) => e.getAttributeNames().some((name) => name.startsWith("on") || name === "srcdoc"));
  const linked = all.filter((e) => ["href", "src", "action", "formaction", "xlink:href", "poster"].some((name) => {
    const value = e.getAttribute(name);
    if (value === null) return false;
    const scheme = new URL(value, location.href).protocol;
    return !["http:", "https:", "mailto:"].includes(scheme) && !value.startsWith("data:image/");
  }));
  return [...found, ...handled, ...linked].map((e) => e.outerHTML.slice(0, 200));
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def poisoned(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[House, dict[str, list[str]]]]:
    async with house(fake, tmp_path_factory.mktemp("poisoned")) as built:
        yield built, poison.by_hand(built)


async def assert_tame(page: Page, path: str, *statuses: int) -> None:
    answer = await page.goto(path)
    assert answer is not None
    assert answer.status in statuses, (path, answer.status)
    intruders = await page.evaluate(INTRUDERS)
    assert not intruders, (path, intruders)
    # What is animated, loaded or focused runs a moment later.
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))")


async def test_a_stored_payload_is_shown_and_does_not_run(visit: Visit, poisoned: tuple[House, dict[str, list[str]]], watch: Any) -> None:
    built, taken = poisoned
    page = await visit("owner", at=built, bypass_csp=True)
    assert len(taken["key"]) > 20
    await assert_tame(page, "/dashboard/keys", 200)
    shown = await page.locator("main").inner_text()
    assert [name for name in taken["key"][-50:] if squeezed(name) not in squeezed(shown)] == []
    names = await page.locator("main tbody td:first-child").all_inner_texts()  # not the keys beside them, in which any digits may stand
    assert len(names) > 20
    assert [name for name in names if "49" in name] == []
    await assert_tame(page, f"/dashboard/logs/{built.home.ids['generation']}", 200)
    shown = squeezed(await page.locator("main").inner_text())
    assert [text for text in (*SCRIPTS, *ODD) if squeezed(text.replace("\0", "")) not in shown] == []


async def test_no_page_runs_what_people_and_clients_wrote(visit: Visit, poisoned: tuple[House, dict[str, list[str]]], watch: Any) -> None:
    built, _ = poisoned
    await visit_all(visit, built)


async def test_no_query_and_no_path_is_run(visit: Visit, poisoned: tuple[House, dict[str, list[str]]], watch: Any) -> None:
    built, _ = poisoned
    windows = {who: await visit(who, at=built, bypass_csp=True) for who in ("owner", "operator", "nobody")}
    with watch.allow(400, 401, 404):
        for route in pages.pages():
            page = windows[pages.who_looks(route)]
            for text in REFLECTED:
                query = urlencode(dict.fromkeys({*NAMES, *asked(route)}, text))
                await assert_tame(page, f"{pages.filled(route, built.home)}?{query}", 200, 400, 401, 404)
            if route.parameters:
                await assert_tame(page, pages.PARAMETER.sub(quote(POLYGLOT, safe=""), route.path), 200, 400, 404)
        for path in (f"/{quote(POLYGLOT, safe='')}", f"/login?next={quote(POLYGLOT, safe='')}"):
            await assert_tame(windows["nobody"], path, 200, 404)


async def test_no_page_runs_what_stands_in_any_column(visit: Visit, poisoned: tuple[House, dict[str, list[str]]], watch: Any) -> None:
    built, _ = poisoned
    columns = poison.every_column(built)
    assert {"person.name", "key.name", "project.name", "member.email", "generation.title", "generation.model"} <= set(columns)
    await visit_all(visit, built)


async def visit_all(visit: Visit, built: House) -> None:
    windows = {who: await visit(who, at=built, bypass_csp=True) for who in ("owner", "operator", "nobody")}
    for route in pages.pages():
        if route.path not in pages.LEADING:
            await assert_tame(windows[pages.who_looks(route)], pages.address(route, built.home), 200)


def asked(route: Route) -> set[str]:
    """The parameters of a page's query that are text, as its handler declares them."""
    return pages.queries().get(route.path, set())


def squeezed(text: str) -> str:
    """Without white space and what is not printed, which a browser shows in its own way."""
    return re.sub(r"\s+", "", "".join(character for character in text if character.isprintable() or character.isspace()))

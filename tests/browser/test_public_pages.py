"""Every page that needs no session: it opens, without JavaScript too, axe finds nothing, it fits a phone, a keyboard is enough."""

import pytest

from tests.browser import pages
from tests.browser.checks import assert_keyboard_reaches_it, assert_leads_somewhere, assert_looks, assert_whole
from tests.browser.conftest import Visit
from tests.browser.house import House
from tests.browser.pages import Route

PUBLIC = [route for route in pages.pages() if pages.who_looks(route) == "nobody" and route.path not in pages.LEADING]


@pytest.mark.parametrize("route", PUBLIC, ids=lambda route: route.name)
async def test_a_page_can_be_used_by_everybody(visit: Visit, lived_in: House, route: Route) -> None:
    who, path = pages.who_looks(route), pages.address(route, lived_in.home)
    page = await visit(who)
    answer = await page.goto(path)
    assert answer is not None
    assert answer.status == 200
    await assert_whole(page)
    await assert_keyboard_reaches_it(page)
    await assert_looks(page)
    await assert_leads_somewhere(page, signed_in=False)


@pytest.mark.parametrize("route", PUBLIC, ids=lambda route: route.name)
async def test_a_page_needs_no_javascript(visit: Visit, lived_in: House, route: Route) -> None:
    page = await visit(pages.who_looks(route), java_script_enabled=False)
    answer = await page.goto(pages.address(route, lived_in.home))
    assert answer is not None
    assert answer.status == 200
    assert await page.locator("h1").is_visible()
    assert await page.locator("[data-js]:visible").count() == 0

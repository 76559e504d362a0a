"""Every page behind the door: it opens, without JavaScript too, axe finds nothing, it fits a phone, a keyboard is enough."""

import pytest

from tests.browser import pages
from tests.browser.checks import assert_can_be_used, assert_needs_no_javascript
from tests.browser.conftest import Visit
from tests.browser.house import House
from tests.browser.pages import Route

INSIDE = [route for route in pages.pages() if pages.who_looks(route) != "nobody" and route.path not in pages.LEADING]


@pytest.mark.parametrize("route", INSIDE, ids=lambda route: route.name)
async def test_a_page_can_be_used_by_everybody(visit: Visit, lived_in: House, route: Route) -> None:
    await assert_can_be_used(await visit(pages.who_looks(route)), route, lived_in.home, signed_in=True)


@pytest.mark.parametrize("route", INSIDE, ids=lambda route: route.name)
async def test_a_page_needs_no_javascript(visit: Visit, lived_in: House, route: Route) -> None:
    page = await visit(pages.who_looks(route), java_script_enabled=False)
    await assert_needs_no_javascript(page, route, lived_in.home)

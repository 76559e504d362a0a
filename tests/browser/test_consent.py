"""Nothing is set and nobody is asked before anybody agreed: cookies and requests of a visit, without a signal, with GPC and with DNT."""

from urllib.parse import urlsplit

import pytest

from gateway.cookies import cookies
from tests.browser import pages
from tests.browser.conftest import Visit
from tests.browser.house import House

SIGNALS = {"none": {}, "gpc": {"Sec-GPC": "1"}, "dnt": {"DNT": "1"}}


SEEN = {"nobody": ("/", "/models", "/privacy", "/login", "/signup"), "owner": ("/", "/models", "/dashboard", "/dashboard/privacy")}


@pytest.mark.parametrize("signal", sorted(SIGNALS))
@pytest.mark.parametrize("who", sorted(SEEN))
async def test_a_visit_sets_only_declared_cookies_and_asks_nobody_else(visit: Visit, lived_in: House, who: str, signal: str) -> None:
    page = await visit(who, extra_http_headers=SIGNALS[signal])
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    for path in SEEN[who]:
        await page.goto(path)
    jar = {cookie["name"] for cookie in await page.context.cookies()}
    assert jar <= {cookie.name for cookie in cookies().cookie}
    assert bool(jar) == (who == "owner")
    assert asked == {urlsplit(lived_in.origin).netloc}
    assert await page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert pages.known("/.well-known/gpc.json")

"""The guards of these tests can fail: a page with every fault that they look for is caught, one fault at a time."""

import asyncio
import contextlib
import http.server
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.axe import assert_accessible
from tests.browser.corpus import SCRIPTS
from tests.browser.watch import Watch
from tests.browser.windows import window

GOOD = "<!doctype html><html lang=en><title>T</title><link rel=icon href=data:,><main><h1>T</h1>{}</main></html>"
FAULTS = {
    "a script runs": ("<script>window.__xss = 1</script>", "a script ran"),
    "a dialog opens": ("<script>alert(1)</script>", "dialog"),
    "a script fails": ("<script>nothing()</script>", "nothing is not defined"),
    "a script complains": ("<script>console.error('oh')</script>", "oh"),
    "another host is asked": ("<img alt=x src=http://example.com/x.png>", "another host"),
    "a part is missing": ("<img alt=x src=/missing.png>", "404"),
    "the policy is broken": ("<img alt=x src=http://127.0.0.1:1/x.png>", "CSP"),
}
UNREADABLE = "<p style='color:#aaa;background:#fff'>Hardly to be read</p>"


class Pages(http.server.BaseHTTPRequestHandler):
    """`/0` is the first body, and so on; what is called missing is not there."""

    bodies: tuple[str, ...] = ()
    policy = ""

    def do_GET(self) -> None:
        number = self.path.strip("/")
        body = self.bodies[int(number)] if number.isdigit() else ""
        self.send_response(404 if number.startswith("missing") else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", self.policy)
        self.end_headers()
        self.wfile.write(GOOD.format(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(*bodies: str, policy: str = "img-src 'self' data: http://example.com x:") -> Iterator[str]:
    handler = type("Served", (Pages,), {"bodies": bodies, "policy": policy})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def heard(page: Page, watch: Watch, number: int, told: str) -> bool:
    """Whether the watch complains so within a second."""
    watch.complaints.clear()
    await page.goto(f"/{number}")
    for _ in range(50):
        if any(told in complaint for complaint in watch.complaints):
            return True
        await asyncio.sleep(0.02)
    return False


@pytest_asyncio.fixture(loop_scope="session")
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as opened:
        yield opened


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_page_with_a_fault_is_caught(browser: Browser, stack: contextlib.AsyncExitStack, fault: str) -> None:
    body, told = FAULTS[fault]
    with served(body) as url:
        watch = Watch()
        assert await heard(await window(stack, browser, watch, url), watch, 0, told), watch.complaints


async def test_a_page_without_a_fault_is_left_alone(browser: Browser, stack: contextlib.AsyncExitStack) -> None:
    with served("<p>All is well.</p>") as url:
        watch = Watch()
        page = await window(stack, browser, watch, url)
        await page.goto("/0", wait_until="networkidle")
        watch.assert_clean()


async def test_payloads_run_where_nothing_is_escaped(browser: Browser, stack: contextlib.AsyncExitStack) -> None:
    with served(*SCRIPTS) as url:
        watch = Watch()
        page = await window(stack, browser, watch, url)
        tame = [payload for number, payload in enumerate(SCRIPTS) if not await heard(page, watch, number, "a script ran")]
    assert not tame


@pytest.mark.parametrize("body", [UNREADABLE, "<img src=data:,>", "<input>", "<button></button>"])
async def test_what_axe_must_find_it_finds(browser: Browser, stack: contextlib.AsyncExitStack, body: str) -> None:
    with served(body, policy="script-src 'none'") as url:
        page = await window(stack, browser, Watch(), url)
        await page.goto("/0")
        with pytest.raises(AssertionError, match=r"color-contrast|image-alt|label|button-name"):
            await assert_accessible(page)

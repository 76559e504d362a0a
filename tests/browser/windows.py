"""Opens a window of the browser: watched, of a known size, and signed in by the cookie of a session."""

import contextlib
from typing import Any

from playwright.async_api import Browser, Page

from gateway.dashboard.visitor import COOKIE
from tests.browser.watch import Watch

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
WAIT_MS = 10_000


async def window(
    stack: contextlib.AsyncExitStack, browser: Browser, watch: Watch, origin: str, token: str | None = None, **options: Any
) -> Page:
    """A page in a context of its own, which the stack closes; `options` are those of the context. This is where tests sign in."""
    context = await browser.new_context(**{"base_url": origin, "viewport": DESKTOP, "reduced_motion": "reduce", **options})
    stack.push_async_callback(context.close)
    context.set_default_timeout(WAIT_MS)
    await watch.over(context)
    if token is not None:
        await context.add_cookies([{"name": COOKIE, "value": token, "url": origin, "httpOnly": True, "sameSite": "Lax"}])
    return await context.new_page()

"""The browser of the tests: Debian's Chromium, driven by Playwright, with no way to any host but this machine."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator

from playwright.async_api import Browser, async_playwright

from tests.path.absent import absent

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-domain-reliability"),
    *("--force-color-profile=srgb", "--font-render-hinting=none"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def program() -> str:
    """The path of the browser; where there is none, an error in CI and elsewhere a skip. `TOLLWAY_TEST_CHROMIUM` chooses another one."""
    wanted = os.environ.get("TOLLWAY_TEST_CHROMIUM")
    found = next(filter(None, map(shutil.which, (wanted,) if wanted else NAMES)), None)
    return found or absent("no Chromium: apt-get install chromium fonts-dejavu-core, or name one with TOLLWAY_TEST_CHROMIUM")


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser; `playwright install`, which would download one, is never needed."""
    executable = program()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, headless=True, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()

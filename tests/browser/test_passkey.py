"""Signing up, a passkey made and used in a real browser, and the pages at the door: nothing for axe to find, and they fit a phone."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.axe import assert_accessible
from tests.browser.watch import Watch
from tests.browser.windows import PHONE, window
from tests.path.person import PASSWORD
from tests.path.person import Browser as Reader
from tests.running import Tollway

EMAIL = "passkey@example.com"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("door")
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{folder / 'tollway.db'}", "TOLLWAY_MAIL_FOLDER": str(folder / "mail")}
    running = Tollway(settings, folder / "log")
    running.environment["TOLLWAY_PUBLIC_URL"] = f"http://localhost:{running.port}"
    running.start()
    try:
        yield Reader(running, Path(folder) / "mail", EMAIL)
    finally:
        running.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, door: Reader) -> AsyncIterator[Page]:
    watch = Watch()
    async with AsyncExitStack() as stack:
        yield await window(stack, browser, watch, door.origin)
        watch.assert_clean()


async def test_somebody_signs_up_adds_a_passkey_and_comes_back_with_it(page: Page, door: Reader) -> None:
    debugger = await page.context.new_cdp_session(page)
    await debugger.send("WebAuthn.enable")
    device = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    await debugger.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    await page.goto("/signup")
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up").click()
    await page.get_by_role("heading", name="Look into your mail").wait_for()
    await page.goto(door.wait_for("/link/verify"))
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Confirm and sign in").click()
    await page.goto("/dashboard/settings")
    await page.get_by_label("Name of the passkey").fill("Test device")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_text("The passkey is added.").wait_for()
    await assert_accessible(page)
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.get_by_text("You are signed out.").wait_for()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.wait_for_url("**/dashboard")
    await page.goto("/dashboard/settings")
    await page.get_by_role("button", name="Set up an authenticator").click()
    await page.locator("svg.qr").wait_for()
    await assert_accessible(page)


DOOR = ("/signup", "/verify", "/login", "/reset", "/link/verify", "/link/reset", "/link/email", "/login/link", "/unsubscribe")


@pytest.mark.parametrize("path", DOOR)
async def test_the_pages_at_the_door_are_accessible_and_fit_a_phone(page: Page, path: str) -> None:
    await page.goto(f"{path}?token=abc")
    await assert_accessible(page)
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await page.emulate_media(color_scheme="dark")
    await assert_accessible(page, looks_only=True)

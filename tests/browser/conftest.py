"""Fixtures for pages in a browser: one Chromium and one furnished Tollway per test process, and a fresh, watched window for each test."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.chromium import chromium
from tests.browser.house import House, house
from tests.browser.watch import Watch
from tests.browser.windows import window
from tests.fakes.process import Fake, fake_provider

HERE = Path(__file__).parent

Visit = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser belongs to the event loop that started it: all these tests share one loop."""
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def fake() -> Iterator[Fake]:
    with fake_provider() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lived_in(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """The furnished Tollway; tests that change what others look at use `house` themselves."""
    async with house(fake, tmp_path_factory.mktemp("house")) as built:
        yield built


@pytest.fixture
def watch() -> Watch:
    """What the browser complained about in this test; `visit` asks it at the end."""
    return Watch()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, lived_in: House, watch: Watch) -> AsyncIterator[Visit]:
    """`await visit("owner")` is a page in a window of its own, signed in; options are those of a browser context."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(who: str = "nobody", *, at: House = lived_in, **options: Any) -> Page:
            return await window(stack, browser, watch, at.origin, at.tokens.get(who), **options)

        yield opened
    watch.assert_clean()

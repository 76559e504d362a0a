"""A Tollway for tests of signing in, with mails in a folder and single sign-on at a fake provider, and somebody with a browser."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, Oidc, oidc_provider
from tests.path.person import PASSWORD, SESSION, Browser, Seen
from tests.running import Tollway

NEW = "another long password"
NUMBER = itertools.count(1)
MASTER_KEYS = {"operator": "1", "verified_at": "1", "person_id": "per_x", "blocked_at": "", "id": "per_x", "totp_since": "1"}

New = Callable[[], Browser]


@pytest.fixture(scope="module")
def provider() -> Iterator[Oidc]:
    with oidc_provider() as running:
        yield running


@pytest.fixture(scope="module")
def tollway(provider: Oidc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tollway]:
    folder = tmp_path_factory.mktemp("sign-in")
    settings = {
        "TOLLWAY_DATABASE_URL": f"sqlite:///{folder / 'tollway.db'}", "TOLLWAY_MAIL_FOLDER": str(folder / "mail"),
        "TOLLWAY_OIDC_ISSUER": provider.url, "TOLLWAY_OIDC_CLIENT_ID": CLIENT_ID, "TOLLWAY_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "TOLLWAY_OIDC_NAME": "Fake", "FOLDER": str(folder),
    }  # fmt: skip
    running = Tollway(settings, folder / "tollway.log")
    running.environment["TOLLWAY_PUBLIC_URL"] = f"http://localhost:{running.port}"
    running.start()
    try:
        yield running
        log = (folder / "tollway.log").read_text()
        assert not [word for word in ("Traceback", PASSWORD, NEW) if word in log]
    finally:
        running.kill()


@pytest.fixture
def new(tollway: Tollway) -> New:
    def make() -> Browser:
        folder = Path(tollway.environment["FOLDER"])
        return Browser(tollway, folder / "mail", f"person-{next(NUMBER)}@example.com")

    return make


@pytest.fixture
def ann(new: New) -> Browser:
    """Somebody who is signed in."""
    browser = new()
    assert browser.sign_up().status == 303
    return browser


def sql(browser: Browser, statement: str, *values: object) -> list[tuple[object, ...]]:
    with sqlite3.connect(Path(browser.tollway.environment["FOLDER"]) / "tollway.db", timeout=10) as database:
        return database.execute(statement, values).fetchall()


def replayed(browser: Browser, cookie: str) -> bool:
    """Whether a cookie of before still lets anybody in."""
    return Browser(browser.tollway, browser.mails, cookies={SESSION: cookie}).is_in


def new_sign_in(browser: Browser) -> Seen:
    browser.cookies = {}
    return browser.sign_in()

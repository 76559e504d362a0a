"""Fixtures for whole paths: one fake provider for the run, and for each database one real Tollway in front of it."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.fakes.process import Fake, fake_provider
from tests.path.models import catalog
from tests.path.place import UPSTREAM_KEY, Place
from tests.running import tollway

pytest.register_assert_rewrite("tests.path.claims")

SHORT_TIMES = {
    "TOLLWAY_HEALTH": "off",  # what one test breaks is not to reroute the next one
    "TOLLWAY_CONNECT_SECONDS": "0.5",
    "TOLLWAY_FIRST_BYTE_SECONDS": "0.7",
    "TOLLWAY_IDLE_SECONDS": "0.8",
    "TOLLWAY_ANSWER_SECONDS": "0.9",
    "TOLLWAY_COMMENT_SECONDS": "0.3",
    "TOLLWAY_RESPONSE_BYTES_MAX": str(4 << 20),
}
CONNECTIONS_MAX = 60


@pytest.fixture(scope="session")
def fake() -> Iterator[Fake]:
    """The fake provider; every Tollway of the run speaks to it."""
    with fake_provider() as running:
        yield running


@pytest.fixture(scope="session")
def path_settings(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings for a Tollway whose catalog has a model for every fault; times are short. Only the database is missing."""
    file = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    with unanswered_address() as silent:
        file.write_text(catalog(working=fake.base_url, refusing=f"http://127.0.0.1:{servers.free_port()}/v1", silent=silent))
        yield {**SHORT_TIMES, "TOLLWAY_CATALOG": str(file), "FAKE_API_KEY": UPSTREAM_KEY}


@pytest.fixture(scope="session", params=("sqlite", "postgres"))
def place(
    request: pytest.FixtureRequest, fake: Fake, path_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A running Tollway, once on SQLite and once on PostgreSQL."""
    folder = tmp_path_factory.mktemp(f"place-{request.param}")
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder / 'tollway.db'}"
        if request.param == "postgres":
            template = request.getfixturevalue("postgres_template")
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url"), template=template))
        running = stack.enter_context(tollway({**path_settings, "TOLLWAY_DATABASE_URL": url}, Path(folder)))
        yield stack.enter_context(contextlib.closing(Place(tollway=running, fake=fake, database_url=url)))


@pytest.fixture
def quiet(place: Place) -> Iterator[Place]:
    """`place` with an empty fake's ledger; afterwards nothing is held, nothing in flight, and the fake had no error of its own."""
    place.fake.reset()
    yield place
    place.wait_until_idle()
    connections = place.fake.connections()
    assert connections["open"] <= CONNECTIONS_MAX, connections
    assert place.fake.health()["ok"], place.fake.health()


@contextlib.contextmanager
def unanswered_address() -> Iterator[str]:
    """The base URL of a server whose queue of connections is full: who connects waits for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"

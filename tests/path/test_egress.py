"""Every connection that a server opens, while everything it can send to is on, leads to somebody who is in the list of third parties."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.settings import Settings
from gateway.subprocessors import Party, parties
from providers import catalog
from tests import servers
from tests.fakes.process import Fake
from tests.path import routes
from tests.path.otlp_trap import Trap, trap
from tests.path.routes import MODELS, Crossing
from tests.running import ROOT, tollway

EMBEDDING = """
[[model]]
id = "acme/vectors"
context_length = 1000
output_modalities = ["embeddings"]
[[endpoint]]
model = "acme/vectors"
provider = "cheap"
upstream_model = "vectors"
capabilities = ["text", "embeddings"]
price = { prompt = "1", completion = "0" }
"""
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Watched(NamedTuple):
    place: Crossing
    traces: Trap
    events: Trap
    settings: Settings
    log: Path

    def connected(self) -> set[str]:
        return set(self.log.read_text().splitlines())

    def declared(self) -> list[Party]:
        return parties(catalog.load(self.settings.catalog), self.settings, keys=set())


@pytest.fixture(scope="module")
def watched(
    fake: Fake, postgres_url: str, postgres_template: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("egress")
    shutil.copy(ROOT / "tests/path/egress_log.py", folder / "sitecustomize.py")
    (folder / "catalog.toml").write_text(routes.catalog(fake.base_url) + EMBEDDING)
    with trap() as traces, trap() as events, servers.database(postgres_url, template=postgres_template) as database:
        environment = {
            "TOLLWAY_DATABASE_URL": database,
            "TOLLWAY_REDIS_URL": redis_url,
            "TOLLWAY_CATALOG": str(folder / "catalog.toml"),
            "TOLLWAY_POSTHOG_KEY": "phc_a-key",
            "TOLLWAY_POSTHOG_HOST": events.url,
            OTLP: traces.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            routes.KEY: "k",
        }
        (folder / "egress").touch()
        settings = Settings(
            database_url=database,
            redis_url=redis_url,
            catalog=str(folder / "catalog.toml"),
            posthog_host=events.url,
            environment=environment,
        )
        watching = {"PYTHONPATH": str(folder), "EGRESS_LOG": str(folder / "egress")}
        with tollway({**environment, **watching}, folder, cold=True) as running:
            yield Watched(Crossing(running, fake, running.account("5")), traces, events, settings, folder / "egress")


def test_a_server_that_sends_to_all_it_can_connects_to_nobody_else(watched: Watched) -> None:
    place = watched.place
    for stream in (True, False):
        assert place.ask(stream=stream, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]).status == 200
    assert place.ask(messages=[{"role": "user", "content": _picture()}]).status in (200, 400, 404)
    assert place.send("POST", "embeddings", {"model": "acme/vectors", "input": "a"}).status == 200
    message = {"role": "user", "content": "a"}
    assert place.send("POST", "messages", {"model": MODELS[1], "max_tokens": 9, "messages": [message]}).status == 200
    watched.traces.wait_for_spans(5)
    until = time.monotonic() + 15
    while not watched.events.events and time.monotonic() < until:
        time.sleep(0.1)
    assert watched.events.events
    known = {party.address: party.kind.kind for party in watched.declared()}
    seen = watched.connected()
    assert seen, "the server writes down where it goes"
    hosts = {address.rpartition(":")[0] for address in known}
    strangers = {address for address in seen if address not in known and not (address.endswith(":0") and address[:-2] in hosts)}
    assert strangers == set()
    assert {known[address] for address in seen & set(known)} == {"provider", "analytics", "tracing", "database", "limits"}


def _picture() -> list[dict[str, object]]:
    """An image on a host that nobody knows: the provider may fetch it, Tollway never does."""
    return [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/never.png"}}, {"type": "text", "text": "what is it?"}]

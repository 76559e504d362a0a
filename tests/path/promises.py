"""What the tests of routing share: a model with four unlike endpoints, two with two prices, and the provider's book by endpoint."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.faults import Json
from tests.fakes.process import Fake, fake_provider
from tests.path.client import Answer, ask
from tests.prove.outage import account_on
from tests.running import Account, Tollway, tollway

ALL, OTHER, TWO, CACHED = "m/all", "m/other", "m/two", "m/cached"
CATALOG = """
{providers}
[[model]]
id = "m/all"
context_length = 10000
[[model]]
id = "m/other"
context_length = 10000
[[model]]
id = "m/two"
context_length = 10000
[[model]]
id = "m/cached"
context_length = 10000
[[endpoint]]
model = "m/all"
provider = "a"
upstream_model = "all-a"
quantization = "fp8"
price = {{ prompt = "1", completion = "2" }}
[[endpoint]]
model = "m/all"
provider = "b"
upstream_model = "all-b"
quantization = "bf16"
parameters = ["temperature", "top_k"]
price = {{ prompt = "2", completion = "4" }}
[[endpoint]]
model = "m/all"
provider = "c"
upstream_model = "all-c"
quantization = "int4"
price = {{ prompt = "0.5", completion = "1" }}
[[endpoint]]
model = "m/all"
provider = "d"
upstream_model = "all-d"
price = {{ prompt = "0", completion = "0" }}
[[endpoint]]
model = "m/other"
provider = "a"
upstream_model = "other-a"
price = {{ prompt = "1", completion = "2" }}
[[endpoint]]
model = "m/other"
provider = "c"
upstream_model = "other-c"
price = {{ prompt = "1", completion = "2" }}
[[endpoint]]
model = "m/two"
provider = "a"
upstream_model = "two-a"
price = {{ prompt = "1", completion = "1" }}
[[endpoint]]
model = "m/two"
provider = "b"
upstream_model = "two-b"
price = {{ prompt = "2", completion = "2" }}
[[endpoint]]
model = "m/cached"
provider = "a"
upstream_model = "cached-a"
price = {{ prompt = "1", completion = "1", cached_prompt = "0.1" }}
[[endpoint]]
model = "m/cached"
provider = "b"
upstream_model = "cached-b"
price = {{ prompt = "1.1", completion = "1.1", cached_prompt = "0.1" }}
"""
PROVIDERS = {
    "a": 'data_policy = { trains = false, retention_days = 0 }\nregion = "eu"',
    "b": 'data_policy = { trains = false, retention_days = 30 }\nregion = "eu"',
    "c": 'data_policy = { trains = true }\nregion = "us"',
    "d": "",
}
UPSTREAM = tuple(f"{model.partition('/')[2]}-{slug}" for model in (ALL, OTHER, TWO, CACHED) for slug in PROVIDERS)


@dataclass
class Routes:
    """A running Tollway with one funded account."""

    tollway: Tollway
    fake: Fake
    account: Account
    database_url: str

    def ask(self, model: str, headers: dict[str, str] | None = None, *, key: str = "", **body: Json) -> Answer:
        return ask(self.tollway.port, key or self.account.key, model, headers=headers, **body)

    def tried(self) -> list[str]:
        """What the provider was asked for since the last reset, in order."""
        return [row["model"] for row in self.fake.ledger()]

    def fail(self, *names: str) -> None:
        for name in names or UPSTREAM:
            self.fake.fault(name, fault="status", status=500)


@contextlib.contextmanager
def routes(folder: Path, shared: Fake | None = None, **settings: Any) -> Iterator[Routes]:
    """On SQLite in `folder`, before a fake provider of its own or the `shared` one."""
    with contextlib.nullcontext(shared) if shared else fake_provider() as fake:
        rows = [_provider(slug, fake, more) for slug, more in PROVIDERS.items()]
        catalog, url = folder / "catalog.toml", f"sqlite:///{folder}/tollway.db"
        catalog.write_text(CATALOG.format(providers="".join(rows)))
        with tollway({"TOLLWAY_DATABASE_URL": url, "TOLLWAY_CATALOG": str(catalog), **settings}, folder) as running:
            yield Routes(running, fake, account_on(url), url)


def _provider(slug: str, fake: Fake, more: str) -> str:
    return f'[[provider]]\nslug = "{slug}"\ndialect = "openai"\nbase_url = "{fake.base_url}"\n{more}\n'

"""A Tollway with a choice: models with three endpoints at three prices, each of its own name at the fake provider, on both databases."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import servers
from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.running import Account, Tollway, tollway

PRICES = {
    "cheap": {"prompt": "0.15", "completion": "0.6"},
    "middle": {"prompt": "0.2", "completion": "0.7"},
    "dear": {"prompt": "0.4", "completion": "1.1"},
}
"""By provider, USD per million tokens: near enough to each other that each is drawn now and then."""
MODELS = ("acme/one", "acme/two")
KEY = "FAKE_API_KEY"


class Crossing(NamedTuple):
    """A running Tollway with health off, so that what decides is the price and the rules; the fake's ledger says who was called."""

    tollway: Tollway
    fake: Fake
    account: Account

    def ask(self, model: str = MODELS[0], key: str = "", **body: Any) -> Answer:
        return ask(self.tollway.port, key or self.account.key, model, **body)

    def key(self, *options: str) -> str:
        created = self.tollway.cli_json("key", "create", "--account", self.account.account_id, *options)
        return str(created["key"])

    def send(self, method: str, path: str, body: object = None, key: str = "") -> Answer:
        """`body`: bytes as they are, anything else as JSON; `path` below /v1."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.tollway.port, timeout=30)) as connection:
            headers = {"Authorization": f"Bearer {key or self.account.key}", "Content-Type": "application/json"}
            connection.request(method, f"/v1/{path}", raw, headers)
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def called(self) -> list[str]:
        """The names that the fake was called by, oldest first: `one-cheap` is acme/one at cheap."""
        return [row["model"] for row in self.fake.ledger()]


@contextlib.contextmanager
def crossing(database: str, fake: Fake, folder: Path, request: pytest.FixtureRequest, **settings: str) -> Iterator[Crossing]:
    """On `sqlite` or `postgres`, with one funded account."""
    (folder / "catalog.toml").write_text(catalog(fake.base_url))
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder / 'tollway.db'}"
        if database == "postgres":
            template = request.getfixturevalue("postgres_template")
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url"), template=template))
        wanted = {"TOLLWAY_DATABASE_URL": url, "TOLLWAY_CATALOG": str(folder / "catalog.toml"), "TOLLWAY_HEALTH": "off", KEY: "k"}
        running = stack.enter_context(tollway({**wanted, **settings}, folder))
        yield Crossing(running, fake, running.account())


def catalog(base_url: str) -> str:
    """The TOML. `dear` promises to keep nothing, `middle` not to train, `cheap` says nothing."""
    policies = {"cheap": "", "middle": "data_policy = { trains = false, retention_days = 30 }\n",
                "dear": "data_policy = { trains = false, retention_days = 0 }\n"}  # fmt: skip
    rows = [f'[[model]]\nid = "{model}"\ncontext_length = 100000\n' for model in MODELS]
    for slug, policy in policies.items():
        rows.append(f'[[provider]]\nslug = "{slug}"\ndialect = "openai"\nbase_url = "{base_url}"\napi_key_env = "{KEY}"\n{policy}')
        rows += [_endpoint(model, slug) for model in MODELS]
    return "\n".join(rows)


def _endpoint(model: str, slug: str) -> str:
    price = ", ".join(f'{unit} = "{usd}"' for unit, usd in PRICES[slug].items())
    upstream = f"{model.partition('/')[2]}-{slug}"
    head = f'[[endpoint]]\nmodel = "{model}"\nprovider = "{slug}"\nupstream_model = "{upstream}"\nmax_output_tokens = 8192\n'
    return f"{head}price = {{ {price} }}\n"

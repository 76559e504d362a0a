"""What hostile tests need: a catalog over the fake provider, a plain HTTP client that sends any bytes, and the books as SQL sees them."""

import contextlib
import http.client
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.fakes.process import Fake, fake_provider
from tests.running import Account, Tollway, tollway

MODEL = "acme/fast-1"
CATALOG = """
[[model]]
id = "{model}"
context_length = 128000
[[provider]]
slug = "acme-cloud"
name = "Acme Cloud"
dialect = "openai"
base_url = "{base_url}"
api_key_env = "ACME_API_KEY"
[[endpoint]]
model = "{model}"
provider = "acme-cloud"
upstream_model = "{upstream}"
max_output_tokens = 8192
price = {{ prompt = "0.15", completion = "0.60" }}
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, in the one shape that every refusal has."""
        assert self.headers["content-type"] == "application/json", self.body
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code", "metadata"}
        assert error["code"] == self.status
        assert error["message"]
        return error


class Client:
    """One keep-alive connection; the server is expected to keep it."""

    def __init__(self, port: int, key: str | None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def chat(self, body: object, headers: dict[str, str] | None = None) -> Answer:
        """`body`: bytes or an iterable of them (sent chunked) as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        return self.send("POST", "/v1/chat/completions", raw, {"Content-Type": "application/json", **(headers or {})})

    def send(self, method: str, path: str, body: bytes | Iterable[bytes] = b"", headers: dict[str, str] | None = None) -> Answer:
        self._connection.request(method, path, body=body, headers={**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def close(self) -> None:
        self._connection.close()


class Books(NamedTuple):
    """The money of a SQLite installation: everything that a refused request must leave as it was."""

    holds: int
    open_holds: int
    held: int
    posted: int
    generations: int


class Place(NamedTuple):
    """A running Tollway over a running fake provider, with one funded account."""

    tollway: Tollway
    fake: Fake
    account: Account
    database: Path
    clients: contextlib.ExitStack

    def books(self) -> Books:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            sums = "SELECT COALESCE(SUM(held), 0), COALESCE(SUM(posted), 0) FROM account WHERE kind = 'prepaid'"
            holds = connection.execute("SELECT COUNT(*), COUNT(*) FILTER (WHERE state = 0) FROM hold").fetchone()
            count = connection.execute("SELECT COUNT(*) FROM generation").fetchone()[0]
            return Books(*holds, *connection.execute(sums).fetchone(), count)

    def client(self, key: str | None = "") -> Client:
        """With the account's own key, another one, or None; closed with the place."""
        return self.clients.enter_context(contextlib.closing(Client(self.tollway.port, self.account.key if key == "" else key)))


@contextlib.contextmanager
def place(folder: Path, *, credit: str = "10", upstream: str = "fast-1", **settings: str) -> Iterator[Place]:
    """Tollway on SQLite in `folder`; the model `acme/fast-1` is the fake's `upstream`, which may be the name of a fault."""
    with fake_provider() as fake:
        catalog = folder / "catalog.toml"
        catalog.write_text(CATALOG.format(model=MODEL, base_url=fake.base_url, upstream=upstream))
        database = folder / "tollway.db"
        wanted = {
            "TOLLWAY_DATABASE_URL": f"sqlite:///{database}",
            "TOLLWAY_CATALOG": str(catalog),
            "ACME_API_KEY": "acme-key",
            **settings,
        }
        with tollway(wanted, folder) as running, contextlib.ExitStack() as clients:
            yield Place(running, fake, running.account(credit), database, clients)


def ask(**fields: object) -> dict[str, Any]:
    """A small request, with these fields changed or added."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **fields}

"""A gateway with everything that could keep a word of a client switched on: database, Redis, logs, traces, events, temporary folder."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import books, servers
from tests.path.otlp_trap import Trap, trap
from tests.prove.canary_provider import Provider, scripted
from tests.running import Account, Tollway

SETTINGS = {
    "TOLLWAY_HEALTH": "off",
    "TOLLWAY_FIRST_BYTE_SECONDS": "0.5",
    "TOLLWAY_IDLE_SECONDS": "0.5",
    "TOLLWAY_ANSWER_SECONDS": "0.9",
    "TOLLWAY_BODY_BYTES_MAX": "1000000",
    "TOLLWAY_POSTHOG_KEY": "phc_test",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "FAKE_API_KEY": "sk-upstream",
    "PYTHONFAULTHANDLER": "1",
}
OPT_INS = ("chat_history", "traces_with_content", "evaluation_sets", "memories", "product_improvement")
"""Each of a feature of its own; none of them lets prompts or answers be kept."""
PRICE = 'price = { prompt = "1", completion = "2", cached_prompt = "0.1" }'
EMAIL = "owner@example.com"
"""Of all three accounts; the one who signs in looks at the oldest."""
CATALOG = """[[provider]]
slug = "first"
dialect = "openai"
base_url = "{url}"
api_key_env = "FAKE_API_KEY"
[[provider]]
slug = "second"
dialect = "openai"
base_url = "{url}"
api_key_env = "FAKE_API_KEY"
[[model]]
id = "acme/one"
context_length = 100000
[[endpoint]]
model = "acme/one"
provider = "first"
upstream_model = "one"
max_output_tokens = 8192
{price}
[[endpoint]]
model = "acme/one"
provider = "second"
upstream_model = "one"
max_output_tokens = 8192
{price}
[[model]]
id = "acme/vectors"
context_length = 100000
[[endpoint]]
model = "acme/vectors"
provider = "first"
upstream_model = "vectors"
max_output_tokens = 1
capabilities = ["embeddings"]
{price}
"""


class Site:
    """`owner` keeps to the default, `open` has logging on, `stranger` has asked nothing. `ids` are the generations so far."""

    def __init__(self, tollway: Tollway, provider: Provider, caught: Trap, folder: Path, database_url: str, redis_url: str) -> None:
        self.tollway, self.provider, self.caught, self.folder = tollway, provider, caught, folder
        self.database_url, self.redis_url = database_url, redis_url
        self.owner = self.open = self.stranger = Account("", "")
        self.ids: list[str] = []
        self.statuses: list[int] = []
        self._cookie = ""

    def post(self, route: str, body: Any, headers: dict[str, str] | None = None, key: str = "") -> tuple[int, bytes]:
        """A dict gets the model where it names none."""
        raw = body if isinstance(body, bytes) else json.dumps({"model": "acme/one", **body}).encode()
        return self.send("POST", route, raw, headers, key)

    def get(self, path: str, key: str = "") -> tuple[int, bytes]:
        return self.send("GET", path, b"", None, key)

    def send(self, method: str, path: str, raw: bytes, headers: dict[str, str] | None = None, key: str = "") -> tuple[int, bytes]:
        """`path` below /v1, or from the root."""
        sent = {"Authorization": f"Bearer {key or self.owner.key}", "Content-Type": "application/json", **(headers or {})}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.tollway.port, timeout=30)) as connection:
            with contextlib.suppress(OSError):  # it may answer before it has read all
                connection.request(method, path if path.startswith("/") else f"/v1/{path}", raw, sent)
            response = connection.getresponse()
            self._note(response.getheader("x-generation-id"))
            self.statuses.append(response.status)
            try:
                return response.status, response.read()
            except (http.client.HTTPException, OSError):
                return response.status, b""

    def leave(self, raw: bytes, *, until: bytes, announced: int = 0, headers: dict[str, str] | None = None) -> None:
        """Sends a chat request and closes the connection when `until` has come."""
        self.ask(raw, until=until, announced=announced, headers=headers).close()

    def ask(self, raw: bytes, *, until: bytes, announced: int = 0, headers: dict[str, str] | None = None) -> socket.socket:
        sent = {"host": "x", "authorization": f"Bearer {self.owner.key}", "content-length": str(announced or len(raw)), **(headers or {})}
        plug = socket.create_connection(("127.0.0.1", self.tollway.port), timeout=10)
        head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items()) + "\r\n"
        plug.sendall(head.encode() + raw)
        received = b""
        while until and until not in received.partition(b"\r\n\r\n")[2]:
            data = plug.recv(65536)
            if not data:
                raise EOFError(received[-300:])
            received += data
        self._note(received.partition(b"x-generation-id: ")[2].partition(b"\r\n")[0].decode())
        return plug

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(books.sql(self.database_url, *statements))

    def sign_in(self) -> str:
        """The cookie of the owner, who is an operator too."""
        if not self._cookie:
            self.tollway.cli("person", "sign-in-link", "--email", EMAIL)
            self.tollway.cli("person", "operator", "--email", EMAIL)
            token = self.tollway.cli_json("person", "sign-in-link", "--email", EMAIL)["link"].partition("token=")[2]
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.tollway.port, timeout=30)) as connection:
                headers = {"Origin": f"http://127.0.0.1:{self.tollway.port}", "Content-Type": "application/x-www-form-urlencoded"}
                connection.request("POST", "/login/link", f"token={token}", headers)
                answer = connection.getresponse()
                assert answer.status == 303, answer.read()[-500:]
                self._cookie = str(answer.getheader("set-cookie")).partition(";")[0]
        return self._cookie

    @property
    def on_postgres(self) -> bool:
        return self.database_url.startswith("postgres")

    @contextlib.contextmanager
    def refusing_claims(self) -> Iterator[None]:
        """Every Idempotency-Key is an error of the database that nobody foresaw."""
        table = "idempotency_claim"
        begin, end = f"ALTER TABLE {table} RENAME TO away", f"ALTER TABLE away RENAME TO {table}"
        if not self.on_postgres:
            begin, end = f"CREATE TRIGGER t BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END", "DROP TRIGGER t"
        self.sql(begin)
        try:
            yield
        finally:
            self.sql(end)

    def start(self) -> None:
        """Opens the accounts and sees to it that nothing is hidden by compression. On Postgres the owner has every other opt-in on."""
        self.tollway.start()
        if self.on_postgres:
            self.sql(*(statement for (statement,) in self.sql(_PLAINLY)))
        self.owner, self.open, self.stranger = (self.tollway.account("5") for _ in range(3))
        for account, path, change in (
            (self.open, "account/privacy", {"logging": "full"}),
            (self.owner, "account/routing", {"resumable_streams": True}),
            *([(self.owner, "account/privacy", dict.fromkeys(OPT_INS, True))] if self.on_postgres else []),
        ):
            status, body = self.send("PATCH", path, json.dumps(change).encode(), key=account.key)
            assert status == 200, body

    def _note(self, id: str | None) -> None:
        if id:
            self.ids.append(id)


_PLAINLY = """SELECT format('ALTER TABLE %I ALTER COLUMN %I SET STORAGE EXTERNAL', table_name, column_name)
    FROM information_schema.columns WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'jsonb', 'json')"""
"""One at a time: a transaction over all of them would meet the server's chores in a deadlock."""


@contextlib.contextmanager
def site(database: str, folder: Path, *, with_redis: bool) -> Iterator[Site]:
    """On `sqlite` or on `postgres`, whose log shows what is written with its values; tapes and routes are in Redis or in memory."""
    for name in ("temp", "data"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        provider, caught = stack.enter_context(scripted()), stack.enter_context(trap())
        url, redis = f"sqlite:///{folder / 'data' / 'tollway.db'}", ""
        if database == "postgres":
            url = stack.enter_context(servers.postgres())
        if with_redis:
            redis = stack.enter_context(servers.redis())
        (folder / "catalog.toml").write_text(CATALOG.format(url=provider.base_url, price=PRICE))
        settings = {
            **SETTINGS,
            "TOLLWAY_DATABASE_URL": url,
            "TOLLWAY_REDIS_URL": redis,
            "TOLLWAY_CATALOG": str(folder / "catalog.toml"),
            "TOLLWAY_POSTHOG_HOST": caught.url,
            "TOLLWAY_LOG_FORMAT": "json" if database == "postgres" else "text",
            "OTEL_EXPORTER_OTLP_ENDPOINT": caught.url,
            "TMPDIR": str(folder / "temp"),
            "HOME": str(folder / "temp"),
        }
        at = Site(Tollway(settings, folder / "tollway.log", cold=True), provider, caught, folder, url, redis)
        if at.on_postgres:
            at.sql("ALTER SYSTEM SET log_statement = 'mod'")
            at.sql("ALTER SYSTEM SET wal_compression = off")
            at.sql("SELECT pg_reload_conf()")
        try:
            at.start()
            yield at
        finally:
            at.tollway.kill()

"""What the proofs of availability run: three providers of one model at one price, clients that ask without end, and what became of it.

The provider `one` is a fake provider of its own, so that it can be absent; `two` and `three` share another. A first byte takes 250 ms,
so that the shortest time-out is no slow answer and the noise of a busy machine is no time-out.
"""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.commands import accounts
from gateway.settings import Settings
from tests import books
from tests.fakes.process import Fake, fake_provider
from tests.running import SECRET, Account, Tollway, tollway
from tests.servers import free_port

MODEL = "fake/shared"
PROVIDERS = ("one", "two", "three")
NORMAL: dict[str, Any] = {"fault": "slow-first-token", "ms": 250, "tokens": 5}
REFUSED = "connection refused"
CHEAPEST = "stall of the cheapest"
"""Here `one` costs half as much as the others, so that two thirds of all requests are drawn to it and time out together."""
FAULTS: dict[str, dict[str, Any]] = {
    REFUSED: {},
    "reset before headers": {"fault": "reset-before-headers"},
    "500": {"fault": "status", "status": 500},
    "503": {"fault": "status", "status": 503},
    "429": {"fault": "rate-limit"},
    "garbage": {"fault": "bad-json"},
    "stall before headers": {"fault": "stall-before-headers"},
    "cut stream before content": {"fault": "reset-midstream", "k": 1},
    CHEAPEST: {"fault": "stall-before-headers"},
    "401": {"fault": "leaky-error", "status": 401},
}
TIMES = {
    "TOLLWAY_CONNECT_SECONDS": "0.5",
    "TOLLWAY_FIRST_BYTE_SECONDS": "0.7",
    "TOLLWAY_IDLE_SECONDS": "0.8",
    "TOLLWAY_ANSWER_SECONDS": "0.9",
}
PERIOD_SECONDS = 0.3
"""Of one client: 16 of them ask 50 times a second."""


class Outage:
    """One Tollway, whose provider `one` can be made to fail and to recover."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, others: Fake, *, cheap: bool = False) -> None:
        self.others = others
        self._port = free_port()
        self._one = stack.enter_context(contextlib.ExitStack())
        self.one = self._one.enter_context(fake_provider(port=self._port))
        catalog = folder / "catalog.toml"
        catalog.write_text(_catalog({"one": self.one, "two": others, "three": others}, cheap=cheap))
        self.database_url = f"sqlite:///{folder}/tollway.db"
        settings = {**TIMES, "TOLLWAY_CATALOG": str(catalog), "TOLLWAY_DATABASE_URL": self.database_url}
        self.tollway: Tollway = stack.enter_context(tollway(settings, folder))
        self.account = account_on(self.database_url)
        self.heal()

    def fail(self, fault: str) -> None:
        if fault == REFUSED:
            self._one.close()
        else:
            self.one.fault("one", **FAULTS[fault])

    def heal(self) -> None:
        with contextlib.suppress(OSError):
            self.one.connections()
            self._plain()
            return
        self.one = self._one.enter_context(fake_provider(port=self._port))
        self._plain()

    def served(self) -> int:
        """Answers that `one` gave to the end."""
        return sum(row["outcome"] == "served" for row in self.one.ledger("one"))

    async def attempts(self, ids: list[str]) -> dict[str, int]:
        """How many attempts each of these generations took, by its row."""
        wanted = set(ids)
        rows = await books.sql(self.database_url, "SELECT id, attempts FROM generation")
        return {str(id): len(json.loads(str(attempts))) for id, attempts in rows if id in wanted}

    def _plain(self) -> None:
        self.one.fault("one", **NORMAL)
        for name in ("two", "three"):
            self.others.fault(name, **NORMAL)


@dataclass
class Shot:
    """One request: `at` is its beginning (monotonic seconds), `first_byte` the seconds to the first byte; `ok` = a whole answer."""

    at: float
    ok: bool = False
    status: int = 0
    first_byte: float = math.inf
    generation_id: str = ""
    said: str = ""


@dataclass
class Traffic:
    """`clients` at once, every second request streamed."""

    place: Outage
    clients: int = 16
    shots: list[Shot] = field(default_factory=list)
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> "Traffic":
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self.clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def since(self, moment: float, until: float = math.inf) -> list[Shot]:
        return [shot for shot in self.shots if moment <= shot.at < until]

    async def _client(self, number: int) -> None:
        await asyncio.sleep(PERIOD_SECONDS * number / self.clients)
        while not self._stopping:
            shot = Shot(time.monotonic())
            await ask(shot, self.place.tollway.port, self.place.account.key, stream=len(self.shots) % 2 == 0)
            self.shots.append(shot)
            await asyncio.sleep(max(0.0, PERIOD_SECONDS - (time.monotonic() - shot.at)))


async def ask(shot: Shot, port: int, key: str, *, stream: bool) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        shot.said = f"no connection to Tollway: {error}"
        return
    with contextlib.closing(writer):
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        start = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        shot.first_byte = time.monotonic() - shot.at
        rest = await reader.read()
    shot.status = int(start.split(" ")[1])
    shot.generation_id = start.partition("x-generation-id: ")[2].partition("\r\n")[0]
    whole = b"[DONE]" in rest if stream else b'"chat.completion"' in rest
    shot.ok = shot.status == 200 and whole and b'"content":"' in rest and b'"error"' not in rest
    shot.said = "" if shot.ok else rest.decode("utf-8", "replace")[-300:]


def percentile(shots: list[Shot], percent: int) -> float:
    """Seconds to the first byte; of a failed request for ever."""
    times = sorted(shot.first_byte if shot.ok else math.inf for shot in shots)
    return times[min(len(times) - 1, len(times) * percent // 100)]


def account_on(database_url: str) -> Account:
    settings = Settings(database_url=database_url, secret_key=SECRET)
    created = asyncio.run(accounts.create_account(settings, email="owner@example.com", credit="100"))
    return Account(created["account_id"], created["key"])


@contextlib.contextmanager
def outage(folder: Path, *, cheap: bool = False) -> Iterator[Outage]:
    """`cheap`: `one` costs half as much as the others."""
    with contextlib.ExitStack() as stack:
        yield Outage(folder, stack, stack.enter_context(fake_provider()), cheap=cheap)


def _catalog(fakes: dict[str, Fake], *, cheap: bool) -> str:
    rows = [f'[[model]]\nid = "{MODEL}"\ncontext_length = 100000\n']
    for name, fake in fakes.items():
        rows.append(f'[[provider]]\nslug = "{name}"\nname = "{name}"\ndialect = "openai"\nbase_url = "{fake.base_url}"\n')
        price = 'price = { prompt = "0.5", completion = "1" }' if cheap and name == "one" else 'price = { prompt = "1", completion = "2" }'
        rows.append(f'[[endpoint]]\nmodel = "{MODEL}"\nprovider = "{name}"\nupstream_model = "{name}"\nmax_output_tokens = 1000\n{price}\n')
    return "".join(rows)

"""`python -m tests.prove.points`: a request is ended at every point at which it waits for something, and the books must be right each time.

A request's life is counted in awaits. For each await and each way to end there, a forked gateway on a real SQLite file serves one request
of an account of its own up to that await; then the process is gone (`die`: before what it waits for has come, `die-late`: when it has come
but nobody knows yet), or its owner is cancelled, or hears an error that nobody foresaw. The next gateway recovers what was left. In the
end `verify` finds nothing, nothing is held, and `judge` compares every charge with what the client had and what the provider emitted.
Exit status 1 on any violation.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sqlmodel import Session

from gateway.api import chat_body
from gateway.api.chat_reply import ChatJson, ChatStream
from gateway.generation import Generation, Interrupt, State
from gateway.ids import Ids
from gateway.pipeline import answer
from gateway.services import Services
from gateway.settings import Settings
from gateway.streaming import Writer
from metering import ledger, recovery, tokens
from metering.batch import RECOVERED, SETTLED, VOID
from metering.money import now_ms
from migrations.upgrade import upgrade
from policy.caller import Caller
from tests import books
from tests.fakes.process import Fake, fake_provider
from tests.prove import scorecard
from tests.prove.client import Seen, take
from tests.prove.judge import Verdict, judge
from tests.prove.rig import TOKEN, Rig
from tests.running import SECRET

HOWS: Final = ("die", "die-late", "cancel", "raise")
MODELS = {
    "plain": "fast-1",
    "slow": "slow-tokens@ms=4,tokens=40",
    "untold": "missing-usage+slow-tokens@ms=4,tokens=20",
    "fallback": "status",
    "broken": "close-midstream",
    "long": "endless@tokens=6000",
}
SECONDS = {"fallback": "fast-1"}
BEAT_SECONDS = 0.02
"""So that there are checkpoints in lives of milliseconds."""
RICH = 10**10
IDS = Ids()


@dataclass(frozen=True)
class Scenario:
    """One kind of request. `credit` in nano-USD; `leaves_after`: so many writes, then the client is gone; `points_max`: so many awaits."""

    model: str
    stream: bool
    credit: int = RICH
    limited: bool = False
    leaves_after: int | None = None
    points_max: int = 1000


SCENARIOS: Final = {
    "streamed": Scenario("plain", True),
    "whole": Scenario("plain", False),
    "slow": Scenario("slow", True),
    "without usage": Scenario("untold", True),
    "second endpoint": Scenario("fallback", True),
    "whole from the second endpoint": Scenario("fallback", False),
    "broken": Scenario("broken", True),
    "client leaves": Scenario("slow", True, leaves_after=6),
    "limited key": Scenario("plain", True, limited=True),
    "extended": Scenario("long", True, credit=5000 * TOKEN, points_max=40),
}


class Proof:
    """One scenario over one SQLite file; each point is a process, an account and a client's record of its own."""

    def __init__(self, rig: Rig, folder: Path, scenario: Scenario) -> None:
        self._rig, self._folder, self._scenario = rig, folder, scenario
        self._clients: list[Path] = []
        self._accounts = 0
        catalog = rig.settings["TOLLWAY_CATALOG"]
        self._settings = Settings(database_url=rig.database_url, catalog=catalog, secret_key=SECRET, drain_seconds=0.1, health="off")

    def awaits(self) -> int:
        """Of an undisturbed life, which must be served as it was meant to be: else nothing would be proven."""
        self._live(-1, "die")
        seen = _seen(self._clients[0])
        if seen.status != 200:
            raise RuntimeError(f"an undisturbed request got {seen.status}: {seen.body}")
        return int((self._folder / "awaits").read_text())

    def end_at(self, step: int, how: str) -> None:
        self._live(step, how)

    def _live(self, step: int, how: str) -> None:
        number = len(self._clients)
        limits = (f"lim_{number}",) if self._scenario.limited else ()
        caller = Caller(account_id=f"acc_{number}", key_id="key_test", kind="owner", limits=limits)
        record = self._folder / f"client-{number}"
        self._clients.append(record)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                logging.disable()
                asyncio.run(self._serve(caller, record, step, how))
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, KILLED):
            raise RuntimeError(f"the gateway ended with {code} at await {step}, {how}")

    async def open_accounts(self, count: int) -> None:
        """With a limit each, of which only some scenarios know."""
        async with books.connected(self._rig.database_url) as database:
            await database.write(lambda session: upgrade(session.connection()))
            await database.write(_open_accounts, first=self._accounts, count=count, credit=self._scenario.credit, now=now_ms())
        self._accounts += count

    async def _serve(self, caller: Caller, record: Path, step: int, how: str) -> None:
        recovery.BEAT_SECONDS = BEAT_SECONDS  # type: ignore[misc]
        at = await Services.open(self._settings)
        client = Client(record, self._scenario.leaves_after)
        of = _generation(self._scenario, caller, client, prompt=record.name)
        client.of = of
        stepped = Stepped(of, answer(of, at), step, how)
        of.owner = asyncio.get_running_loop().create_task(stepped.run())
        with contextlib.suppress(asyncio.CancelledError, Unforeseen):
            await of.owner
        (self._folder / "awaits").write_text(str(stepped.steps))
        await at.close()

    async def verdict(self, fake: Fake) -> tuple[Verdict, list[str]]:
        """With all violations, after one more gateway has recovered what the last one left."""
        at = await Services.open(self._settings)
        await at.close()
        seen = [_seen(record) for record in self._clients]
        verdict = judge(seen, await self._rig.ended(), fake.ledger())
        wrong = verdict.violations + [f"{check.id}: {check.figure} {check.rows}" for check in await self._rig.verify()]
        return verdict, wrong + [f"{id} is still held" for id in await self._rig.open_holds()]


KILLED: Final = 9


class Unforeseen(Exception):
    """Something that no part of the gateway knows."""


class Client:
    """Writes what it is sent to a file at once, as far as a dead process's socket would have delivered it."""

    def __init__(self, record: Path, leaves_after: int | None) -> None:
        self._file = record.open("ab", buffering=0)
        self._leaves_after = leaves_after
        self._writes = 0
        self.of: Generation | None = None

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._file.write(json.dumps({"status": message["status"], "headers": headers}).encode() + b"\n")
            return
        self._file.write(message.get("body", b""))
        self._writes += 1
        if self._writes == self._leaves_after and self.of is not None:
            asyncio.get_running_loop().call_soon(self.of.interrupt, Interrupt.CLIENT_LEFT)


class Stepped:
    """Runs the owner's work and, at its `step`-th await, ends it in one of HOWS."""

    def __init__(self, of: Generation, work: Coroutine[Any, Any, None], step: int, how: str) -> None:
        self.of, self.work, self.step, self.how = of, work, step, how
        self.steps = 0

    async def run(self) -> None:
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            try:
                future = self.work.throw(error) if error else self.work.send(None)
            except StopIteration:
                return
            here, error = self.steps == self.step, None
            self.steps += 1
            if here and self.how == "die":
                os._exit(KILLED)
            if here and self.how == "cancel" and self.of.owner is not None:
                asyncio.get_running_loop().call_soon(self.of.owner.cancel)
            try:
                yield future
            except BaseException as thrown:  # noqa: BLE001 - passed on to the coroutine
                error = thrown
            if here and self.how == "die-late":
                os._exit(KILLED)
            if here and self.how == "raise" and self.of.state is not State.ENDING:  # in the end only the ledger speaks, and it tries again
                error = Unforeseen("at this await")


def _open_accounts(session: Session, *, first: int, count: int, credit: int, now: int) -> None:
    for number in range(first, first + count):
        account = f"acc_{number}"
        ledger.open_account(session, id=account, now=now)
        books.move(session, id=f"dep_{number}", account_id=account, amount=credit, now=now)
        ledger.open_limit(session, id=f"lim_{number}", amount=credit // 2, reset="daily", now=now)


def _generation(scenario: Scenario, caller: Caller, client: Client, *, prompt: str) -> Generation:
    body = {"model": f"fake/{scenario.model}", "messages": [{"role": "user", "content": prompt}], "stream": scenario.stream}
    request = chat_body.parse(json.dumps(body).encode())
    now = now_ms()
    id = IDS.generation(now)
    writer = Writer(client.send)
    writer.headers.append((b"x-generation-id", id.encode()))
    reply = ChatStream(writer, include_usage=False) if scenario.stream else ChatJson(writer)
    return Generation(id=id, request=request, caller=caller, reply=reply, created_ms=now, clock=asyncio.get_running_loop().time())


def _seen(record: Path) -> Seen:
    seen = Seen(record.name)
    head, _, body = record.read_bytes().partition(b"\n") if record.exists() else (b"", b"", b"")
    if not head:
        return seen
    start = json.loads(head)
    seen.status, seen.generation_id = start["status"], start["headers"].get("x-generation-id", "")
    if start["headers"].get("content-type", "").startswith("text/event-stream"):
        for line in body.split(b"\n"):
            if line.startswith(b"data: "):
                take(line[6:].strip(), seen, keep_text=False)
    elif body:
        seen.body = json.loads(body, parse_float=Decimal)
    return seen


def sweep(name: str, *, fake: Fake, every: int, hows: tuple[str, ...] = HOWS) -> tuple[str, int, list[str]]:
    """(one line about it, points ended at, violations)"""
    scenario = SCENARIOS[name]
    fake.reset()
    with tempfile.TemporaryDirectory(prefix="tollway-points-") as path:
        folder = Path(path)
        rig = Rig(database_url=f"sqlite:///{folder}/tollway.db", fake_url=fake.base_url, models=MODELS, folder=folder, seconds=SECONDS)
        proof = Proof(rig, folder, scenario)
        asyncio.run(proof.open_accounts(1))
        awaits = proof.awaits()
        stride = max(every, -(-awaits // scenario.points_max))
        points = [(step, how) for step in range(0, awaits, stride) for how in hows]
        asyncio.run(proof.open_accounts(len(points)))
        for step, how in points:
            proof.end_at(step, how)
        verdict, wrong = asyncio.run(proof.verdict(fake))
    ends = f"{verdict.states[SETTLED]} settled, {verdict.states[VOID]} void, {verdict.states[RECOVERED]} recovered"
    return f"{name}: {awaits} awaits, {len(points)} points, {ends}, {len(wrong)} violations", len(points), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="default: all; may be repeated")
    parser.add_argument("--every", type=int, default=1, help="only every so many awaits")
    parser.add_argument("--how", choices=HOWS, action="append", help="default: all; may be repeated")
    scorecard.option(parser)
    wanted = parser.parse_args()
    start, total = time.monotonic(), 0
    found: list[str] = []
    lines: list[str] = []
    tokens.warm("o200k_base")  # once, and not in every process
    with fake_provider() as fake:
        for name in wanted.scenario or SCENARIOS:
            line, points, violations = sweep(name, fake=fake, every=wanted.every, hows=tuple(wanted.how or HOWS))
            total, found = total + points, [*found, *(f"{name}: {each}" for each in violations)]
            lines.append(line)
            print(line, flush=True)
    figures = {
        "Points": f"{total:,}, in {len(lines)} kinds of request: {', '.join(HOWS)} at each await",
        "Violations": f"{len(found)}",
        "Duration": scorecard.seconds(time.monotonic() - start),
    }
    print("\n".join([*(f"{name}: {value}" for name, value in figures.items()), *found[:40]]))
    if wanted.scorecard:
        scorecard.write("Crash points", figures, notes="\n".join(f"- {line}" for line in lines))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

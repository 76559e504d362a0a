"""A generation and its owner: wherever an interruption falls, the hold ends once, the reply ends once, and nothing stays open."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.api import chat_body
from gateway.api.chat_reply import ChatJson, ChatStream
from gateway.generation import Generation, Interrupt, State
from gateway.ids import Ids
from gateway.pipeline import answer
from gateway.services import Services
from gateway.settings import Settings
from gateway.streaming import Writer
from metering import credits, ledger
from metering.money import NANO_PER_USD, now_ms
from policy.caller import Caller
from tests.fakes.process import Fake, fake_provider
from tests.running import SECRET

IDS = Ids()
CALLER = Caller(account_id="acc_test", key_id="key_test", kind="owner")
CATALOG = """
[[provider]]
slug = "{slug}"
dialect = "openai"
base_url = "{base_url}"
[[model]]
id = "acme/{slug}"
context_length = 128000
[[endpoint]]
model = "acme/{slug}"
provider = "{slug}"
upstream_model = "{upstream}"
max_output_tokens = 100000
price = {{ prompt = "0.15", completion = "0.60" }}
"""
SECOND = """
[[endpoint]]
model = "acme/broken"
provider = "plain"
upstream_model = "fast-1"
priority = 1
price = { prompt = "1", completion = "1" }
"""


@pytest.fixture(scope="module")
def fake() -> Iterator[Fake]:
    with fake_provider() as running:
        yield running


class Place(NamedTuple):
    """The services of one process over a SQLite file and the fake provider."""

    at: Services
    database: Path

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(statement, values).fetchall()

    def account(self, id: str) -> tuple[int, int]:
        """(posted, held)"""
        [(posted, held)] = self.rows("SELECT posted, held FROM account WHERE id = ?", id)
        return posted, held

    async def open_account(self, id: str, nano: int) -> Caller:
        deposit = {"id": f"dep_{id}", "account_id": id, "amount": nano, "reason": "test", "now": now_ms()}
        await self.at.database.write(lambda session: ledger.open_account(session, id=id, now=now_ms()))
        await self.at.database.write(lambda session: credits.add(session, **deposit))
        return Caller(account_id=id, key_id="key_test", kind="owner")


@pytest.fixture
async def here(fake: Fake, tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Place]:
    database, catalog = tmp_path / "tollway.db", tmp_path / "catalog.toml"
    shutil.copy(sqlite_template, database)
    upstreams = {
        "plain": "fast-1",
        "slow": "slow-tokens@ms=3",
        "broken": "status",
        "cut": "close-midstream",
        "leaves-usage-out": "missing-usage",
        "long": "endless@tokens=6000",
    }
    rows = [CATALOG.format(slug=slug, base_url=fake.base_url, upstream=upstream) for slug, upstream in upstreams.items()]
    catalog.write_text("\n".join([*rows, SECOND]))
    settings = Settings(database_url=f"sqlite:///{database}", catalog=str(catalog), secret_key=SECRET, drain_seconds=0.1, health="off")
    at = await Services.open(settings)
    place = Place(at, database)
    await place.open_account(CALLER.account_id, 100 * NANO_PER_USD)
    yield place
    await at.close()


class Client:
    """Takes a reply as an ASGI server would; from message `lost_at` on its connection is gone and a write raises."""

    def __init__(self, lost_at: int | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.lost_at = lost_at
        self.lost = False

    async def send(self, message: dict[str, Any]) -> None:
        if self.lost_at is not None and len(self.messages) >= self.lost_at:
            self.lost = True
            raise RuntimeError("unable to perform operation on a closed transport; the handler is closed")
        self.messages.append(message)

    @property
    def ends(self) -> int:
        return sum(message["type"] == "http.response.body" and not message["more_body"] for message in self.messages)

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    def check(self) -> None:
        """One start, first; one end, last."""
        starts = [index for index, message in enumerate(self.messages) if message["type"] == "http.response.start"]
        assert starts == [0]
        assert self.ends == 1
        assert not self.messages[-1]["more_body"]


def generation(client: Client, model: str, *, stream: bool, caller: Caller = CALLER, **fields: object) -> Generation:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello there, how are you?"}], "stream": stream, **fields}
    request = chat_body.parse(json.dumps(body).encode())
    writer = Writer(client.send)
    reply = ChatStream(writer, include_usage=False) if stream else ChatJson(writer)
    now = now_ms()
    clock = asyncio.get_running_loop().time()
    return Generation(id=IDS.generation(now), request=request, caller=caller, reply=reply, created_ms=now, clock=clock)


def start(work: Coroutine[Any, Any, None], of: Generation) -> "asyncio.Task[None]":
    of.owner = asyncio.get_running_loop().create_task(work)
    return of.owner


class Stepped:
    """Awaits the owner's work, and interrupts it at its `step`-th await; `late`: when what it waits for has come already."""

    def __init__(self, of: Generation, work: Coroutine[Any, Any, None], step: int, why: Interrupt, *, late: bool) -> None:
        self.of, self.work, self.step, self.why, self.late = of, work, step, why, late
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
            if self.steps == self.step:
                self._interrupt(future)
            self.steps += 1
            try:
                error = None
                yield future
            except BaseException as thrown:  # noqa: BLE001 - passed on to the coroutine
                error = thrown

    def _interrupt(self, future: Any) -> None:
        if self.late and future is not None:
            future.add_done_callback(lambda _: self.of.interrupt(self.why))
        else:
            asyncio.get_running_loop().call_soon(self.of.interrupt, self.why)


def check_money(here: Place, of: Generation) -> tuple[int, int]:
    """(state, charge) of the generation's hold, which has ended: nothing is held, and what was charged is booked once."""
    account = of.caller.account_id
    assert here.account(account)[1] == 0
    [(state, charge)] = here.rows("SELECT state, charge FROM hold WHERE id = ?", of.id)
    assert state in (1, 2)
    booked = here.rows("SELECT COALESCE(SUM(amount), 0) FROM entry WHERE transaction_id = ? AND account_id = ?", of.id, account)
    assert booked == [(-charge,)]
    [(charged,)] = here.rows("SELECT charge FROM generation WHERE id = ?", of.id)
    assert charged == charge
    assert of.state in (State.SETTLED, State.VOID)
    assert not here.at.watch.live
    return state, charge


REQUESTS = {
    "streamed": ("acme/plain", True),
    "whole": ("acme/plain", False),
    "slow": ("acme/slow", True),
    "echo": ("tollway/echo", True),
    "second endpoint": ("acme/broken", True),
    "broken": ("acme/cut", True),
    "counted by us": ("acme/leaves-usage-out", True),
}


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "when it has come"])
@pytest.mark.parametrize("why", [Interrupt.CLIENT_LEFT, Interrupt.IDLE, Interrupt.SHUTDOWN], ids=lambda why: why.name)
@pytest.mark.parametrize("name", REQUESTS)
async def test_an_interruption_at_any_await_ends_the_hold_once_and_the_reply_once(
    here: Place, fake: Fake, name: str, why: Interrupt, late: bool
) -> None:
    model, stream = REQUESTS[name]
    for step in range(300):
        client = Client()
        of = generation(client, model, stream=stream, max_tokens=6)
        stepped = Stepped(of, answer(of, here.at), step, why, late=late)
        task = start(stepped.run(), of)
        await asyncio.wait_for(task, 10)
        assert not task.cancelling()
        _, charge = check_money(here, of)
        client.check()
        delivered = '"content":"' in client.body and '"delta"' in client.body
        assert charge == 0 or delivered or not stream
        assert charge > 0 or '{"content":"Hello' not in client.body
        if stepped.steps <= step:
            break
    else:
        raise AssertionError("never came to its end")
    assert step > 3
    async with asyncio.timeout(2):
        while fake.connections()["in_flight"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_connection_that_is_gone_at_any_write_is_charged_for_what_was_written(here: Place, name: str) -> None:
    model, stream = REQUESTS[name]
    for lost_at in range(100):
        client = Client(lost_at)
        of = generation(client, model, stream=stream, max_tokens=6)
        await asyncio.wait_for(start(answer(of, here.at), of), 10)
        _, charge = check_money(here, of)
        if not client.lost:
            break
        assert charge > 0 or '"content":"' not in client.body
    else:
        raise AssertionError("never came to its end")
    assert lost_at > 1


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "when it has come"])
async def test_an_interruption_while_a_hold_is_extended_charges_what_was_relayed_and_never_more_than_there_is(
    here: Place, late: bool
) -> None:
    """A balance for some 5,000 of 6,000 tokens: the hold starts with a quantum, is extended once in full and once in part."""
    balance, total = 3_200_000, 0
    places = [-1]
    for number in range(16):
        caller = await here.open_account(f"acc_{number}", balance)
        client = Client()
        of = generation(client, "acme/long", stream=True, caller=caller)
        stepped = Stepped(of, answer(of, here.at), places.pop(0), Interrupt.CLIENT_LEFT, late=late)
        await asyncio.wait_for(start(stepped.run(), of), 20)
        _, charge = check_money(here, of)
        client.check()
        relayed = client.body.count('"content":"word "')
        assert relayed * 600 <= charge <= balance
        assert here.account(caller.account_id) == (balance - charge, 0)
        if not number:
            assert '"finish_reason":"length"' in client.body
            assert relayed > 4096
            total = stepped.steps
            places = [total * part // 15 for part in range(15)]
    assert total > 15


async def test_an_interruption_before_the_start_sends_nothing_and_charges_nothing(here: Place, fake: Fake) -> None:
    before = len(fake.ledger())
    client = Client()
    of = generation(client, "acme/plain", stream=True)
    of.interrupt(Interrupt.CLIENT_LEFT)
    await start(answer(of, here.at), of)
    assert check_money(here, of) == (2, 0)
    assert len(fake.ledger()) == before


async def test_a_client_that_has_gone_stays_gone_and_no_other_endpoint_is_asked(here: Place, fake: Fake) -> None:
    """It leaves while the first endpoint fails; the second would have answered."""
    before = len(fake.ledger())
    of = generation(Client(), "acme/broken", stream=True)
    task = start(answer(of, here.at), of)
    while of.state is not State.DISPATCHED:
        await asyncio.sleep(0)
    of.interrupt(Interrupt.CLIENT_LEFT)
    await task
    assert check_money(here, of) == (2, 0)
    assert [attempt.provider for attempt in of.attempts] == ["broken"]
    assert len(fake.ledger()) <= before + 1


async def test_the_first_of_two_interruptions_counts(here: Place) -> None:
    client = Client()
    of = generation(client, "acme/slow", stream=True)
    task = start(answer(of, here.at), of)
    while of.state is not State.ANSWERING:
        await asyncio.sleep(0.001)
    for why in (Interrupt.IDLE, Interrupt.CLIENT_LEFT, Interrupt.TOTAL, Interrupt.SHUTDOWN):
        of.interrupt(why)
    await task
    check_money(here, of)
    assert of.attempts[-1].error_class == "ProviderTimeout"


@pytest.mark.parametrize("state", [State.NEW, State.HELD, State.ENDING, State.SETTLED, State.VOID])
async def test_outside_the_relay_an_interruption_never_reaches_the_owner(state: State) -> None:
    of = generation(Client(), "acme/plain", stream=True)

    async def work() -> None:
        of.state = state
        await asyncio.sleep(0.02)

    task = start(work(), of)
    await asyncio.sleep(0)
    for why in Interrupt:
        of.interrupt(why)
    await task
    assert not task.cancelled()
    assert of.client_gone


async def test_a_cancellation_that_is_no_interruption_passes_through(here: Place) -> None:
    of = generation(Client(), "acme/slow", stream=True)

    async def work() -> None:
        with of.relaying(0.0):
            await asyncio.sleep(10)

    task = start(work(), of)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert of.state is State.ENDING


@pytest.mark.parametrize("stream", [False, True])
async def test_a_whole_life_is_new_held_dispatched_answering_ending_settled(here: Place, stream: bool) -> None:
    client = Client()
    of = generation(client, "acme/plain", stream=stream)
    task = start(answer(of, here.at), of)
    seen = [of.state]
    while not task.done():
        seen += [of.state] if of.state is not seen[-1] else []
        await asyncio.sleep(0)
    assert of.state is State.SETTLED
    assert seen == [state for state in State if state in seen]
    client.check()
    assert client.status == 200
    assert check_money(here, of)[1] > 0


async def test_many_generations_interrupted_at_random_moments_leave_the_books_at_rest(here: Place, fake: Fake) -> None:
    clients = [Client() for _ in range(60)]
    living = [generation(client, list(REQUESTS.values())[index % 7][0], stream=bool(index % 3)) for index, client in enumerate(clients)]
    tasks = [start(answer(of, here.at), of) for of in living]
    for index, of in enumerate(living):
        await asyncio.sleep(0.002)
        of.interrupt(list(Interrupt)[index % len(Interrupt)])
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    for of, client in zip(living, clients, strict=True):
        check_money(here, of)
        client.check()

"""kill -9 of a serving process under load, seen from outside: what its clients had is charged, nothing more, and nothing stays held."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from metering.batch import RECOVERED
from tests import books, servers
from tests.fakes.process import Fake, fake_provider
from tests.prove.client import Seen, chat
from tests.prove.rig import Rig, charge_for, prompt_counted
from tests.running import Tollway

STREAMS = 5
READY_SECONDS_MAX = 10.0
RECOVERY_SECONDS_MAX = {"sqlite": 5.0, "postgres": 8.0}
TOKENS_PER_SECOND = 20
LATE_TOKENS_MAX = 2 * TOKENS_PER_SECOND
"""A second between checkpoints, and a second's slack for a busy machine."""
CREDIT = 10**10
MODELS = {"slow": "slow-tokens@ms=50,tokens=2000", "silent": "slow-first-token@ms=30000", "plain": "plain"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Fake]:
    with fake_provider() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def rig(request: pytest.FixtureRequest, provider: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp(f"recovery-{request.param}")
    provider.reset()
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder}/tollway.db"
        if request.param == "postgres":
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url")))
        yield Rig(database_url=url, fake_url=provider.base_url, models=MODELS, folder=folder)


@pytest.fixture
def gateway(rig: Rig) -> Iterator[Tollway]:
    """Not started yet."""
    gateway = rig.gateway()
    yield gateway
    with contextlib.suppress(AssertionError):
        gateway.kill()


async def test_after_kill_9_every_stream_is_charged_what_was_delivered_a_second_ago(rig: Rig, gateway: Tollway, provider: Fake) -> None:
    """Killed once more as soon as it is ready again: on Postgres before anything is recovered, on SQLite after it."""
    gateway.start()
    owner = await rig.account(CREDIT)
    asked = [Seen(f"question {number}") for number in range(STREAMS)]
    silent = Seen("a question that nobody has begun to answer")
    streams = [asyncio.create_task(chat(seen, port=gateway.port, key=owner.key, model="fake/slow", stream=True)) for seen in asked]
    streams += [asyncio.create_task(chat(silent, port=gateway.port, key=owner.key, model="fake/silent", stream=True))]
    await asyncio.sleep(2.8)
    gateway.kill()
    await asyncio.gather(*streams)
    assert all(seen.words > TOKENS_PER_SECOND and not seen.done for seen in asked)
    assert len(await rig.open_holds()) == STREAMS + 1
    await asyncio.to_thread(gateway.start)
    gateway.kill()
    recovery_seconds = await _restart(rig, gateway)

    emitted = {row["request_body"]["messages"][0]["content"]: row["completion_tokens"] for row in provider.settled(count=STREAMS + 1)}
    ended, charged = await rig.ended(), 0
    for seen in asked:
        hold = ended[seen.generation_id]
        assert hold.state == RECOVERED
        assert hold.completion is not None
        # our own count has one token more: the last word's blank
        assert seen.words - LATE_TOKENS_MAX <= hold.completion <= seen.words + 1
        assert seen.words <= emitted[seen.prompt]
        assert hold.charge == charge_for(prompt=prompt_counted(seen.prompt), completion=hold.completion)
        charged += hold.charge
    balance = await rig.balance(owner)
    assert (balance.usage, balance.held, balance.available) == (charged, 0, CREDIT - charged)
    assert recovery_seconds <= RECOVERY_SECONDS_MAX[rig.database_url.partition(":")[0].removesuffix("ql")]
    await _assert_right(rig, gateway)
    again = await chat(Seen("and on"), port=gateway.port, key=owner.key, model="fake/plain", stream=True)
    assert (again.done, again.error) == (1, None)
    entries = await books.sql(rig.database_url, "SELECT COUNT(*) FROM entry WHERE kind = 'charge' AND leg = 0")
    assert entries == [(STREAMS + 1,)], "each stream once, and the one after"


async def test_a_second_process_on_a_sqlite_file_is_refused_in_one_line(rig: Rig, gateway: Tollway) -> None:
    if not rig.database_url.startswith("sqlite"):
        pytest.skip("Postgres takes many processes")
    gateway.start()
    second = rig.gateway("second")
    done = await asyncio.to_thread(second.cli, "serve")
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "another process serves" in line
    assert "Postgres" in line
    assert gateway.get("/models")["data"]


async def _restart(rig: Rig, gateway: Tollway) -> float:
    """Seconds from ready to nothing held."""
    start = time.monotonic()
    await asyncio.to_thread(gateway.start)
    assert time.monotonic() - start <= READY_SECONDS_MAX
    return await rig.idle(max(RECOVERY_SECONDS_MAX.values()) + 2)


async def _assert_right(rig: Rig, gateway: Tollway) -> None:
    verified = await asyncio.to_thread(gateway.cli, "ledger", "verify")
    assert verified.returncode == 0, verified.stdout

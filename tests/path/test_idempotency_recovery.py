"""kill -9 of a serving process, then the same request again: what was charged is told, what was not is served, nothing is charged twice."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests import servers
from tests.fakes.process import Fake, fake_provider
from tests.path.client import Answer, ask, calling
from tests.prove.rig import Rig, charge_for
from tests.running import Account, Tollway

CREDIT = 10**10
IDLE_SECONDS_MAX = 15.0
PLANNED = "fake/planned"
KEY = {"Idempotency-Key": "one-key-for-both"}
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "a question that is asked twice"}], "stream": True}
NANO = 10**9


@pytest.fixture(scope="module")
def provider() -> Iterator[Fake]:
    with fake_provider() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def rig(request: pytest.FixtureRequest, provider: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp(f"idempotency-{request.param}")
    provider.reset()
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder}/tollway.db"
        if request.param == "postgres":
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url")))
        yield Rig(database_url=url, fake_url=provider.base_url, models={"planned": "planned"}, folder=folder)


@pytest.fixture
def gateway(rig: Rig) -> Iterator[Tollway]:
    gateway = rig.gateway()
    gateway.start()
    yield gateway
    gateway.kill()


@pytest.fixture
def owner(rig: Rig, gateway: Tollway) -> Account:
    return asyncio.run(rig.account(CREDIT))


def test_what_had_been_delivered_is_told_and_never_charged_again(rig: Rig, gateway: Tollway, owner: Account, provider: Fake) -> None:
    provider.fault("planned", fault="slow-tokens", ms=50, tokens=2000)
    id = _killed(gateway, owner, until=lambda line: line.read_until(b'"content":"', times=45))
    early = _restarted(rig, gateway, owner)
    charged = asyncio.run(rig.balance(owner)).usage
    assert charged > 0
    for answer in (early, _again(gateway, owner)):
        assert answer.status == 409, answer.body
        assert answer.headers["x-generation-id"] == id
    last = _again(gateway, owner)
    assert last.error["metadata"]["error_type"] == "idempotency_completed"
    assert last.error["metadata"]["cost"] * NANO == charged
    shown = gateway.get(f"/generation?id={id}", owner.key)["data"]
    assert (Decimal(str(shown["total_cost"])), shown["outcome"]) == (last.error["metadata"]["cost"], "recovered")
    assert len(provider.ledger("planned")) == 1
    _assert_books(rig, gateway, owner, charged)


def test_what_had_only_been_held_for_is_served(rig: Rig, gateway: Tollway, owner: Account, provider: Fake) -> None:
    """Whoever asks while nobody knows yet that the process died is told to wait."""
    provider.fault("planned", fault="slow-first-token", ms=30_000)
    _killed(gateway, owner, until=lambda line: _wait_for_hold(rig))
    provider.fault("planned")
    told = [_restarted(rig, gateway, owner), _again(gateway, owner)]
    assert {answer.status for answer in told} == {200, 409}
    [served] = [answer for answer in told if answer.status == 200]
    charged = served.usage["cost"] * NANO
    assert charged == charge_for(prompt=served.usage["prompt_tokens"], completion=served.usage["completion_tokens"]) > 0
    last = _again(gateway, owner)
    assert (last.status, last.headers["x-generation-id"]) == (409, served.headers["x-generation-id"])
    assert last.error["metadata"]["cost"] * NANO == charged
    assert len(provider.ledger("planned")) == 2, "the one that died, and the one that was served"
    _assert_books(rig, gateway, owner, int(charged))


def _killed(gateway: Tollway, owner: Account, *, until: Callable[[Any], None]) -> str:
    """Sends the request, kills every process at the moment `until`, and gives the generation's id if it was told."""
    with calling(gateway.port, owner.key, PLANNED, headers=KEY, **BODY) as line:
        until(line)
        gateway.kill()
        return line.generation_id


def _wait_for_hold(rig: Rig) -> None:
    async def wait() -> None:
        while not await rig.open_holds():
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(wait(), 10))


def _restarted(rig: Rig, gateway: Tollway, owner: Account) -> Answer:
    """What a repetition is told as soon as there is a process again; afterwards nothing of the dead one is held."""
    gateway.start()
    told = _again(gateway, owner)
    asyncio.run(rig.idle(IDLE_SECONDS_MAX))
    return told


def _again(gateway: Tollway, owner: Account) -> Answer:
    return ask(gateway.port, owner.key, PLANNED, headers=KEY, **BODY)


def _assert_books(rig: Rig, gateway: Tollway, owner: Account, charged: int) -> None:
    balance = asyncio.run(rig.balance(owner))
    assert (balance.usage, balance.held, balance.available) == (charged, 0, CREDIT - charged)
    verified = gateway.cli("ledger", "verify")
    assert verified.returncode == 0, verified.stdout

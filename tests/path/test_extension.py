"""Quantum holds seen from outside: a stream goes on as far as the money does, and not a token further."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import servers
from tests.fakes.process import Fake, fake_provider
from tests.prove.client import Seen, chat
from tests.prove.rig import COUNT, OUTPUT_MAX, TOKEN, Rig, charge_for, prompt_counted
from tests.running import Account

PROMPT = "Go on for as long as you can."
QUANTUM = 4096
FEE = 20_000_000
"""Nano-USD for one request of `fake/fee`: as much as 2,000 tokens."""
MODELS = {
    "endless": "endless@ms=0",
    "fee": "endless@ms=0,fee=1",
    "plain": "plain",
    "bulk": "big-event+slow-tokens@ms=200,bytes=60000",
}
BULK_TOKENS = COUNT("Hello " + "x" * 60_000 + " end.")


@dataclass(frozen=True)
class Here:
    """A running Tollway, its books and its provider."""

    rig: Rig
    fake: Fake
    port: int

    async def ask(self, account: Account, model: str, *, prompt: str = PROMPT, **body: Any) -> Seen:
        return await chat(Seen(prompt), port=self.port, key=account.key, model=f"fake/{model}", **body)

    async def stream(self, account: Account, model: str, *, prompt: str = PROMPT, **body: Any) -> Seen:
        return await self.ask(account, model, prompt=prompt, stream=True, **body)


@pytest.fixture(scope="module")
def provider() -> Iterator[Fake]:
    with fake_provider() as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, provider: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp(f"extension-{request.param}")
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder}/tollway.db"
        if request.param == "postgres":
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url")))
        rig = Rig(database_url=url, fake_url=provider.base_url, models=MODELS, folder=folder, fees={"fee": "0.02"})
        gateway = rig.gateway()
        stack.callback(gateway.kill)
        gateway.start()
        yield Here(rig, provider, gateway.port)


@pytest.fixture
async def here(running: Here) -> AsyncIterator[Here]:
    """Afterwards nothing is held and the books are right."""
    running.fake.reset()
    yield running
    await running.rig.idle(3)
    assert await running.rig.verify() == []


def _money_for(tokens: int, *, prompt: str = PROMPT, odd: int = TOKEN // 2) -> int:
    """The prompt, so many tokens, and half a token that buys nothing."""
    return charge_for(prompt=prompt_counted(prompt), completion=tokens) + odd


async def _assert_cut_at_the_last_token(here: Here, account: Account, seen: Seen, fault: str, *, fee: int = 0) -> None:
    assert seen.status == 200
    assert (seen.reasons, seen.done) == (["length"], 0)
    assert [choice["finish_reason"] for choice in seen.events[-2]["choices"]] == ["length"]
    assert seen.error["code"] == 402
    assert seen.error["metadata"]["reason"] == "insufficient_credits"
    usage = seen.last["usage"]
    assert usage["completion_tokens"] == COUNT(seen.text), "what is charged is what was delivered, counted in one piece"
    assert seen.cost == fee + charge_for(prompt=prompt_counted(seen.prompt), completion=usage["completion_tokens"])
    [row] = here.fake.settled(fault)
    assert row["outcome"] == "cancelled"
    assert row["completion_tokens"] >= seen.words
    balance = await here.rig.balance(account)
    assert (balance.usage, balance.held) == (seen.cost, 0)


@pytest.mark.parametrize("tokens", [2, QUANTUM, QUANTUM + 1, 2 * QUANTUM + 7])
async def test_a_stream_that_outgrows_the_balance_is_cut_at_the_last_token_it_pays_for(here: Here, tokens: int) -> None:
    owner = await here.rig.account(_money_for(tokens))
    seen = await here.stream(owner, "endless")
    await _assert_cut_at_the_last_token(here, owner, seen, MODELS["endless"])
    assert (await here.rig.balance(owner)).available == TOKEN // 2


async def test_the_fee_of_a_request_is_held_once_however_often_its_stream_is_extended(here: Here) -> None:
    owner = await here.rig.account(_money_for(2 * QUANTUM) + FEE)
    seen = await here.stream(owner, "fee")
    await _assert_cut_at_the_last_token(here, owner, seen, MODELS["fee"], fee=FEE)
    assert (await here.rig.balance(owner)).available == TOKEN // 2


async def test_a_balance_below_the_first_word_relays_and_charges_nothing(here: Here) -> None:
    """With its blank the fake's first word is two of our tokens."""
    owner = await here.rig.account(_money_for(1))
    seen = await here.stream(owner, "endless")
    assert (seen.text, seen.done, seen.error["code"]) == ("", 0, 402)
    assert (await here.rig.balance(owner)).usage == 0


async def test_a_streams_provider_is_told_the_clients_own_limit_however_small_the_balance(here: Here) -> None:
    owner = await here.rig.account(_money_for(QUANTUM))
    for asked in ({"max_tokens": 50_000}, {"max_completion_tokens": 50_000}, {}):
        seen = await here.stream(owner, "plain", **asked)
        assert (seen.reasons, seen.done, seen.error) == (["stop"], 1, None)
        sent = here.fake.settled(MODELS["plain"])[-1]["request_body"]
        assert {name: sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent} == asked


async def test_a_long_answer_on_a_balance_far_below_the_endpoints_limit_is_complete(here: Here) -> None:
    prompt = "say 10000"
    owner = await here.rig.account(_money_for(12_000, prompt=prompt))
    seen = await here.stream(owner, "plain", prompt=prompt)
    assert (seen.reasons, seen.done, seen.error, seen.words) == (["stop"], 1, None, 10_000)
    assert seen.last["usage"]["completion_tokens"] == 10_000
    [row] = here.fake.settled(MODELS["plain"])
    assert row["outcome"] == "served"
    balance = await here.rig.balance(owner)
    assert (balance.usage, balance.held) == (seen.cost, 0)


async def test_one_event_larger_than_a_quantum_is_paid_for_and_not_cut(here: Here) -> None:
    owner = await here.rig.account(_money_for(2 * BULK_TOKENS))
    seen = await here.stream(owner, "bulk")
    assert BULK_TOKENS > QUANTUM
    assert (seen.reasons, seen.done, seen.error) == (["stop"], 1, None)
    assert len(seen.text) > 60_000


async def test_one_event_larger_than_the_balance_never_leaves(here: Here) -> None:
    owner = await here.rig.account(_money_for(BULK_TOKENS - 100))
    seen = await here.stream(owner, "bulk")
    await _assert_cut_at_the_last_token(here, owner, seen, MODELS["bulk"])
    assert seen.text == "Hello"


async def test_two_streams_on_one_balance_never_take_it_below_zero(here: Here) -> None:
    owner = await here.rig.account(_money_for(6000) + charge_for(prompt=prompt_counted(PROMPT), completion=0))
    streams = [asyncio.create_task(here.stream(owner, "endless")) for _ in range(2)]
    while not all(stream.done() for stream in streams):
        balance = await here.rig.balance(owner)
        assert min(balance.available, balance.held) >= 0, balance
        await asyncio.sleep(0.01)
    seen = [stream.result() for stream in streams]
    assert [each.error["metadata"]["reason"] for each in seen] == ["insufficient_credits"] * 2
    assert all(each.last["usage"]["completion_tokens"] == COUNT(each.text) for each in seen)
    await here.rig.idle(3)
    balance = await here.rig.balance(owner)
    assert balance.usage == sum(each.cost or 0 for each in seen)
    assert 0 <= balance.available < 3 * TOKEN
    assert all(row["outcome"] == "cancelled" for row in here.fake.settled(MODELS["endless"], count=2))


async def test_a_keys_limit_ends_a_stream_though_the_account_has_money(here: Here) -> None:
    owner = await here.rig.account(100 * _money_for(OUTPUT_MAX))
    limited = await here.rig.limited_key(owner, _money_for(5000))
    seen = await here.stream(limited, "endless")
    await _assert_cut_at_the_last_token(here, owner, seen, MODELS["endless"])
    assert _money_for(5000) - 2 * TOKEN < (seen.cost or 0) <= _money_for(5000)
    refused = await here.stream(limited, "endless")
    assert refused.status == 402
    assert (await here.stream(owner, "plain")).done == 1


@pytest.mark.parametrize("asked", [None, 50, 300])
@pytest.mark.parametrize("affordable", [120, OUTPUT_MAX + 5])
async def test_without_stream_the_hold_and_the_limit_sent_are_the_smallest_of_the_three(
    here: Here, asked: int | None, affordable: int
) -> None:
    owner = await here.rig.account(_money_for(affordable) + 1_000_000)
    seen = await here.ask(owner, "plain", **({} if asked is None else {"max_tokens": asked}))
    assert seen.status == 200, seen.body
    [row] = here.fake.settled(MODELS["plain"])
    sent = row["request_body"].get("max_tokens")
    held = (await here.rig.ended())[seen.generation_id].amount
    assert held <= (await here.rig.balance(owner)).credits
    limit = min(bound for bound in (asked, affordable + 1_000_000 // TOKEN, OUTPUT_MAX) if bound is not None)
    assert sent == (None if limit == OUTPUT_MAX and asked is None else limit)
    assert _money_for(limit, odd=0) <= held < _money_for(limit, odd=0) + 1_000_000

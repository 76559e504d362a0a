"""What is charged when a stream ends badly: a test for every row of the table, each against the provider's own book."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from metering.batch import SETTLED, VOID
from tests.fakes.process import Fake, fake_provider
from tests.prove.client import Seen, chat
from tests.prove.rig import COUNT, Rig, charge_for, prompt_counted
from tests.running import Account

UNANSWERED = ("status", "rate-limit", "reset-before-headers", "empty-stream", "error-midstream@k=1", "reset-midstream@k=1")
BROKEN = ("reset-midstream", "close-midstream", "clean-eof-midstream", "error-midstream", "malformed-sse")
MODELS = {
    **{f"unanswered-{number}": fault for number, fault in enumerate(UNANSWERED)},
    **{f"broken-{number}": fault for number, fault in enumerate(BROKEN)},
    "empty": "empty-content",
    "told": "usage-every-chunk+close-midstream@k=4,text=Hello%20there%20my%20friend",
    "untold": "missing-usage+slow-tokens@ms=25,tokens=100",
    "slow": "slow-tokens@ms=20,tokens=1000",
    "plain": "plain",
}
CREDIT = 10**9


@dataclass(frozen=True)
class Here:
    """A running Tollway, its books, its provider and an account."""

    rig: Rig
    fake: Fake
    port: int
    owner: Account

    async def stream(self, model: str, **body: Any) -> Seen:
        return await chat(Seen("Tell me more."), port=self.port, key=self.owner.key, model=f"fake/{model}", stream=True, **body)

    async def charged(self, seen: Seen) -> int:
        """What was charged for it in the end."""
        await self.rig.idle(3)
        return (await self.rig.ended())[seen.generation_id].charge


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Fake, int]]:
    folder = tmp_path_factory.mktemp("charges")
    with fake_provider() as fake:
        rig = Rig(database_url=f"sqlite:///{folder}/tollway.db", fake_url=fake.base_url, models=MODELS, folder=folder)
        gateway = rig.gateway()
        gateway.start()
        try:
            yield rig, fake, gateway.port
        finally:
            gateway.kill()


@pytest.fixture
async def here(running: tuple[Rig, Fake, int]) -> AsyncIterator[Here]:
    rig, fake, port = running
    fake.reset()
    yield Here(rig, fake, port, await rig.account(CREDIT))
    assert await rig.verify() == []


def _price(completion: int) -> int:
    return charge_for(prompt=prompt_counted("Tell me more."), completion=completion)


@pytest.mark.parametrize("number", range(len(UNANSWERED)), ids=UNANSWERED)
async def test_a_failure_before_any_output_charges_nothing(here: Here, number: int) -> None:
    seen = await here.stream(f"unanswered-{number}")
    assert (seen.words, seen.status >= 400) == (0, True)
    assert await here.charged(seen) == 0
    assert (await here.rig.ended())[seen.generation_id].state == VOID


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=BROKEN)
async def test_a_stream_that_breaks_is_charged_its_prompt_and_what_was_delivered(here: Here, number: int) -> None:
    seen = await here.stream(f"broken-{number}")
    assert (seen.words, seen.done, seen.reasons[-1]) == (2, 0, "error")
    assert await here.charged(seen) == seen.cost == _price(COUNT(seen.text))
    assert seen.last["usage"]["usage_source"] == "counted"


async def test_a_stream_that_breaks_after_usage_is_charged_what_the_provider_reported(here: Here) -> None:
    seen = await here.stream("told")
    [row] = here.fake.settled(MODELS["told"])
    billed = row["reported_usage"]
    assert (seen.words, seen.done) == (3, 0)
    expected = charge_for(prompt=billed["prompt_tokens"], completion=billed["completion_tokens"])
    assert await here.charged(seen) == seen.cost == expected
    assert seen.last["usage"]["usage_source"] == "provider"


async def test_a_client_that_leaves_pays_for_what_the_provider_had_sent_and_the_provider_is_cancelled(here: Here) -> None:
    seen = Seen("Tell me more.")
    asking = asyncio.create_task(chat(seen, port=here.port, key=here.owner.key, model="fake/slow", stream=True))
    while seen.words < 20:
        await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    [row] = here.fake.settled(MODELS["slow"])
    charged = await here.charged(seen)
    hold = (await here.rig.ended())[seen.generation_id]
    assert (row["outcome"], hold.state, hold.usage_source) == ("cancelled", SETTLED, "counted")
    assert hold.completion is not None
    assert seen.words <= hold.completion <= row["completion_tokens"] + 1, "our own count has the last word's blank more"
    assert charged == _price(hold.completion)


async def test_a_provider_that_tells_no_usage_is_charged_by_our_own_count_of_the_whole_text(here: Here) -> None:
    """Long enough for checkpoints in between, which must not change the count."""
    seen = await here.stream("untold")
    assert (seen.words, seen.done, seen.last["usage"]["usage_source"]) == (100, 1, "counted")
    assert await here.charged(seen) == seen.cost == _price(COUNT(seen.text))


async def test_attempts_that_failed_cost_nothing_and_the_one_that_answered_is_charged_once(here: Here) -> None:
    seen = await here.stream("unanswered-0", models=["fake/unanswered-1", "fake/plain"])
    assert (seen.done, seen.error) == (1, None)
    [row] = here.fake.settled(MODELS["plain"])
    billed = row["billed_tokens"]
    assert sum(each["billed_tokens"]["completion_tokens"] for each in here.fake.ledger()) == billed["completion_tokens"]
    expected = charge_for(prompt=billed["prompt_tokens"], completion=billed["completion_tokens"])
    assert await here.charged(seen) == seen.cost == expected == (await here.rig.balance(here.owner)).usage


async def test_an_empty_answer_with_a_reason_to_end_is_charged_its_prompt(here: Here) -> None:
    seen = await here.stream("empty")
    [row] = here.fake.settled(MODELS["empty"])
    assert (seen.words, seen.done, seen.reasons) == (0, 1, ["stop"])
    assert await here.charged(seen) == seen.cost == charge_for(prompt=row["billed_tokens"]["prompt_tokens"], completion=0)

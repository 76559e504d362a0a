"""Group commit by itself: what forms a batch, what waits for a database that is away, and whose error an error is."""

import asyncio
from collections.abc import Callable

import pytest

from metering.batch import SETTLED, VOID, Closed, CloseJob, ExtendJob, Held, HoldJob, Job, Outcome
from metering.commit import BATCH_ROWS_MAX, QUEUE_MAX, RETRY_SECONDS, Commit
from metering.errors import DatabaseUnavailable, LedgerBusy


def hold(id: object) -> HoldJob:
    return HoldJob(id=str(id), account_id="acc", limits=(), amount=1, boot_id="boot_1")


def end(id: object) -> CloseJob:
    return CloseJob(id=str(id), charge=0, state=VOID)


class Store:
    """Writes down every batch. `fails(jobs)` says with what a batch fails, if at all; while `gate` is closed none ends."""

    def __init__(self, fails: Callable[[list[Job]], Exception | None] = lambda jobs: None) -> None:
        self.batches: list[list[str]] = []
        self.moments: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._fails = fails

    async def run(self, jobs: list[Job]) -> list[Outcome]:
        self.batches.append([job.id for job in jobs])
        self.moments.append(asyncio.get_running_loop().time())
        await self.gate.wait()
        error = self._fails(jobs)
        if error is not None:
            raise error
        return [Closed(0, VOID, True) if isinstance(job, CloseJob) else Held(int(job.id)) for job in jobs]


def away(times: int) -> Callable[[list[Job]], Exception | None]:
    """The database is away for the first so many batches."""
    left = iter([DatabaseUnavailable("away")] * times)
    return lambda jobs: next(left, None)


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_arrives_while_a_batch_is_written_forms_the_next() -> None:
    store = Store()
    store.gate.clear()
    commit = Commit(store.run)
    first = asyncio.gather(commit.submit(hold(0)), commit.submit(hold(1)))
    await _turn()
    second = asyncio.gather(*(commit.submit(hold(id)) for id in range(2, 5)))
    await _turn()
    store.gate.set()
    assert [*await first, *await second] == [Held(id) for id in range(5)]
    assert store.batches == [["0", "1"], ["2", "3", "4"]]


async def test_a_batch_has_its_limit_and_the_order_stays() -> None:
    store = Store()
    count = 2 * BATCH_ROWS_MAX + 3
    outcomes = await asyncio.gather(*map(Commit(store.run).submit, map(hold, range(count))))
    assert outcomes == [Held(id) for id in range(count)]
    assert [len(batch) for batch in store.batches] == [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 3]
    assert [id for batch in store.batches for id in batch] == [str(id) for id in range(count)]


async def test_after_its_last_batch_it_begins_again_with_the_next_job() -> None:
    store = Store()
    commit = Commit(store.run)
    for id in range(3):
        assert await commit.submit(hold(id)) == Held(id)
        await commit.flush()
    assert store.batches == [["0"], ["1"], ["2"]]


async def test_flush_returns_when_nothing_is_waiting_any_more() -> None:
    store = Store()
    store.gate.clear()
    commit = Commit(store.run)
    futures = [commit.post(hold(id)) for id in range(BATCH_ROWS_MAX + 1)]
    flushed = asyncio.create_task(commit.flush())
    await _turn()
    assert not flushed.done()
    store.gate.set()
    await flushed
    assert all(future.done() for future in futures)


async def test_while_the_database_is_away_ends_wait_in_their_order_and_holds_are_refused() -> None:
    store = Store(away(2))
    commit = Commit(store.run)
    settle = ExtendJob(id="4", target=9, partly=True)
    jobs = [end(0), hold(1), end(2), ExtendJob(id="3", target=9), settle, end(5)]
    outcomes = await asyncio.gather(*map(commit.submit, jobs), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Closed, DatabaseUnavailable, Closed, DatabaseUnavailable, Held, Closed]
    assert store.batches == [["0", "1", "2", "3", "4", "5"], ["0", "2", "4", "5"], ["0", "2", "4", "5"]]


async def test_what_came_meanwhile_stands_behind_what_was_waiting() -> None:
    store = Store(away(1))
    store.gate.clear()
    commit = Commit(store.run)
    first = asyncio.gather(commit.submit(end(0)), commit.submit(end(1)))
    await _turn()
    later = asyncio.ensure_future(commit.submit(end(2)))
    await _turn()
    store.gate.set()
    await asyncio.gather(first, later)
    assert store.batches == [["0", "1"], ["0", "1", "2"]]


async def test_each_failure_in_a_row_is_waited_for_longer_and_a_success_begins_anew() -> None:
    store = Store(away(3))
    commit = Commit(store.run)
    await commit.submit(end(0))
    waits = [later - sooner for sooner, later in zip(store.moments, store.moments[1:], strict=False)]
    assert len(waits) == 3
    assert all(seconds <= waited for waited, seconds in zip(waits, RETRY_SECONDS, strict=False))
    assert sum(waits) < 1.25
    firsts = []
    for id in range(1, 6):
        store._fails = away(1)
        store.moments.clear()
        await commit.submit(end(id))
        firsts.append(store.moments[1] - store.moments[0])
    assert RETRY_SECONDS[0] <= min(firsts) < RETRY_SECONDS[1]


async def test_an_end_whose_waiter_was_cancelled_is_written_all_the_same() -> None:
    store = Store(away(1))
    commit = Commit(store.run)
    waiter = asyncio.create_task(commit.submit(end(0)))
    await asyncio.sleep(0)
    waiter.cancel()
    await commit.flush()
    assert store.batches == [["0"], ["0"]]


async def test_an_end_that_was_answered_is_not_written_again() -> None:
    """Its neighbour failed alone, and the database went away after it."""
    seen: list[list[str]] = []

    async def run(jobs: list[Job]) -> list[Outcome]:
        seen.append([job.id for job in jobs])
        if len(jobs) == 2:
            raise ValueError("an impossible row")
        if seen.count(["1"]) == 1 and jobs[0].id == "1":
            raise DatabaseUnavailable("away")
        return [Closed(0, SETTLED, True)]

    commit = Commit(run)
    assert await asyncio.gather(commit.submit(end(0)), commit.submit(end(1))) == [Closed(0, SETTLED, True)] * 2
    assert seen == [["0", "1"], ["0"], ["1"], ["1"]]


async def test_an_impossible_job_is_its_own_waiters_error_and_nobody_elses() -> None:
    store = Store(lambda jobs: ValueError("impossible") if any(job.id == "2" for job in jobs) else None)
    outcomes = await asyncio.gather(*map(Commit(store.run).submit, map(hold, range(4))), return_exceptions=True)
    assert isinstance(outcomes[2], ValueError)
    assert [outcomes[0], outcomes[1], outcomes[3]] == [Held(0), Held(1), Held(3)]
    assert store.batches == [["0", "1", "2", "3"], ["0"], ["1"], ["2"], ["3"]]


async def test_waiters_that_left_disturb_nobody() -> None:
    for fails in (lambda jobs: None, lambda jobs: ValueError("impossible") if len(jobs) > 1 or jobs[0].id == "1" else None, away(1)):
        store = Store(fails)
        store.gate.clear()
        commit = Commit(store.run)
        tasks = [asyncio.create_task(commit.submit(job)) for job in (end(0), hold(1), end(2))]
        await _turn()
        tasks[1].cancel()
        store.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Closed, asyncio.CancelledError, Closed]
        await commit.flush()


async def test_the_queue_takes_so_many_holds_and_not_one_more_but_every_end() -> None:
    store = Store()
    store.gate.clear()
    commit = Commit(store.run)
    futures = [commit.post(hold(id)) for id in range(QUEUE_MAX)]
    for refused in (hold("over"), ExtendJob(id="over", target=1)):
        with pytest.raises(LedgerBusy, match="10000"):
            commit.post(refused)
    futures += [commit.post(end("over")), commit.post(ExtendJob(id="7", target=1, partly=True))]
    store.gate.set()
    await asyncio.gather(*futures)
    assert sum(map(len, store.batches)) == QUEUE_MAX + 2


async def test_what_waits_says_for_how_long_and_what_does_not_wait_says_nothing() -> None:
    store = Store()
    store.gate.clear()
    commit = Commit(store.run)
    assert commit.waiting_ms == 0
    written = asyncio.create_task(commit.submit(hold(1)))
    await asyncio.sleep(0.01)
    assert commit.waiting_ms == 0, "it is being written, and nothing waits behind it"
    await asyncio.sleep(0.06)
    waiting = asyncio.create_task(commit.submit(hold(2)))
    await asyncio.sleep(0)
    assert commit.waiting_ms < 50, "however long the batch before it takes"
    await asyncio.sleep(0.06)
    assert 50 <= commit.waiting_ms < 5000
    store.gate.set()
    await asyncio.gather(written, waiting)
    assert commit.waiting_ms == 0


async def test_who_is_left_over_by_a_full_batch_waits_from_then_on() -> None:
    store = Store()
    store.gate.clear()
    commit = Commit(store.run)
    jobs = [asyncio.create_task(commit.submit(hold(0)))]
    await _turn()
    jobs += [asyncio.create_task(commit.submit(hold(id))) for id in range(1, BATCH_ROWS_MAX + 2)]
    await asyncio.sleep(0.2)
    store.gate.set()
    store.gate.clear()
    await _turn()
    assert len(store.batches) == 2
    assert commit.waiting == 1
    assert commit.waiting_ms < 100, "it is the next batch's first"
    store.gate.set()
    await asyncio.gather(*jobs)


@pytest.mark.parametrize("others", [False, True])
async def test_what_is_put_back_waits_from_then_on_unless_others_wait_already(others: bool) -> None:
    store = Store(away(1))
    store.gate.clear()
    commit = Commit(store.run)
    jobs = [asyncio.create_task(commit.submit(end(0)))]
    await _turn()
    jobs += [asyncio.create_task(commit.submit(end(id))) for id in range(1, 1 + others)]
    await asyncio.sleep(0.2)
    store.gate.set()
    await _turn()
    assert commit.waiting == len(jobs)
    assert (commit.waiting_ms >= 200) is others
    await asyncio.gather(*jobs)

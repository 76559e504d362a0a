"""The rules of health on a clock that only the test moves."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.health import (
    CROWDED_MAX,
    CROWDED_MS,
    FAILURES_MAX,
    OUTAGE_MS,
    PROBE_MS,
    Circuit,
    Kind,
    NoHealth,
    Sample,
    after,
    kind_of,
    may_try,
)
from policy.health_memory import MemoryHealth
from policy.histogram import BUCKETS, ERROR, SLOT_MS, SLOTS
from policy.stats import DEFAULT, Stats
from providers.errors import (
    ConnectFailed,
    ProviderError,
    ProviderInvalidAnswer,
    ProviderOverloaded,
    ProviderRefusedKey,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRefused,
)

ID = "acme/fast-1"
SECOND = 1_000


class World:
    """One endpoint, a clock, and jitter at its least (the full time) unless the test says otherwise."""

    def __init__(self, draw: float = 0.0, endpoints_max: int = 100) -> None:
        self.now_ms = 1_000_000_000
        self.health = MemoryHealth(now_ms=lambda: self.now_ms, draw=lambda: draw, endpoints_max=endpoints_max)

    @property
    def stats(self) -> Stats:
        return self.health.stats(ID)

    def attempt(self, kind: Kind, took_ms: int = 10, first_byte_ms: int | None = 5, tokens: int | None = 10) -> None:
        self.health.started(ID)
        self.now_ms += took_ms
        self.health.ended(Sample(ID, kind, self.now_ms, first_byte_ms, tokens, took_ms))

    def fail(self, times: int = FAILURES_MAX) -> None:
        for _ in range(times):
            self.attempt(Kind.FAILED)

    def until_half_open(self) -> int:
        """Steps of 10 ms until a probe may go; returns how long it took."""
        began = self.now_ms
        while not self.stats.probe:
            self.now_ms += 10
            assert self.now_ms - began < 400 * SECOND
        return self.now_ms - began


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, Kind.OK),
        (ConnectFailed("x"), Kind.FAILED),
        (ProviderTimeout("x"), Kind.FAILED),
        (ProviderUnavailable("x"), Kind.FAILED),
        (ProviderInvalidAnswer("x"), Kind.FAILED),
        (ProviderOverloaded("x"), Kind.CAPACITY),
        (ProviderRefusedKey("x"), Kind.KEY),
        (RequestRefused("x"), Kind.REQUEST),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else type(value).__name__,
)
def test_every_error_has_its_kind(error: ProviderError | None, kind: Kind) -> None:
    assert kind_of(error) is kind


def test_every_class_of_provider_error_is_in_the_table_above() -> None:
    assert {error.__name__ for error in ProviderError.__subclasses__()} == {
        "ConnectFailed",
        "ProviderTimeout",
        "ProviderUnavailable",
        "ProviderInvalidAnswer",
        "ProviderOverloaded",
        "ProviderRefusedKey",
        "RequestRefused",
    }


def test_an_endpoint_never_seen_is_as_good_as_any() -> None:
    world = World()
    assert world.health.stats("new/model") is DEFAULT
    assert len(world.health) == 0


def test_five_failures_in_a_row_eject_and_four_do_not() -> None:
    world = World()
    world.fail(FAILURES_MAX - 1)
    assert not world.stats.ejected
    world.fail(1)
    assert world.stats.ejected
    assert not world.stats.probe
    assert not may_try(world.stats)


def test_an_answer_in_between_begins_the_count_anew() -> None:
    world = World()
    for _ in range(10):
        world.fail(FAILURES_MAX - 1)
        world.attempt(Kind.OK)
    assert not world.stats.ejected


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.CAPACITY])
def test_what_says_nothing_about_health_never_ejects_and_never_counts(kind: Kind) -> None:
    world = World()
    for _ in range(500):
        world.attempt(kind)
    assert not world.stats.ejected
    assert world.stats.uptime is None
    world.fail(FAILURES_MAX - 1)
    world.attempt(kind)
    world.fail(1)
    assert world.stats.ejected, "it does not interrupt a row of failures either"


def test_the_first_ejection_lasts_ten_seconds_and_a_probe_that_answers_ends_it() -> None:
    world = World()
    world.fail()
    assert world.until_half_open() == 10 * SECOND
    assert world.stats.ejected
    assert may_try(world.stats)
    world.attempt(Kind.OK)
    assert not world.stats.ejected
    world.fail(FAILURES_MAX - 1)
    assert not world.stats.ejected, "everything is forgotten"
    world.fail(1)
    assert world.until_half_open() == 10 * SECOND


def test_failed_probes_make_it_longer_up_to_five_minutes() -> None:
    world = World()
    world.fail()
    lasted = []
    for _ in range(13):
        lasted.append(world.until_half_open() // SECOND)
        world.attempt(Kind.FAILED)
    assert lasted == [10, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


@pytest.mark.parametrize(("draw", "lasts_ms"), [(0.0, 10_000), (0.5, 9_500), (0.999, 9_001)])
def test_the_jitter_takes_up_to_a_tenth_off(draw: float, lasts_ms: int) -> None:
    world = World(draw)
    world.fail()
    assert abs(world.until_half_open() - lasts_ms) <= 10


def test_exactly_one_of_a_hundred_concurrent_requests_becomes_the_probe() -> None:
    world = World()
    world.fail()
    world.until_half_open()
    planned = [world.stats for _ in range(100)]
    assert all(stats.probe for stats in planned)
    went = 0
    for _ in planned:
        if may_try(world.stats):
            world.health.started(ID)
            went += 1
    assert went == 1
    assert world.stats.ejected


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.CAPACITY])
def test_a_probe_that_says_nothing_frees_its_place_for_the_next(kind: Kind) -> None:
    world = World()
    world.fail()
    world.until_half_open()
    world.attempt(kind)
    assert world.stats.ejected
    assert world.stats.probe


def test_a_probe_that_never_ends_does_not_keep_its_place_for_ever() -> None:
    world = World()
    world.fail()
    world.until_half_open()
    world.health.started(ID)
    world.now_ms += PROBE_MS - SECOND
    assert not world.stats.probe
    world.now_ms += SECOND
    assert world.stats.probe


def test_old_attempts_that_end_during_an_ejection_neither_end_nor_lengthen_it() -> None:
    world = World()
    began = world.now_ms - 60 * SECOND
    world.fail()
    world.health.ended(Sample(ID, Kind.OK, world.now_ms, 5, 10, world.now_ms - began))
    assert world.stats.ejected
    world.now_ms += 10 * SECOND
    assert world.stats.probe
    world.health.ended(Sample(ID, Kind.FAILED, world.now_ms, None, None, world.now_ms - began))
    assert world.stats.probe, "a time-out that began before says nothing about now"


def test_a_request_that_had_no_other_endpoint_ends_the_ejection_by_its_answer() -> None:
    world = World()
    world.fail()
    world.now_ms += SECOND
    world.attempt(Kind.FAILED)
    assert world.stats.ejected
    world.attempt(Kind.OK)
    assert not world.stats.ejected


def test_an_odd_refusal_of_the_key_ejects_nothing() -> None:
    world = World()
    for _ in range(10):
        for _ in range(FAILURES_MAX - 1):
            world.attempt(Kind.KEY)
        world.attempt(Kind.OK)
    assert not world.stats.ejected
    assert not world.stats.key_refused


def test_a_key_refused_again_and_again_is_ejected_for_five_minutes_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "tollway.health")
    world = World()
    for _ in range(FAILURES_MAX):
        world.attempt(Kind.KEY)
    for _ in range(20):
        world.attempt(Kind.KEY)
    assert world.stats.key_refused
    assert world.stats.ejected
    assert [record.getMessage() for record in caplog.records] == [
        "provider acme refuses its key again and again (401, 402 or 403) for acme/fast-1: check the key"
    ]
    assert abs(world.until_half_open() - 300 * SECOND) <= SECOND
    world.attempt(Kind.KEY)
    assert len(caplog.records) == 2
    assert world.until_half_open() == 300 * SECOND
    world.attempt(Kind.OK)
    assert world.stats == world.health.stats(ID)
    assert not world.stats.key_refused


def test_a_customers_refused_key_leaves_the_endpoint_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    own = f"{ID}#byok_1"
    for _ in range(FAILURES_MAX):
        world.health.started(own)
        world.health.ended(Sample(own, Kind.KEY, world.now_ms, None, None, 5))
    assert world.health.stats(own).key_refused
    assert world.stats is DEFAULT
    assert "a customer's own key" in caplog.text


def test_a_failure_is_an_outage_for_thirty_seconds_or_until_an_answer() -> None:
    world = World()
    world.attempt(Kind.FAILED)
    assert world.stats.outage
    world.attempt(Kind.OK)
    assert not world.stats.outage
    world.attempt(Kind.FAILED)
    world.now_ms += OUTAGE_MS - SECOND
    assert world.stats.outage
    world.now_ms += SECOND
    assert not world.stats.outage


def test_only_an_endpoint_that_says_nothing_but_capacity_counts_as_in_an_outage_for_ten_seconds() -> None:
    world = World()
    for _ in range(50):
        for _ in range(CROWDED_MAX - 1):
            world.attempt(Kind.CAPACITY)
        assert not world.stats.outage
        world.attempt(Kind.OK)
    for _ in range(CROWDED_MAX):
        world.attempt(Kind.CAPACITY)
    for _ in range(3):
        assert world.stats.outage
        assert not world.stats.ejected
        world.now_ms += CROWDED_MS
        assert not world.stats.outage
        world.attempt(Kind.CAPACITY)
    world.attempt(Kind.OK)
    assert not world.stats.outage


def test_in_flight_is_exact_at_every_moment() -> None:
    world = World()
    for expected in (1, 2, 3):
        world.health.started(ID)
        assert world.stats.in_flight == expected
    for expected in (2, 1, 0, 0):
        world.health.ended(Sample(ID, Kind.OK, world.now_ms))
        assert world.stats.in_flight == expected


def test_uptime_needs_a_hundred_samples_and_counts_no_client_errors() -> None:
    world = World()
    for index in range(99):
        world.attempt(Kind.FAILED if index % 10 == 0 else Kind.OK)
        world.attempt(Kind.REQUEST)
        world.attempt(Kind.CAPACITY)
    world.now_ms += SECOND
    assert world.stats.uptime is None
    world.attempt(Kind.OK)
    world.now_ms += SECOND
    assert world.stats.uptime == pytest.approx(0.9)


def test_figures_leave_after_five_minutes() -> None:
    world = World()
    for _ in range(200):
        world.attempt(Kind.OK, took_ms=10, first_byte_ms=2_000, tokens=1)
    world.now_ms += SECOND
    assert world.stats.latency is not None
    assert world.stats.latency.p50 == pytest.approx(2, rel=ERROR)
    world.now_ms += 290 * SECOND
    assert world.stats.latency is not None
    world.now_ms += 2 * SLOT_MS
    assert world.stats == DEFAULT


def test_the_memory_of_an_endpoint_and_the_number_of_endpoints_are_bounded() -> None:
    world = World(endpoints_max=10)
    for number in range(10_000):
        world.health.started(f"{number % 1000}/x")
        world.health.ended(Sample(f"{number % 1000}/x", Kind.OK, world.now_ms, number, 10, number + 1))
        world.attempt(Kind.OK, took_ms=100, first_byte_ms=number + 1)
    assert len(world.health) == 10
    seen = world.health._seen[ID]
    assert len(seen.window.parts) <= SLOTS + 2
    assert sum(len(part.latency) for part in seen.window.parts.values()) <= BUCKETS * (SLOTS + 2)


def test_health_that_is_off_knows_nothing() -> None:
    health = NoHealth()
    for _ in range(FAILURES_MAX):
        health.started(ID)
        health.ended(Sample(ID, Kind.FAILED, 5))
    assert health.stats(ID) is DEFAULT


steps = st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 40_000), st.booleans()), min_size=1, max_size=60)


@given(steps=steps, draw=st.floats(0, 0.999), obedient=st.booleans())
def test_whatever_happens_the_promises_hold(steps: list[tuple[Kind, int, bool]], draw: float, obedient: bool) -> None:
    """Never ejected without five bad attempts, never for longer than five minutes; where nobody must use it, never two probes at once."""
    world, running, bad = World(draw), list[tuple[int, bool]](), 0
    for kind, wait_ms, begins in steps:
        world.now_ms += wait_ms
        if begins and (may_try(world.stats) or not obedient):
            probing = world.stats.probe
            assert not (probing and obedient and any(probe and world.now_ms - began < PROBE_MS for began, probe in running))
            world.health.started(ID)
            running.append((world.now_ms, probing))
        elif running:
            began, _ = running.pop(0)
            world.health.ended(Sample(ID, kind, world.now_ms, None, None, world.now_ms - began))
            bad += kind in (Kind.FAILED, Kind.KEY)
            circuit = world.health._seen[ID].circuit
            assert not circuit.ejected or bad >= FAILURES_MAX
            assert circuit.until_ms - circuit.since_ms <= 300 * SECOND
            assert world.stats.ejected == circuit.ejected


@given(circuit=st.builds(Circuit, until_ms=st.integers(1, 10**6), since_ms=st.integers(0, 10**6), probes=st.integers(0, 50)))
def test_any_ejection_can_end(circuit: Circuit) -> None:
    assert not after(circuit, Sample(ID, Kind.OK, 10**7), 0.0).ejected

"""GET /metrics: open to all, true, and without a word of any client."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import servers
from tests.fakes.process import Fake
from tests.path import canary
from tests.path.client import calling
from tests.path.promises import ALL, TWO, Routes, routes
from tests.path.routes import Crossing, crossing

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def here(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("metrics"), request) as place:
        yield place


def scraped(port: int) -> tuple[str, Series]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = response.read().decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation.endswith("Of this process alone.") for family in families)
    return text, {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def value(series: Series, name: str, **labels: str) -> float:
    return series.get((f"tollway_{name}", frozenset(labels.items())), 0)


def total(series: Series, name: str) -> float:
    return sum(count for (found, _), count in series.items() if found == f"tollway_{name}")


def test_a_generation_counts_once_with_its_tokens_and_its_cost(here: Crossing) -> None:
    _, before = scraped(here.tollway.port)
    answers = [here.ask(provider={"order": ["dear"]}, stream=stream) for stream in (True, False)]
    _, after = scraped(here.tollway.port)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("generations_total", model="acme/one", provider="dear", outcome="completed") == 2
    assert grown("requests_total", route="/v1/chat/completions", status="2xx") == 2
    assert grown("attempts_total", provider="dear", error="none") == 2
    assert grown("tokens_total", unit="prompt") == sum(answer.usage["prompt_tokens"] for answer in answers)
    cost = sum(Decimal(answer.usage["cost"]) for answer in answers)
    assert grown("charged_usd_total") == pytest.approx(float(cost), rel=1e-6)
    assert grown("first_byte_seconds_count", provider="dear") == 2
    for histogram in ("hold_seconds", "settle_seconds"):
        assert grown(f"{histogram}_count") == 2
        assert grown(f"{histogram}_bucket", le="+Inf") == 2
        assert 0 < grown(f"{histogram}_sum") < 20
    for gauge in ("generations_live", "holds_open", "commit_queue_length"):
        assert value(after, gauge) == 0


def test_what_a_client_makes_up_is_no_label(here: Crossing) -> None:
    _, before = scraped(here.tollway.port)
    for number in range(20):
        assert here.ask(f"{canary.CANARY}/{number}").status in (400, 404)
        assert here.send("GET", f"{canary.CANARY}/{number}").status == 404
        assert here.send("GET", f"models/{canary.CANARY}/{number}").status == 404
        assert here.send("POST", "chat/completions", b"{" + canary.CANARY.encode()).status == 400
        assert here.ask(key=f"sk-{canary.CANARY}-{number}").status == 401
    text, after = scraped(here.tollway.port)
    assert len(after.keys() - before.keys()) <= 8
    assert value(after, "generations_total", model="unknown", provider="none", outcome="refused") >= 20
    assert value(after, "requests_total", route="other", status="4xx") >= 20
    assert canary.CANARY not in text
    assert canary.CANARY not in here.tollway.log.read_text()


def test_no_word_no_key_and_no_account_is_in_it(here: Crossing) -> None:
    for number, model in enumerate(("tollway/echo", "acme/one")):
        for stream in (True, False):
            answer = here.ask(model, stream=stream, headers=canary.headers(2 * number + stream), **canary.BODY)
            assert answer.status == 200
            assert canary.CANARY.encode() in answer.body
    text, _ = scraped(here.tollway.port)
    names = [canary.CANARY, here.account.key, here.account.account_id, answer.headers["x-generation-id"], "acc_", "key_", "sk-tw", "gen-"]
    assert [name for name in names if name in text] == []
    assert canary.CANARY not in here.tollway.log.read_text()


def test_every_family_is_there_from_the_start(tmp_path: Path, fake: Fake, request: pytest.FixtureRequest) -> None:
    with crossing("sqlite", fake, tmp_path, request) as place:
        text, _ = scraped(place.tollway.port)
    families = set(re.findall(r"^# TYPE tollway_(\w+) ", text, re.MULTILINE))
    assert families == {
        *("requests_total", "generations_total", "tokens_total", "attempts_total", "health_ejections_total", "charged_usd_total"),
        *("shed_requests_total", "retries_refused_total", "limiter_failures_total", "holds_recovered_total"),
        *("generations_live", "holds_open", "commit_queue_length", "loop_lag_seconds"),
        *("hold_seconds", "settle_seconds", "first_byte_seconds"),
    }


def test_off_means_that_there_is_no_such_route(tmp_path: Path, fake: Fake, request: pytest.FixtureRequest) -> None:
    with crossing("sqlite", fake, tmp_path, request, TOLLWAY_METRICS="off") as place:
        with pytest.raises(urllib.error.HTTPError) as refused:
            scraped(place.tollway.port)
        refused.value.close()
        assert refused.value.code == 404
        assert place.ask().status == 200


def test_several_workers_mark_their_figures(tmp_path: Path, fake: Fake, request: pytest.FixtureRequest) -> None:
    with crossing("postgres", fake, tmp_path, request, TOLLWAY_WORKERS="2") as place:
        place.ask()
        _, series = scraped(place.tollway.port)
    processes = {dict(labels).get("process") for _, labels in series}
    assert len(processes) == 1
    assert processes != {None}


def test_what_runs_is_shown_what_is_too_much_is_shed_and_what_died_is_recovered(tmp_path: Path) -> None:
    with routes(tmp_path, TOLLWAY_GENERATIONS_MAX="1") as place:
        place.fake.fault("two-a", fault="slow-tokens", ms=300)
        with calling(place.tollway.port, place.account.key, TWO, stream=True, provider={"order": ["a"]}) as line:
            line.read_until(b'"content":"', 2)
            assert place.ask(TWO).status == 503
            _, series = scraped(place.tollway.port)
            place.tollway.kill()
        place.tollway.start()
        _, after = scraped(place.tollway.port)
    assert [value(series, gauge) for gauge in ("generations_live", "holds_open", "shed_requests_total")] == [1, 1, 1]
    assert [value(after, gauge) for gauge in ("generations_live", "holds_open", "holds_recovered_total")] == [0, 0, 1]


def test_a_store_of_limits_that_fails_is_counted(tmp_path: Path, fake: Fake) -> None:
    nobody = {"TOLLWAY_REDIS_URL": f"redis://127.0.0.1:{servers.free_port()}/0", "TOLLWAY_FREE_REQUESTS_PER_MINUTE": "1"}
    with routes(tmp_path, fake, **nobody) as place:
        poor = place.tollway.account("0")
        assert [place.ask(ALL, key=poor.key).status for _ in range(3)] == [200] * 3
        _, series = scraped(place.tollway.port)
    assert value(series, "limiter_failures_total") >= 3


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Routes]:
    with routes(tmp_path) as place:
        yield place


def test_failures_ejections_and_limiter_are_counted(failing: Routes) -> None:
    failing.fail("all-a")
    for _ in range(6):
        failing.ask(ALL, provider={"order": ["a", "c"]})
    _, series = scraped(failing.tollway.port)
    assert value(series, "attempts_total", provider="a", error="ProviderUnavailable") >= 5
    assert value(series, "attempts_total", provider="c", error="none") == 6
    assert value(series, "health_ejections_total", provider="a") == 1
    assert value(series, "generations_total", model=ALL, provider="c", outcome="completed") == 6

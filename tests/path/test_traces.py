"""Traces and analytics: what leaves for a collector, and what never does, seen on the wire by a trap."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import servers
from tests.fakes.process import Fake
from tests.path import canary
from tests.path.client import calling
from tests.path.otlp_trap import Trap, attributes, trap
from tests.path.promises import ALL, Routes, routes
from tests.running import Tollway

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
KEY = "phc_a-key-of-a-project"


class Watched(NamedTuple):
    """A Tollway whose traces and events go to `trap`."""

    routes: Routes
    trap: Trap


def watching(caught: Trap) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": caught.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "TOLLWAY_POSTHOG_KEY": KEY,
        "TOLLWAY_POSTHOG_HOST": caught.url,
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with trap() as caught, routes(tmp_path_factory.mktemp("traces"), TOLLWAY_HEALTH="off", **watching(caught)) as place:
        yield Watched(place, caught)


@pytest.fixture
def at(running: Watched) -> Watched:
    running.routes.fake.reset()
    time.sleep(0.3)
    running.trap.bodies.clear()
    return running


def of(spans: list[Any], name: str) -> Any:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_a_generation_is_one_trace_in_the_names_of_the_conventions(at: Watched) -> None:
    answer = at.routes.ask(ALL, provider={"order": ["a"]}, stream=True)
    (whole,) = at.trap.wait_for_spans(1, "chat ")
    spans = at.trap.wait_for_spans(5)
    assert {span.name for span in spans} == {f"chat {ALL}", "route", "hold", "attempt", "settle"}
    assert {span.trace_id for span in spans} == {whole.trace_id}
    assert {span.parent_span_id for span in spans if span is not whole and span.name != whole.name} == {whole.span_id}
    assert attributes(whole) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": ALL,
        "gen_ai.response.model": ALL,
        "gen_ai.provider.name": "a",
        "gen_ai.usage.input_tokens": answer.usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer.usage["completion_tokens"],
        "gen_ai.response.finish_reasons": ["stop"],
        "tollway.generation.id": answer.headers["x-generation-id"],
        "tollway.outcome": "completed",
    }
    order = [of(spans, name) for name in ("route", "hold", "attempt", "settle")]
    for each in order:
        assert whole.start_time_unix_nano <= each.start_time_unix_nano <= each.end_time_unix_nano <= whole.end_time_unix_nano
    starts = [each.start_time_unix_nano for each in order]
    assert starts[:2] == sorted(starts[:2])
    assert order[-1].start_time_unix_nano >= order[1].end_time_unix_nano
    assert any("x-tenant: blue" in head.lower() for head in at.trap.heads)


def test_every_attempt_has_a_span_and_a_failed_one_its_class(at: Watched) -> None:
    at.routes.fail("all-a")
    at.routes.ask(ALL, provider={"order": ["a", "c"]})
    at.trap.wait_for_spans(6)
    attempts = sorted((attributes(span) for span in at.trap.spans if span.name == "attempt"), key=lambda each: each["gen_ai.provider.name"])
    assert [(each["gen_ai.provider.name"], each["http.response.status_code"], each.get("error.type")) for each in attempts] == [
        ("a", 500, "ProviderUnavailable"),
        ("c", 200, None),
    ]
    whole = attributes(of(at.trap.spans, f"chat {ALL}"))
    assert whole["gen_ai.provider.name"] == "c"
    assert "error.type" not in whole


def test_a_refusal_has_its_type_and_no_name_of_the_clients(at: Watched) -> None:
    assert at.routes.ask(f"acme/{canary.CANARY}").status == 400
    (whole,) = at.trap.wait_for_spans(1, "chat ")
    assert whole.name == "chat unknown"
    assert attributes(whole)["gen_ai.request.model"] == "unknown"
    assert attributes(whole)["error.type"] == "invalid_request"
    assert whole.status.code == 2


def test_a_client_that_leaves_is_seen(at: Watched) -> None:
    at.routes.fake.fault("all-a", fault="slow-tokens", ms=100)
    with calling(at.routes.tollway.port, at.routes.account.key, ALL, stream=True, provider={"order": ["a"]}) as line:
        line.read_until(b'"content":"', 2)
    (whole,) = at.trap.wait_for_spans(1, "chat ")
    assert attributes(whole)["tollway.outcome"] == "cancelled"
    assert attributes(whole)["error.type"] == "client_left"


def test_the_trace_of_a_client_is_joined_and_one_that_is_not_sampled_stays_unsent(at: Watched) -> None:
    at.routes.ask(ALL, {"traceparent": f"00-{TRACE}-{PARENT}-00"})
    at.routes.ask(ALL, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    (whole,) = at.trap.wait_for_spans(1, "chat ")
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, PARENT)


@pytest.mark.parametrize("traceparent", ["", "garbage", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", "ÿ" * 300])
def test_a_traceparent_that_is_none_begins_a_new_trace(at: Watched, traceparent: str) -> None:
    assert at.routes.ask(ALL, {"traceparent": traceparent}).status == 200
    (whole,) = at.trap.wait_for_spans(1, "chat ")
    assert whole.parent_span_id == b""
    assert whole.trace_id.hex() != TRACE


def test_under_logging_none_nothing_leaves(at: Watched) -> None:
    at.routes.ask(ALL, {"X-Tollway-Logging": "none"})
    at.routes.ask("tollway/echo")
    at.trap.wait_for_spans(1, "chat ")
    assert {span.name for span in at.trap.spans if span.name.startswith("chat")} == {"chat tollway/echo"}


def test_no_word_of_prompt_answer_user_or_title_leaves(at: Watched) -> None:
    for number, model in enumerate(("tollway/echo", ALL, f"acme/{canary.CANARY}")):
        for stream in (True, False):
            answer = at.routes.ask(model, canary.headers(2 * number + stream), stream=stream, **canary.BODY)
            assert answer.status in (200, 400)
            assert canary.CANARY.encode() in answer.body
    at.trap.wait_for_spans(6, "chat ")
    seen = b"".join(body for _, body in at.trap.bodies) + "".join(at.trap.heads).encode()
    assert len(seen) > 2000
    secret = (canary.CANARY, at.routes.account.key, at.routes.account.account_id)
    assert [word for word in secret if word.encode() in seen] == []
    assert canary.CANARY not in at.routes.tollway.log.read_text()


# Analytics


def test_an_event_has_figures_and_words_of_a_closed_list_and_nobody_in_it(tmp_path: Path, fake: Fake) -> None:
    with trap() as caught, routes(tmp_path, fake, **watching(caught)) as place:
        place.ask(ALL, {"Sec-GPC": "1"})
        place.ask(ALL, {"DNT": "1"})
        place.ask(ALL, {"X-Tollway-Logging": "none"})
        answer = place.ask(ALL, {**canary.headers(1), "DNT": "0"}, stream=True, **canary.BODY)
        assert answer.status == 200
        assert place.tollway.stop() == 0
    ((_, body),) = [each for each in caught.bodies if each[0] == "/batch/"]
    assert json.loads(body)["api_key"] == KEY
    (event,) = caught.events
    assert event.keys() == {"event", "distinct_id", "timestamp", "properties"}
    assert event["event"] == "generation_ended"
    assert event["properties"].pop("duration_ms") >= 0
    assert event["properties"] == {
        "operation": "chat",
        "outcome": "completed",
        "streamed": True,
        "attempts": 1,
        "prompt_tokens": answer.usage["prompt_tokens"],
        "completion_tokens": answer.usage["completion_tokens"],
        "$process_person_profile": False,
        "$geoip_disable": True,
    }
    for secret in (canary.CANARY, place.account.key, place.account.account_id, answer.headers["x-generation-id"]):
        assert secret.encode() not in body


# Off, and a collector that is not there


def test_without_the_settings_nothing_is_loaded_and_nothing_is_sent(tmp_path: Path, fake: Fake) -> None:
    with trap() as caught, routes(tmp_path, fake) as place:
        assert place.ask(ALL).status == 200
        loaded = Path(f"/proc/{place.tollway.pid}/maps").read_text()
        assert place.tollway.stop() == 0
    assert not caught.bodies
    assert "google/_upb" not in loaded


def test_a_collector_that_is_down_costs_no_request_and_no_stop(tmp_path: Path, fake: Fake) -> None:
    nowhere = Trap()
    nowhere.port = servers.free_port()
    with routes(tmp_path, fake, **watching(nowhere)) as place:
        for _ in range(20):
            answer = place.ask(ALL)
            assert answer.status == 200
        _stops_within(place.tollway, 15)


def _stops_within(tollway: Tollway, seconds: float) -> None:
    began = time.monotonic()
    assert tollway.stop() == 0
    assert time.monotonic() - began < seconds

"""The anthropic dialect through a real Tollway: what an OpenAI client gets, what it pays, and that the provider's book agrees."""

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests import servers
from tests.fakes.anthropic import WRITTEN
from tests.fakes.process import Fake
from tests.path.claims import COUNT, assert_booked, assert_charged, assert_complete, assert_error, assert_nothing_leaks
from tests.path.models import PRICE, TEXT, model_id, upstream
from tests.path.place import UPSTREAM_KEY, Place, billed, charge_for
from tests.running import Account, tollway

MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
ODD = (
    *("plain", "split-bytes", "crlf", "cr", "comments", "multi-data", "no-space", "gzip", "gzip+crlf", "doubled-done"),
    *(
        "stream-answered-with-json",
        "slow-tokens@ms=20",
        "usage-in-last-content",
        "usage-every-chunk",
        "plain@cached=3",
        "plain@reasoning=4",
    ),
)
CUT = {
    **dict.fromkeys(
        ("reset-midstream", "close-midstream", "clean-eof-midstream", "malformed-sse", "truncated-json", "error-midstream"), 502
    ),
    "error-midstream@code=overloaded_error": 503,
    "stall-midstream": 504,
}
REFUSED = {
    "status@status=529": 503,
    "status@status=500": 502,
    "status@status=404": 502,
    "status@status=403": 502,
    "leaky-error": 502,
    "status@status=504": 504,
    "rate-limit@secs=7": 429,
    "stall-before-headers": 504,
    "empty-body": 502,
    "garbage-first": 502,
    "error-200": 502,
    "empty-stream": 502,
}
OTHERS = ("context-length", "reasoning", "tool-split", "content-filter", "endless@tokens=100", "needs-key")
PRICES = {**PRICE, "cache_write": "0.1919"}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    },
}
NOW: Any = {"type": "function", "function": {"name": "now"}}
SETTINGS = {
    "TOLLWAY_HEALTH": "off",
    "TOLLWAY_FIRST_BYTE_SECONDS": "0.7",
    "TOLLWAY_IDLE_SECONDS": "0.8",
    "TOLLWAY_ANSWER_SECONDS": "0.9",
    "FAKE_API_KEY": UPSTREAM_KEY,
    "WRONG_API_KEY": "wrong",
}


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def running(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Tollway before a provider that speaks Anthropic's API only, below a path of its own."""
    folder = tmp_path_factory.mktemp(f"anthropic-{request.param}")
    (folder / "catalog.toml").write_text(catalog(fake))
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder / 'tollway.db'}"
        if request.param == "postgres":
            template = request.getfixturevalue("postgres_template")
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url"), template=template))
        settings = {**SETTINGS, "TOLLWAY_CATALOG": str(folder / "catalog.toml"), "TOLLWAY_DATABASE_URL": url}
        place = Place(tollway=stack.enter_context(tollway(settings, Path(folder))), fake=fake, database_url=url)
        yield stack.enter_context(contextlib.closing(place))


@pytest.fixture
def at(running: Place) -> Iterator[Place]:
    """Afterwards nothing is held, nothing is in flight, and the fake had no error of its own."""
    running.fake.reset()
    yield running
    running.wait_until_idle()
    assert running.fake.health()["ok"], running.fake.health()


@pytest.fixture(scope="module")
def owner(running: Place) -> Account:
    return running.account()


@pytest.fixture
def client(at: Place, owner: Account) -> Iterator[OpenAI]:
    with OpenAI(base_url=at.tollway.base_url, api_key=owner.key, max_retries=0) as client:
        yield client


def catalog(fake: Fake) -> str:
    def row(table: str, **fields: Any) -> str:
        return f"[[{table}]]\n" + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())

    def endpoint(model: str, provider: str, name: str, **more: Any) -> str:
        price = ", ".join(f'{unit} = "{usd}"' for unit, usd in PRICES.items())
        head = row("endpoint", model=model, provider=provider, upstream_model=name, max_output_tokens=20_000, **more)
        return f"{head}price = {{ {price} }}\n"

    rows = [
        row("provider", slug="claude", name="claude", dialect="anthropic", base_url=f"{fake.address}/team", api_key_env="FAKE_API_KEY"),
        row("provider", slug="locked", name="locked", dialect="anthropic", base_url=fake.address, api_key_env="WRONG_API_KEY"),
        row("provider", slug="other", name="other", dialect="openai", base_url=fake.base_url, api_key_env="FAKE_API_KEY"),
    ]
    for fault in dict.fromkeys((*ODD, *CUT, *REFUSED, *OTHERS)):
        rows += [row("model", id=model_id(fault), context_length=100_000), endpoint(model_id(fault), "claude", upstream(fault))]
    rows += [row("model", id=id, context_length=100_000) for id in ("two/ways", "one/locked", "fake/opus")]
    rows += [endpoint("two/ways", "claude", "plain"), endpoint("two/ways", "other", "second", priority=1)]
    rows += [endpoint("one/locked", "locked", "plain"), endpoint("fake/opus", "claude", "claude-opus-5")]
    return "".join(rows)


# What is said


@pytest.mark.parametrize("fault", ODD)
@MODES
def test_an_answer_reads_and_costs_what_the_provider_says(at: Place, owner: Account, fault: str, stream: bool) -> None:
    before = at.used(owner)
    answer = at.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.said() == TEXT
    assert {choice["native_finish_reason"] for choice in answer.choices} <= {None, "end_turn"}
    [row] = at.fake.settled(upstream(fault))
    assert row["path"] == "/team/v1/messages"
    assert answer.usage["usage_source"] == "provider"
    assert "x-tollway-adjusted" not in answer.headers
    assert_charged(at, owner, answer, since=before, expected=charge_for(**billed([row])))


def test_the_openai_sdk_streams_text_and_usage(at: Place, client: OpenAI) -> None:
    made = client.chat.completions.create(
        model="fake/plain", messages=[{"role": "user", "content": "Hello"}], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(made)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
    [row] = at.fake.settled()
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == row["billed_tokens"]["prompt_tokens"]
    assert chunks[-1].usage.completion_tokens == row["billed_tokens"]["completion_tokens"]


@MODES
def test_the_openai_sdk_calls_two_tools_and_brings_their_results(at: Place, owner: Account, client: OpenAI, stream: bool) -> None:
    before = at.used(owner)
    messages: list[Any] = [{"role": "user", "content": "Use them in parallel"}]
    first: Any = {"model": "fake/plain", "messages": messages, "tools": [WEATHER, NOW]}
    if stream:
        with client.chat.completions.stream(**first) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**first).choices[0].message
    calls: Any = message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("weather", {"city": "text", "days": 1}),
        ("now", {}),
    ]
    sent = [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in calls
    ]
    messages += [{"role": "assistant", "content": None, "tool_calls": sent}]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
    second = client.chat.completions.create(model="fake/plain", messages=messages, tools=[WEATHER, NOW])
    assert second.choices[0].message.content == TEXT
    rows = at.fake.settled(count=2)
    used, results = rows[1]["request_body"]["messages"][1:]
    assert [block["id"] for block in used["content"]] == [block["tool_use_id"] for block in results["content"]]
    assert at.used(owner) - before == charge_for(**billed(rows[:1])) + charge_for(**billed(rows[1:]))


def test_calls_that_come_letter_by_letter_are_whole(at: Place, owner: Account) -> None:
    answer = at.ask(owner, model_id("tool-split"), stream=True)
    assert_complete(answer, stream=True, reason="tool_calls")
    deltas = [call for choice in answer.choices for call in choice["delta"].get("tool_calls") or ()]
    for index in (0, 1):
        arguments = "".join(call["function"]["arguments"] for call in deltas if call["index"] == index)
        assert json.loads(arguments) == {"city": "Zürich 漢 😀", "days": 2}


@MODES
def test_signed_thoughts_come_back_to_the_provider_as_they_left_it(at: Place, owner: Account, stream: bool) -> None:
    before = at.used(owner)
    asked: Any = {"model": model_id("reasoning"), "stream": stream, "reasoning": {"max_tokens": 2000}, "tools": [NOW]}
    first = at.ask(owner, messages=[{"role": "user", "content": "Hello"}], **asked)
    assert first.said(field="reasoning") == "Let me think."
    parts = [choice.get("delta") or choice.get("message") or {} for choice in first.choices]
    details = [detail for part in parts for detail in part.get("reasoning_details") or ()]
    assert {detail["format"] for detail in details} == {"anthropic-claude-v1"}
    calls = [call for part in parts for call in part.get("tool_calls") or ()]
    call = {"id": calls[0]["id"], "type": "function", "function": {"name": "now", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "reasoning_details": details, "tool_calls": [call]}
    turns = [{"role": "user", "content": "Hello"}, said, {"role": "tool", "tool_call_id": call["id"], "content": "noon"}]
    second = at.ask(owner, messages=turns, **asked)
    assert second.said() == TEXT
    rows = at.fake.settled(count=2)
    thought = rows[1]["request_body"]["messages"][1]["content"][0]
    assert thought == {"type": "thinking", "thinking": "Let me think.", "signature": f"signature-of-{rows[0]['id']}"}
    assert rows[1]["request_body"]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert second.usage["completion_tokens_details"]["reasoning_tokens"] == 3
    assert at.used(owner) - before == charge_for(**billed(rows[:1])) + charge_for(**billed(rows[1:]))


def test_a_client_that_lost_the_thoughts_still_gets_its_answer(at: Place, owner: Account) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "tool_calls": [call]}]
    turns += [{"role": "tool", "tool_call_id": "call_1", "content": "noon"}]
    answer = at.ask(owner, "fake/plain", messages=turns, tools=[NOW], reasoning_effort="high")
    assert answer.said() == TEXT
    assert answer.headers["x-tollway-adjusted"] == "reasoning_effort"


@MODES
def test_what_is_written_into_the_cache_has_its_own_price(at: Place, owner: Account, stream: bool) -> None:
    before = at.used(owner)
    content = [{"type": "text", "text": "a long text to keep", "cache_control": {"type": "ephemeral"}}]
    answer = at.ask(owner, model_id("plain@cached=3"), stream=stream, messages=[{"role": "user", "content": content}])
    [row] = at.fake.settled()
    tokens = row["billed_tokens"]
    assert answer.usage["prompt_tokens_details"]["cached_tokens"] == 3
    cost = charge_for(prompt=tokens["prompt_tokens"] - WRITTEN, cached=3, completion=tokens["completion_tokens"])
    exact = sum(
        Decimal(PRICES[unit]) * count for unit, count in {"prompt": tokens["prompt_tokens"] - WRITTEN - 3, "cached_prompt": 3}.items()
    )
    exact += Decimal(PRICES["cache_write"]) * WRITTEN + Decimal(PRICES["completion"]) * tokens["completion_tokens"]
    assert answer.usage["cost"] == (exact * 1000).to_integral_value(rounding="ROUND_FLOOR") / 10**9 > cost
    assert_booked(at, owner, answer, since=before, expected=answer.usage["cost"])


@MODES
def test_a_refusal_of_the_model_is_a_content_filter(at: Place, owner: Account, stream: bool) -> None:
    answer = at.ask(owner, model_id("content-filter"), stream=stream)
    assert_complete(answer, stream=stream, reason="content_filter")
    assert [choice["native_finish_reason"] for choice in answer.choices][-1 if not stream else -2] == "refusal"


def test_an_answer_beyond_its_limit_is_cut_at_it(at: Place, owner: Account) -> None:
    before = at.used(owner)
    answer = at.ask(owner, model_id("endless@tokens=100"), stream=True, max_tokens=20)
    assert answer.reasons() == ["length"]
    [row] = at.fake.settled()
    assert row["request_body"]["max_tokens"] == 20
    assert answer.usage["completion_tokens"] == 20
    assert_charged(at, owner, answer, since=before, expected=charge_for(prompt=row["prompt_tokens"], completion=20))


# What breaks


@pytest.mark.parametrize("fault", CUT)
def test_a_cut_stream_ends_in_an_error_and_costs_the_true_prompt_and_what_was_delivered(at: Place, owner: Account, fault: str) -> None:
    before = at.used(owner)
    answer = at.ask(owner, model_id(fault), stream=True)
    assert answer.status == 200
    assert answer.said() == "Hello é"
    assert_error(answer, CUT[fault], in_band=True)
    [row] = at.fake.settled(upstream(fault))
    expected = charge_for(prompt=row["prompt_tokens"], completion=COUNT("Hello é"))
    assert at.generation(owner, answer)["tokens_prompt"] == row["prompt_tokens"]
    assert_booked(at, owner, answer, since=before, expected=expected)


@pytest.mark.parametrize("fault", CUT)
def test_a_body_that_breaks_is_an_error_and_costs_nothing(at: Place, owner: Account, fault: str) -> None:
    before = at.used(owner)
    assert_error(at.ask(owner, model_id(fault)), CUT[fault])
    at.fake.settled(upstream(fault))
    assert at.used(owner) == before


@pytest.mark.parametrize("fault", REFUSED)
@MODES
def test_a_failure_before_content_is_an_error_and_costs_nothing(at: Place, owner: Account, fault: str, stream: bool) -> None:
    before = at.used(owner)
    answer = at.ask(owner, model_id(fault), stream=stream)
    assert_error(answer, REFUSED[fault], in_band="stall" in fault and stream and answer.status == 200)
    assert at.used(owner) == before
    assert at.books(owner).held == 0
    if fault.startswith("rate-limit"):
        assert answer.headers["retry-after"] == "7"


def test_a_prompt_that_is_too_long_is_told_so_in_openai_s_word(at: Place, owner: Account) -> None:
    answer = at.ask(owner, model_id("context-length"))
    assert_error(answer, 400)
    assert answer.error["message"] == "prompt is too long: 25 tokens > 10 maximum"
    assert answer.error["metadata"]["provider_code"] == "context_length_exceeded"


def test_a_key_that_the_provider_refuses_is_not_the_client_s_fault(at: Place, owner: Account) -> None:
    answer = at.ask(owner, "one/locked")
    assert_error(answer, 502)
    assert "api-key" not in answer.body.decode()
    assert_nothing_leaks(answer)


# What cannot be said


def test_what_was_dropped_or_changed_is_named_in_a_header(at: Place, owner: Account) -> None:
    asked: Any = {
        "frequency_penalty": 0.5,
        "temperature": 1.5,
        "user": "u-1",
        "reasoning_effort": "none",
        "response_format": {"type": "json_object"},
    }
    answer = at.ask(owner, "fake/plain", **asked)
    assert answer.headers["x-tollway-adjusted"] == "frequency_penalty, response_format, temperature, user"
    [row] = at.fake.settled()
    assert row["request_body"].keys() == {"model", "max_tokens", "messages", "temperature", "thinking"}


def test_who_requires_parameters_is_refused_what_would_be_dropped(at: Place, owner: Account) -> None:
    strict: Any = {"provider": {"require_parameters": True}}
    answer = at.ask(owner, "fake/plain", seed=1, **strict)
    assert answer.status == 404
    assert at.fake.ledger() == []
    assert at.ask(owner, "fake/plain", temperature=0.5, stop=["END"], **strict).status == 200
    changed = at.ask(owner, "fake/plain", temperature=1.5, **strict)
    assert (changed.status, changed.error["param"]) == (400, "temperature"), "a value that would be changed, not only a name"
    assert len(at.fake.settled()) == 1


def test_the_newest_models_are_asked_without_what_they_refuse(at: Place, owner: Account) -> None:
    answer = at.ask(owner, "fake/opus", temperature=0.5, reasoning={"effort": "high"})
    assert answer.headers["x-tollway-adjusted"] == "temperature"
    [row] = at.fake.settled()
    assert row["request_body"]["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert row["request_body"]["output_config"] == {"effort": "high"}


def test_a_request_without_words_there_goes_to_the_next_endpoint(at: Place, owner: Account) -> None:
    answer = at.ask(owner, "two/ways", n=2)
    assert answer.status == 200
    assert [row["path"] for row in at.fake.settled()] == ["/v1/chat/completions"]


@MODES
def test_a_request_without_words_anywhere_names_its_place(at: Place, owner: Account, stream: bool) -> None:
    before = at.used(owner)
    audio = {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}}
    film = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}
    for messages, place in (
        ([{"role": "user", "content": [film]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [audio]}], "model"),
    ):
        answer = at.ask(owner, "fake/plain", messages=messages, stream=stream)
        assert answer.status in (400, 404), answer.body
        assert answer.error["param"] == place
    assert at.used(owner) == before
    assert at.books(owner).held == 0
    assert at.fake.ledger() == []


def test_the_log_holds_no_prompt_no_answer_and_no_key(running: Place, owner: Account) -> None:
    log = running.tollway.log.read_text()
    for secret in ("canary-7f3a", "wörld", owner.key, UPSTREAM_KEY):
        assert secret not in log
    assert "Traceback" not in log, log[-3000:]


def test_the_ledger_verifies_after_all_of_it(running: Place) -> None:
    running.verify()

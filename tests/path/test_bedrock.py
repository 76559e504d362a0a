"""The bedrock dialect from client to provider and back: signed calls, streams, tools, thoughts, embeddings, exact charges, and breaks."""

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests import servers
from tests.fakes.bedrock import HIDE, WRITTEN, vector
from tests.fakes.bedrock_checks import ACCESS_KEY, API_KEY, REDACTED, SECRET_KEY, SIGNATURE
from tests.fakes.faults import Json
from tests.fakes.process import Fake
from tests.path.claims import COUNT, assert_booked, assert_charged, assert_complete, assert_error, tokens_of
from tests.path.client import PROMPT
from tests.path.models import PRICE, TEXT, model_id, upstream
from tests.path.place import NANO, Place, billed, charge_for
from tests.running import Account, tollway

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
BEARER = "by-api-key"
CACHE_WRITE = "0.1915"
ODD = (
    *("plain", "split-bytes", "split-at", "gzip", "wrong-content-type", "slow-tokens@ms=5", "stream-answered-with-json"),
    *("usage-in-last-content", "usage-every-chunk", "plain@cached=3", "reasoning"),
)
UNTOLD = ("missing-usage", "usage-null", *(f"usage-wrong@kind={kind}" for kind in ("negative", "huge", "float", "str", "list", "empty")))
CUT = {
    **dict.fromkeys(("reset-midstream", "close-midstream", "clean-eof-midstream", "malformed-sse", "truncated-json"), 502),
    "error-midstream": 502,
    "error-midstream@code=modelStreamErrorException": 502,
    "error-midstream@code=throttlingException": 429,
    "error-midstream@code=serviceUnavailableException": 503,
    "error-midstream@code=validationException": 400,
    "stall-midstream": 504,
}
REFUSED = {
    **{f"status@status={status}": 502 for status in (401, 403, 404, 424, 500)},
    **dict.fromkeys(("bad-json", "empty-body", "empty-stream", "error-200", "garbage-first", "reset-midstream@k=1"), 502),
    "status@status=503": 503,
    "status@status=504": 504,
    "rate-limit": 429,
    "status@status=400": 400,
    "context-length": 400,
}
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    }
    for name in ("weather", "time")
]


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def bedrock(
    request: pytest.FixtureRequest, fake: Fake, path_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A Tollway whose providers speak Bedrock: one is called with a pair of keys, the other with an API key."""
    folder = tmp_path_factory.mktemp(f"bedrock-{request.param}")
    (folder / "catalog.toml").write_text("".join(_catalog(fake)))
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_BEARER_TOKEN_BEDROCK": API_KEY}
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder / 'tollway.db'}"
        if request.param == "postgres":
            template = request.getfixturevalue("postgres_template")
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url"), template=template))
        settings = {**path_settings, **keys, "TOLLWAY_DATABASE_URL": url, "TOLLWAY_CATALOG": str(folder / "catalog.toml")}
        running = stack.enter_context(tollway(settings, Path(folder)))
        here = stack.enter_context(contextlib.closing(Place(tollway=running, fake=fake, database_url=url)))
        here.ask(here.account(), model_id(BEARER))  # the first call loads what signs, on a busy machine for longer than these short times
        yield here


@pytest.fixture
def quiet(bedrock: Place) -> Iterator[Place]:
    """Afterwards nothing is held, nothing in flight, and the fake had no error of its own."""
    bedrock.fake.reset()
    yield bedrock
    bedrock.wait_until_idle()
    assert bedrock.fake.health()["ok"], bedrock.fake.health()


@pytest.fixture(scope="module")
def owner(bedrock: Place) -> Account:
    return bedrock.account()


def _catalog(fake: Fake) -> Iterator[str]:
    names = [(model_id(name), name) for name in (CLAUDE, TITAN)]
    names += [(model_id(fault), upstream(fault)) for fault in (*ODD, *UNTOLD, *CUT, *REFUSED)]
    for slug, variable in (("aws", "AWS_ACCESS_KEY_ID"), ("aws-by-key", "AWS_BEARER_TOKEN_BEDROCK")):
        yield _row("provider", slug=slug, dialect="bedrock", base_url=f"{fake.address}/bedrock", api_key_env=variable, region="eu-west-3")
    for id, name in (*names, (model_id(BEARER), "plain")):
        yield _row("model", id=id, context_length=100_000)
        provider = "aws-by-key" if id == model_id(BEARER) else "aws"
        yield _row("endpoint", model=id, provider=provider, upstream_model=name, max_output_tokens=10_000)
        price = {**PRICE, "cache_write": CACHE_WRITE}
        yield f"price = {{ {', '.join(f'{unit} = {json.dumps(usd)}' for unit, usd in price.items())} }}\n"


def _row(table: str, **fields: str | int) -> str:
    return f"[[{table}]]\n" + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())


def sdk(place: Place, account: Account) -> OpenAI:
    return OpenAI(base_url=place.tollway.base_url, api_key=account.key, max_retries=0)


def owed(rows: list[dict[str, Json]]) -> Decimal:
    """What the fake's book says these answers cost; Bedrock does not tell thoughts apart."""
    return charge_for(**{**billed(rows), "reasoning": 0})


# Answers


@pytest.mark.parametrize("fault", ODD)
@MODES
def test_an_answer_reads_the_same_however_it_comes_and_costs_what_bedrock_reports(
    quiet: Place, owner: Account, fault: str, stream: bool
) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.said() == TEXT
    [row] = quiet.fake.settled(upstream(fault))
    assert f"Credential={ACCESS_KEY}/" in row["request_headers"]["authorization"]
    assert "/eu-west-3/bedrock/aws4_request" in row["request_headers"]["authorization"]
    assert answer.usage["usage_source"] == "provider"
    assert_charged(quiet, owner, answer, since=before, expected=owed([row]))
    assert tokens_of(answer) == (row["billed_tokens"]["prompt_tokens"], row["billed_tokens"]["completion_tokens"])
    assert SECRET_KEY not in answer.body.decode() + repr(answer.headers)


@pytest.mark.parametrize("fault", UNTOLD)
@MODES
def test_usage_that_is_missing_or_absurd_is_replaced_by_our_count(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.usage["usage_source"] == "counted"
    prompt, completion = tokens_of(answer)
    assert completion == COUNT(TEXT)
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(prompt=prompt, completion=completion))


def test_an_api_key_is_enough(quiet: Place, owner: Account) -> None:
    assert_complete(quiet.ask(owner, model_id(BEARER), stream=True), stream=True)
    assert quiet.fake.settled("plain")[0]["request_headers"]["authorization"] == f"Bearer {API_KEY}"


@MODES
def test_limits_and_schemas_reach_bedrock(quiet: Place, owner: Account, stream: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"const": "Zürich"}}, "required": ["city"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = quiet.ask(owner, model_id(CLAUDE), stream=stream, response_format=wanted, temperature=0.5)
    assert answer.said() == '{"city":"Zürich"}'
    sent = quiet.fake.settled(CLAUDE)[0]["request_body"]
    assert sent["inferenceConfig"] == {"temperature": 0.5}
    assert json.loads(sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]) == schema
    cut = quiet.ask(owner, model_id(CLAUDE), stream=stream, max_tokens=2)
    assert (cut.reasons(), cut.usage["completion_tokens"]) == (["length"], 2)
    assert "max_tokens" in [choice["native_finish_reason"] for choice in cut.choices]


@MODES
def test_what_the_cache_takes_is_charged_at_its_own_rate(quiet: Place, owner: Account, stream: bool) -> None:
    content = [{"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}}]
    answer = quiet.ask(owner, model_id(CLAUDE), stream=stream, messages=[{"role": "user", "content": content}])
    [row] = quiet.fake.settled(CLAUDE)
    assert row["request_body"]["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}
    prompt, completion = row["billed_tokens"]["prompt_tokens"], row["billed_tokens"]["completion_tokens"]
    assert answer.usage["prompt_tokens"] == prompt
    rates = (PRICE["prompt"], prompt - WRITTEN), (CACHE_WRITE, WRITTEN), (PRICE["completion"], completion)
    assert answer.usage["cost"] * NANO == sum(Decimal(rate) * count for rate, count in rates) * 1000 // 1


# Tools and thoughts, with OpenAI's own client


def _said(client: OpenAI, messages: list[Any], *, stream: bool, **fields: Any) -> dict[str, Any]:
    """The assistant's message as a client keeps it."""
    create: Any = client.chat.completions.create
    if not stream:
        whole = create(model=model_id(CLAUDE), messages=messages, **fields)
        assert whole.choices[0].finish_reason == ("tool_calls" if whole.choices[0].message.tool_calls else "stop")
        return {name: value for name, value in whole.choices[0].message.model_dump().items() if value is not None}
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [], "reasoning_details": []}
    for chunk in create(model=model_id(CLAUDE), messages=messages, stream=True, **fields):
        delta = chunk.choices[0].delta
        message["content"] += delta.content or ""
        message["reasoning_details"] += getattr(delta, "reasoning_details", None) or []
        for call in delta.tool_calls or ():
            if call.id:
                message["tool_calls"].append({"id": call.id, "type": "function", "function": call.function.model_dump()})
            else:
                message["tool_calls"][call.index]["function"]["arguments"] += call.function.arguments
    return {name: value for name, value in message.items() if value}


@MODES
def test_parallel_calls_and_hidden_thoughts_survive_the_round_trip(quiet: Place, owner: Account, stream: bool) -> None:
    """The fake refuses results whose turn came back without the thoughts that led to the calls."""
    messages: list[Any] = [{"role": "user", "content": f"What is it like in both? Ask in parallel and {HIDE}."}]
    thinking: dict[str, Any] = {"tools": TOOLS, "reasoning_effort": "low"}
    with sdk(quiet, owner) as client:
        said = _said(client, messages, stream=stream, **thinking)
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in said["tool_calls"]]
        assert calls == [("weather", '{"city":"text"}'), ("time", '{"city":"text"}')]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in said["tool_calls"]]
        final = _said(client, [*messages, said, *results], stream=stream, **thinking)
    assert final["content"] == f"Hello from {CLAUDE}."
    turns = quiet.fake.settled(CLAUDE, count=2)[1]["request_body"]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"][0] == {"reasoningContent": {"redactedContent": REDACTED}}
    assert [block["toolUse"]["name"] for block in turns[1]["content"][1:]] == ["weather", "time"]
    assert [block["toolResult"]["toolUseId"] for block in turns[2]["content"]] == [call["id"] for call in said["tool_calls"]]


@MODES
def test_signed_thoughts_survive_the_round_trip(quiet: Place, owner: Account, stream: bool) -> None:
    quiet.fake.fault(CLAUDE, fault="reasoning", text="Yes.")
    messages: list[Any] = [{"role": "user", "content": "Well?"}]
    with sdk(quiet, owner) as client:
        said = _said(client, messages, stream=stream, reasoning_effort="medium")
        assert (said["content"], "".join(each.get("text", "") for each in said["reasoning_details"])) == ("Yes.", "Let me think.")
        _said(client, [*messages, said, {"role": "user", "content": "Sure?"}], stream=stream, reasoning_effort="medium")
    first, second = quiet.fake.settled(CLAUDE, count=2)
    assert first["request_body"]["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 5000}}
    assert second["request_body"]["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Let me think.", "signature": SIGNATURE}}},
        {"text": "Yes."},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [("required", {"any": {}}), ({"type": "function", "function": {"name": "time"}}, {"tool": {"name": "time"}})],
)
def test_a_forced_call_is_forced_there(quiet: Place, owner: Account, choice: Any, sent: Json) -> None:
    answer = quiet.ask(owner, model_id(CLAUDE), tools=TOOLS, tool_choice=choice)
    assert answer.json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == sent.get("tool", {"name": "weather"})["name"]
    assert quiet.fake.settled(CLAUDE)[0]["request_body"]["toolConfig"]["toolChoice"] == sent


# What cannot be kept


def test_what_is_left_out_is_named_in_a_header(quiet: Place, owner: Account) -> None:
    answer = quiet.ask(owner, model_id(CLAUDE), stream=True, tools=TOOLS, parallel_tool_calls=False, seed=7, temperature=1.5)
    assert answer.headers["x-tollway-adjusted"] == "parallel_tool_calls, seed, temperature"
    assert "x-tollway-adjusted" not in quiet.ask(owner, model_id(CLAUDE), temperature=1, tools=TOOLS).headers


def test_require_parameters_refuses_instead(quiet: Place, owner: Account) -> None:
    strict = {"provider": {"require_parameters": True}}
    assert quiet.ask(owner, model_id(CLAUDE), seed=7, **strict).status == 404
    assert quiet.ask(owner, model_id(CLAUDE), temperature=1, tools=TOOLS, **strict).status == 200
    assert len(quiet.fake.settled(CLAUDE)) == 1


def test_a_part_without_words_is_refused_by_its_place_and_nothing_is_sent(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]}]
    answer = quiet.ask(owner, model_id(CLAUDE), messages=messages)
    assert_error(answer, 400)
    assert "messages[0].content[0]" in answer.error["message"]
    assert quiet.fake.ledger() == []
    assert quiet.used(owner) == before


# Failures


@pytest.mark.parametrize("fault", CUT)
def test_a_stream_that_breaks_ends_in_an_error_and_costs_what_was_delivered(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=True)
    assert answer.said()
    assert TEXT.startswith(answer.said())
    assert_error(answer, CUT[fault], in_band=True)
    prompt, completion = tokens_of(answer)
    assert completion == COUNT(answer.said())
    assert_booked(quiet, owner, answer, since=before, expected=charge_for(prompt=prompt, completion=completion))
    assert quiet.books(owner).held == 0


@pytest.mark.parametrize("fault", REFUSED)
@MODES
def test_a_failure_before_content_is_an_error_and_costs_nothing(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_error(answer, REFUSED[fault])
    assert quiet.used(owner) == before
    assert quiet.books(owner).held == 0


def test_bedrock_says_when_to_come_back_and_that_a_prompt_is_too_long(quiet: Place, owner: Account) -> None:
    busy = quiet.ask(owner, model_id("rate-limit"))
    assert (busy.headers["retry-after"], busy.error["metadata"]["provider_code"]) == ("1", "ThrottlingException")
    long = quiet.ask(owner, model_id("context-length"), stream=True)
    assert long.error["metadata"]["error_type"] == "context_length_exceeded"
    assert "Input is too long" in long.error["message"]


# Embeddings


def test_embeddings_come_in_order_and_cost_what_bedrock_counted(quiet: Place, owner: Account) -> None:
    before, texts = quiet.used(owner), [f"text number {number}" for number in range(40)]
    with sdk(quiet, owner) as client:
        made = client.embeddings.create(model=model_id(TITAN), input=texts, dimensions=256, encoding_format="float")
    assert [row.embedding for row in made.data] == [vector(text, 256) for text in texts]
    assert len(quiet.fake.settled(TITAN, count=40)) == 40
    assert made.usage.prompt_tokens == 120
    assert quiet.used(owner) - before == charge_for(prompt=120, completion=0)


def test_the_books_are_right_after_all_this(quiet: Place) -> None:
    log = quiet.tollway.log.read_text()
    assert not [secret for secret in (SECRET_KEY, API_KEY, "canary-7f3a", "Traceback") if secret in log]
    quiet.verify()

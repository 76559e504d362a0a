"""The gemini dialect from client to provider and back: streams, tools, thoughts, embeddings, exact charges, and every kind of break."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests import servers
from tests.fakes.faults import Json
from tests.fakes.gemini import vector
from tests.fakes.gemini_checks import UNSIGNED
from tests.fakes.process import Fake
from tests.path.claims import COUNT, assert_booked, assert_charged, assert_complete, assert_error, tokens_of
from tests.path.models import PRICE, TEXT, model_id, upstream
from tests.path.place import UPSTREAM_KEY, Place, billed, charge_for
from tests.running import Account, tollway

NEW = "gemini-3-flash"
ODD = (
    *(
        "plain",
        "split-bytes",
        "split-at",
        "crlf",
        "cr",
        "comments",
        "multi-data",
        "no-space",
        "gzip",
        "wrong-content-type",
        "slow-tokens@ms=5",
    ),
    *("stream-answered-with-json", "usage-in-last-content", "usage-every-chunk", "plain@cached=3", "plain@reasoning=4", "reasoning"),
)
UNTOLD = ("missing-usage", "usage-null", *(f"usage-wrong@kind={kind}" for kind in ("negative", "huge", "float", "str", "list", "empty")))
CUT = {
    **dict.fromkeys(
        ("reset-midstream", "close-midstream", "clean-eof-midstream", "malformed-sse", "truncated-json", "error-midstream"), 502
    ),
    "stall-midstream": 504,
}
REFUSED = {
    **{f"status@status={status}": 502 for status in (401, 403, 404, 500)},
    **dict.fromkeys(("needs-key", "bad-json", "empty-body", "empty-stream", "error-200", "garbage-first", "reset-midstream@k=1"), 502),
    "status@status=503": 503,
    "status@status=504": 504,
    "rate-limit": 429,
    "status@status=400": 400,
    "context-length": 400,
}
FAULTS = (*ODD, *UNTOLD, *CUT, *REFUSED)
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does {name}.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time")
]


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def google(
    request: pytest.FixtureRequest, fake: Fake, path_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A Tollway whose one provider speaks Gemini."""
    folder = tmp_path_factory.mktemp(f"gemini-{request.param}")
    (folder / "catalog.toml").write_text("".join(_catalog(fake)))
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder / 'tollway.db'}"
        if request.param == "postgres":
            template = request.getfixturevalue("postgres_template")
            url = stack.enter_context(servers.database(request.getfixturevalue("postgres_url"), template=template))
        settings = {**path_settings, "TOLLWAY_DATABASE_URL": url, "TOLLWAY_CATALOG": str(folder / "catalog.toml")}
        running = stack.enter_context(tollway(settings, Path(folder)))
        yield stack.enter_context(contextlib.closing(Place(tollway=running, fake=fake, database_url=url)))


@pytest.fixture
def quiet(google: Place) -> Iterator[Place]:
    """Afterwards nothing is held, nothing in flight, and the fake had no error of its own."""
    google.fake.reset()
    yield google
    google.wait_until_idle()
    assert google.fake.health()["ok"], google.fake.health()


@pytest.fixture(scope="module")
def owner(google: Place) -> Account:
    return google.account()


def _catalog(fake: Fake) -> Iterator[str]:
    provider = {
        "slug": "google",
        "name": "google",
        "dialect": "gemini",
        "base_url": f"{fake.address}/v1beta",
        "api_key_env": "FAKE_API_KEY",
    }
    yield _row("provider", **provider)
    for id, name in ((model_id(NEW), NEW), *((model_id(fault), upstream(fault)) for fault in FAULTS)):
        yield _row("model", id=id, context_length=100_000)
        yield _row("endpoint", model=id, provider="google", upstream_model=name, max_output_tokens=10_000)
        yield f"price = {{ {', '.join(f'{unit} = {json.dumps(usd)}' for unit, usd in PRICE.items())} }}\n"


def _row(table: str, **fields: str | int) -> str:
    return f"[[{table}]]\n" + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())


def sdk(place: Place, account: Account) -> OpenAI:
    return OpenAI(base_url=place.tollway.base_url, api_key=account.key, max_retries=0)


def asked(place: Place, number: int = -1) -> Json:
    """What Google got."""
    return place.fake.settled()[number]["request_body"]


# Answers


@pytest.mark.parametrize("fault", ODD)
@MODES
def test_an_answer_reads_the_same_however_it_comes_and_costs_what_google_reports(
    quiet: Place, owner: Account, fault: str, stream: bool
) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.said() == TEXT
    [row] = quiet.fake.settled(upstream(fault))
    assert row["request_headers"]["x-goog-api-key"] == UPSTREAM_KEY
    assert answer.usage["usage_source"] == "provider"
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed([row])))
    assert tokens_of(answer) == (row["billed_tokens"]["prompt_tokens"], row["billed_tokens"]["completion_tokens"])


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


@MODES
def test_limits_formats_and_choices_reach_google(quiet: Place, owner: Account, stream: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"const": "Zürich"}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = quiet.ask(owner, model_id(NEW), stream=stream, n=2, response_format=wanted, temperature=0.5, logprobs=True, top_logprobs=2)
    assert [answer.said(index) for index in (0, 1)] == ['{"city":"Zürich"}'] * 2
    assert (answer.reasons(0), answer.reasons(1)) == (["stop"], ["stop"])
    config = {"temperature": 0.5, "candidateCount": 2, "responseLogprobs": True, "logprobs": 2}
    assert asked(quiet)["generationConfig"] == {**config, "responseMimeType": "application/json", "responseJsonSchema": schema}
    for index in (0, 1):
        of_one = [choice["logprobs"]["content"] for choice in answer.choices if choice["index"] == index and choice["logprobs"]]
        tokens = [token for content in of_one for token in content]
        assert "".join(token["token"] for token in tokens) == '{"city":"Zürich"}'
        assert {len(token["top_logprobs"]) for token in tokens} == {2}
    cut = quiet.ask(owner, model_id(NEW), stream=stream, max_tokens=2)
    assert (cut.reasons(), cut.usage["completion_tokens"]) == (["length"], 2)
    assert "MAX_TOKENS" in [choice["native_finish_reason"] for choice in cut.choices]


def test_thoughts_are_shown_where_asked_for_and_charged_at_their_own_rate(quiet: Place, owner: Account) -> None:
    quiet.fake.fault(NEW, fault="reasoning", text="Yes.")
    hidden = quiet.ask(owner, model_id(NEW), stream=True)
    assert (hidden.said(field="reasoning"), hidden.said()) == ("", "Yes.")
    shown = quiet.ask(owner, model_id(NEW), stream=True, reasoning={"effort": "medium"})
    assert (shown.said(field="reasoning"), shown.said()) == ("Let me think.", "Yes.")
    assert asked(quiet)["generationConfig"]["thinkingConfig"] == {"includeThoughts": True, "thinkingLevel": "MEDIUM"}
    rows = quiet.fake.settled(NEW, count=2)
    for answer, row in zip((hidden, shown), rows, strict=True):
        assert answer.usage["completion_tokens_details"]["reasoning_tokens"] == 3
        assert answer.usage["cost"] == charge_for(**billed([row]))
        assert row["billed_tokens"]["reasoning_tokens"] == 3


# Tools, with OpenAI's own client


@pytest.mark.parametrize("keeps_details", [True, False])
@MODES
def test_parallel_calls_and_their_signatures_survive_the_round_trip(
    quiet: Place, owner: Account, stream: bool, keeps_details: bool
) -> None:
    """A client that forgets `reasoning_details`, as most do, is still answered."""
    messages: list[Any] = [{"role": "user", "content": "What is it like in both? Ask in parallel."}]
    with sdk(quiet, owner) as client:
        said = _said(client, messages, stream=stream)
        assert [call["function"] for call in said["tool_calls"]] == [
            {"name": name, "arguments": '{"city":"text"}'} for name in ("weather", "time")
        ]
        ids = [call["id"] for call in said["tool_calls"]]
        if not keeps_details:
            del said["reasoning_details"]
        results = [{"role": "tool", "tool_call_id": id, "content": f'{{"of": "{id}"}}'} for id in ids]
        final = _said(client, [*messages, said, *results], stream=stream)
    assert final["content"] == f"Hello from {NEW}."
    first, second = quiet.fake.settled(NEW, count=2)
    assert second["status"] == 200
    turns = second["request_body"]["contents"]
    assert [turn["role"] for turn in turns] == ["user", "model", "user"]
    assert [part["functionCall"]["id"] for part in turns[1]["parts"]] == ids
    signatures = [part.get("thoughtSignature") for part in turns[1]["parts"]]
    if keeps_details:
        assert [detail["data"] for detail in said["reasoning_details"]] == signatures[:1]
        assert signatures[0] not in (None, UNSIGNED)
    else:
        assert signatures == [UNSIGNED, None]
    assert [part["functionResponse"] for part in turns[2]["parts"]] == [
        {"id": id, "name": name, "response": {"of": id}} for id, name in zip(ids, ("weather", "time"), strict=True)
    ]
    assert billed([first])["completion"] > 0


def _said(client: OpenAI, messages: list[Any], *, stream: bool) -> dict[str, Any]:
    """The assistant's message as a client keeps it."""
    if not stream:
        whole = client.chat.completions.create(model=model_id(NEW), messages=messages, tools=TOOLS)  # type: ignore[call-overload]
        assert whole.choices[0].finish_reason == ("tool_calls" if whole.choices[0].message.tool_calls else "stop")
        return {name: value for name, value in whole.choices[0].message.model_dump().items() if value is not None}
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [], "reasoning_details": []}
    for chunk in client.chat.completions.create(model=model_id(NEW), messages=messages, tools=TOOLS, stream=True):  # type: ignore[call-overload]
        delta = chunk.choices[0].delta
        message["content"] += delta.content or ""
        message["reasoning_details"] += getattr(delta, "reasoning_details", None) or []
        for call in delta.tool_calls or ():
            assert call.index == len(message["tool_calls"])
            message["tool_calls"].append({"id": call.id, "type": "function", "function": call.function.model_dump()})
    return {name: value for name, value in message.items() if value}


def test_openais_own_helper_joins_a_stream_of_thoughts_and_calls(quiet: Place, owner: Account) -> None:
    quiet.fake.fault(NEW, fault="reasoning")
    strict = [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]
    with sdk(quiet, owner) as client:
        for tools in (strict, []):
            wish: Any = {"model": model_id(NEW), "messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "low"}
            with client.chat.completions.stream(**wish, **({"tools": tools} if tools else {})) as stream:
                stream.until_done()
                message = stream.get_final_completion().choices[0].message.model_dump()
            assert message["role"] == "assistant"
            assert bool(message["tool_calls"]) is bool(tools)
            assert message["reasoning"] == "Let me think."
            signed = message["reasoning_details"][-1]
            assert (signed["type"], signed["format"]) == ("reasoning.encrypted", "google-gemini-v1")


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "time"}}, {"mode": "ANY", "allowedFunctionNames": ["time"]}),
    ],
)
def test_a_forced_call_is_forced_there(quiet: Place, owner: Account, choice: Any, config: Json) -> None:
    answer = quiet.ask(owner, model_id(NEW), tools=TOOLS, tool_choice=choice)
    assert answer.json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == config.get("allowedFunctionNames", ["weather"])[0]
    assert asked(quiet)["toolConfig"] == {"functionCallingConfig": config}


# What cannot be kept


def test_what_is_left_out_is_named_in_a_header(quiet: Place, owner: Account) -> None:
    body = {"tools": TOOLS, "parallel_tool_calls": False, "logit_bias": {"1": 1}, "reasoning_effort": "none"}
    answer = quiet.ask(owner, model_id(NEW), stream=True, **body)
    assert answer.headers["x-tollway-adjusted"] == "logit_bias, parallel_tool_calls, reasoning_effort"
    assert "x-tollway-adjusted" not in quiet.ask(owner, model_id(NEW), temperature=1, tools=TOOLS).headers


def test_require_parameters_refuses_instead(quiet: Place, owner: Account) -> None:
    strict = {"provider": {"require_parameters": True}}
    assert quiet.ask(owner, model_id(NEW), logit_bias={"1": 1}, **strict).status == 404
    assert quiet.ask(owner, model_id(NEW), temperature=1, tools=TOOLS, **strict).status == 200
    assert len(quiet.fake.settled(NEW)) == 1


def test_a_part_without_words_is_refused_by_its_place_and_nothing_is_sent(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/cat"}}]}]
    answer = quiet.ask(owner, model_id(NEW), messages=messages)
    assert_error(answer, 400)
    assert "messages[0].content[0]" in answer.error["message"]
    assert quiet.fake.ledger() == []
    assert quiet.used(owner) == before


def test_images_are_passed_on(quiet: Place, owner: Account) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    content = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": url}}]
    assert_complete(quiet.ask(owner, model_id(NEW), messages=[{"role": "user", "content": content}]), stream=False)
    sent = asked(quiet)["contents"][0]["parts"]
    assert sent == [{"text": "Look:"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]


# Failures


@pytest.mark.parametrize("fault", CUT)
def test_a_stream_that_breaks_ends_in_an_error_and_costs_what_was_delivered(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=True)
    assert answer.said()
    assert TEXT.startswith(answer.said())
    assert_error(answer, CUT[fault], in_band=True)
    prompt, completion = answer.usage["prompt_tokens"], answer.usage["completion_tokens"]
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


def test_google_says_when_to_come_back_and_that_a_prompt_is_too_long(quiet: Place, owner: Account) -> None:
    busy = quiet.ask(owner, model_id("rate-limit"))
    assert (busy.headers["retry-after"], busy.error["metadata"]["provider_code"]) == ("7", "resource_exhausted")
    long = quiet.ask(owner, model_id("context-length"), stream=True)
    assert long.error["metadata"]["error_type"] == "context_length_exceeded"
    assert "input token count" in long.error["message"]


def test_the_books_are_right_after_all_this(quiet: Place) -> None:
    quiet.verify()


# Embeddings


def test_embeddings_come_in_order_and_cost_what_google_counted(quiet: Place, owner: Account) -> None:
    before, texts = quiet.used(owner), [f"text number {number}" for number in range(150)]
    with sdk(quiet, owner) as client:
        made = client.embeddings.create(model=model_id(NEW), input=texts, dimensions=4, encoding_format="float")
    assert [row.embedding for row in made.data] == [vector(text, 4) for text in texts]
    rows = quiet.fake.settled(NEW, count=2)
    assert [len(row["request_body"]["requests"]) for row in rows] == [100, 50]
    assert made.usage.prompt_tokens == 450
    assert quiet.used(owner) - before == charge_for(prompt=450, completion=0)

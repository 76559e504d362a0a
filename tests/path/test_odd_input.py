"""Input that is odd and still served: what is checked is what is held and sent. And thousands of mutations, none of which is a 5xx."""

import copy
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.hostile import MODEL, Client, Place, ask, place

SEED = 20261122
BODIES = 4000
CLIENTS = 4
MIB = 2**20


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("odd-input")) as running:
        yield running


@pytest.fixture
def client(here: Place) -> Iterator[Client]:
    """Afterwards nothing is held."""
    yield here.client()
    books = here.books()
    assert (books.open_holds, books.held) == (0, 0)


def sent(here: Place) -> dict[str, Any]:
    """The body of the last request that the provider got."""
    body: dict[str, Any] = here.fake.ledger()[-1]["request_body"]
    return body


# What is held is what is sent


def test_of_a_repeated_field_the_last_value_is_held_and_sent(here: Place, client: Client) -> None:
    raw = json.dumps(ask())[:-1] + ', "max_tokens": 1, "n": 1, "max_tokens": 3, "n": 2, "max_tokens": 2}'
    answer = client.chat(raw.encode())
    assert answer.status == 200
    assert (sent(here)["max_tokens"], sent(here)["n"]) == (2, 2)
    assert here.tollway.get(f"/generation?id={answer.json['id']}", here.account.key)["data"]["hold"] <= 0.0001


def test_of_a_repeated_model_and_message_the_last_value_counts(here: Place, client: Client) -> None:
    raw = f'{{"model": "tollway/echo", "messages": [], "messages": [{{"role": "user", "content": "x"}}], "model": "{MODEL}"}}'
    answer = client.chat(raw.encode())
    assert (answer.status, answer.json["model"]) == (200, MODEL)
    assert sent(here)["messages"] == [{"role": "user", "content": "x"}]


def test_a_repeated_field_with_a_bad_last_value_is_400(client: Client) -> None:
    answer = client.chat((json.dumps(ask(max_tokens=5))[:-1] + ', "max_tokens": -5}').encode())
    assert (answer.status, answer.error["param"]) == (400, "max_tokens")


@pytest.mark.parametrize("value", [0, None])
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_zero_counts_as_absent(here: Place, client: Client, field: str, value: object) -> None:
    assert client.chat(ask(**{field: value})).status == 200
    assert not sent(here).get(field)


def test_the_smaller_of_two_limits_is_held_and_sent(here: Place, client: Client) -> None:
    assert client.chat(ask(max_tokens=7, max_completion_tokens=5)).status == 200
    assert {sent(here)["max_tokens"], sent(here)["max_completion_tokens"]} == {5}


UNKNOWN = {
    "unknown text": "x",
    "unknown number": 10**30,
    "unknown float": 0.1,
    "unknown deep": [[{"a": [None, True, {}]}]],
    "logit_bias": {"50256": -100},
    "metadata": {"k": "v"},
    "reasoning_effort": "low",
    "seed": 2**63,
    "tools": [{"type": "custom", "custom": {"name": "grep"}}, {"type": "function", "function": {"name": "f", "strict": True}}],
}


def test_fields_that_are_not_known_reach_the_provider_untouched(here: Place, client: Client) -> None:
    assert client.chat(ask(**UNKNOWN)).status == 200
    assert {name: sent(here)[name] for name in UNKNOWN} == UNKNOWN


def test_a_literal_backslash_u0000_is_text_and_not_a_nul(here: Place, client: Client) -> None:
    content = "print('\\u0000') \\\\u0000 \U0001f600 \u2028"
    assert client.chat(ask(messages=[{"role": "user", "content": content}])).status == 200
    assert sent(here)["messages"][0]["content"] == content


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json; charset=latin-1", "multipart/form-data", "\x7f", "é", ""])
def test_the_content_type_does_not_matter(client: Client, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    assert client.send("POST", "/v1/chat/completions", json.dumps(ask()).encode(), headers).status == (400 if kind == "\x7f" else 200)


@pytest.mark.parametrize("name", ["HTTP-Referer", "Referer", "X-Title", "X-OpenRouter-Title", "Origin", "Cookie", "X-Forwarded-For"])
@pytest.mark.parametrize("value", ["http://[::1", "http://a:b@c:99999/?q", "\xff" * 50, "a" * 20_000, "javascript:x", "%00", "http://\xa0"])
def test_no_header_breaks_a_request(here: Place, client: Client, name: str, value: str) -> None:
    assert client.chat(ask(model="tollway/echo", max_tokens=1), {name: value}).status == 200


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "x"}] * 10_000,
        [{"role": "user", "content": [{"type": "text", "text": "x"}] * 10_000}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}] * 1000}],
        [{"role": "assistant"}, {"role": "assistant", "content": None}, {"role": "function"}],
        [{"role": "assistant", "tool_calls": [{"id": "1"}, {"id": []}, {}]}, {"role": "tool", "tool_call_id": "1", "content": ""}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": [{"type": "unheard-of", "unheard_of": 1}]}],
    ],
    ids=["10,000 messages", "10,000 parts", "1,000 images", "no content", "calls of nothing", "no parts", "an unknown part"],
)
@pytest.mark.parametrize("model", [MODEL, "tollway/echo"])
def test_strange_messages_are_served(client: Client, model: str, messages: object) -> None:
    assert client.chat(ask(model=model, messages=messages, max_tokens=2)).status == 200


# Nobody waits for somebody else's body

_VALUES = 990_000
SLOW = {
    "deep texts": '{"metadata": ' + "[" * 55 + '"",' * _VALUES + '"\\u0000"' + "]" * 55,
    "deep texts in a part": '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": '
    + "[" * 50 + '"",' * _VALUES + '""' + "]" * 50 + "}}]}]",
    "objects": '{"metadata": [' + "{}," * (_VALUES // 2) + "{}]",
    "deep objects": '{"metadata": [' + ("[" * 60 + "]" * 60 + ",") * (_VALUES // 61) + "1]",
    "long integers": '{"metadata": [' + ("9" * 4000 + ",") * 5000 + "1]",
    "backslashes": '{"metadata": "' + "\\\\" * (10 * MIB - 100) + '"',
    "20 MiB of values": '{"metadata": [' + "1," * (10 * MIB - 50) + "1]",
    "one long text": '{"metadata": "' + "a" * (20 * MIB - 100) + '"',
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_no_body_keeps_the_others_waiting(here: Place, client: Client, name: str) -> None:
    """Most of these are refused in the end, but only after all the work that comes before the hold."""
    raw = (SLOW[name] + f', "model": "{MODEL}"}}').encode()
    assert len(raw) <= 20 * MIB
    waits: list[float] = []
    done = threading.Event()
    watcher = threading.Thread(target=_measure, args=(here, done, waits))
    watcher.start()
    answer = client.chat(raw)
    done.set()
    watcher.join()
    assert answer.status in (200, 400, 413), answer.body[:200]
    assert max(waits) < 1.5


def _measure(here: Place, done: threading.Event, waits: list[float]) -> None:
    client = here.client(None)
    while not done.is_set():
        began = time.monotonic()
        assert client.send("GET", "/health/live").status == 200
        waits.append(time.monotonic() - began)
        time.sleep(0.005)


# Mutations

NASTY: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 128, 1.5, -0.0, 1e308, 2**31, 2**63, 2**64, 10**30),
    *("", "x", "1", "true", "\ud83d\ude00", "\x01", "\0", "a" * 5000, MODEL, "tollway/echo", "user", "json_object"),
    *(
        [],
        {},
        [[]],
        [None],
        [1],
        ["x"],
        {"type": "text"},
        {"type": "text", "text": "x"},
        {"role": "user"},
        {"role": "user", "content": "x"},
    ),
    {"type": "image_url", "image_url": "data:,"},
    {"type": "function", "function": {"name": "f"}},
    {"order": ["acme-cloud"]},
    {"include_usage": True},
    {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}},
    {"type": "json_schema", "json_schema": {"schema": {"type": "array", "minItems": 10**9, "items": {}}}},
    {"max_price": {"prompt": "1e400"}},
]
BASES: list[dict[str, Any]] = [
    ask(max_tokens=4),
    ask(model="tollway/echo", max_tokens=4, stream=True, stream_options={"include_usage": True}),
    ask(max_tokens=4, stream=True, n=2, temperature=1, top_p=0.5, seed=1, stop=["x"], logprobs=True, top_logprobs=2),
    ask(
        model="tollway/echo",
        max_tokens=9,
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "4"},
        ],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}],
        tool_choice="auto",
    ),
    ask(
        max_tokens=4,
        models=["tollway/echo"],
        provider={"order": ["acme-cloud"], "allow_fallbacks": True, "max_price": {"prompt": 1, "completion": "2"}},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"b": {"enum": [1, 2]}}}},
        },
        modalities=["text"],
        reasoning={"effort": "low"},
    ),
]


def test_thousands_of_mutated_bodies_are_never_a_5xx_and_leave_the_books_right(here: Place) -> None:
    pid = here.tollway.pid
    bodies = list(_mutations(random.Random(SEED)))
    with ThreadPoolExecutor(CLIENTS) as threads:
        parts = threads.map(lambda part: _statuses(here, part), [bodies[index::CLIENTS] for index in range(CLIENTS)])
        seen = [answer for part in parts for answer in part]
    assert len(seen) == BODIES
    assert not [(status, body[:500]) for status, body in seen if status not in (200, 400, 404, 413)]
    assert sum(status == 200 for status, _ in seen) > BODIES // 20
    books = here.books()
    assert (books.open_holds, books.held) == (0, 0)
    assert here.tollway.pid == pid
    verified = here.tollway.cli("ledger", "verify")
    assert verified.returncode == 0, verified.stdout


def _statuses(here: Place, bodies: list[bytes]) -> list[tuple[int, bytes]]:
    client = here.client()
    return [(client.chat(body).status, body) for body in bodies]


def _mutations(random: random.Random) -> Iterator[bytes]:
    for number in range(BODIES):
        body = json.loads(json.dumps(BASES[number % len(BASES)]))
        for _ in range(random.randint(1, 3)):
            body = _mutated(copy.deepcopy(body), random)
        raw = json.dumps(body, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
        yield _torn(raw, random) if number % 8 == 0 else raw


def _mutated(value: Any, random: random.Random) -> Any:
    """One change at a random place: another value, one more, one less, or one deeper."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.25:
        return _grown(value, random)
    place = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
    if random.random() < 0.15:
        del value[place]
    else:
        value[place] = _mutated(value[place], random) if random.random() < 0.6 else _nasty(random)
    return value


def _grown(value: Any, random: random.Random) -> Any:
    if isinstance(value, dict):
        return {
            **value,
            random.choice([*BASES[2], *BASES[4], "tools", "user", "functions", "name", "", "\ud83d\ude00"]): _nasty(random),
        }
    if isinstance(value, list):
        return [*value, _nasty(random)] * random.choice([1, 1, 30])
    return _nasty(random)


def _nasty(random: random.Random) -> Any:
    return copy.deepcopy(random.choice(NASTY))


def _torn(raw: bytes, random: random.Random) -> bytes:
    at = random.randrange(len(raw))
    return random.choice([raw[:at], raw[at:], raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :], raw[:at] + raw[at // 2 :]])

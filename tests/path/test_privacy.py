"""The account's choice: nothing is kept unless it says so, what is kept is its own to read and to delete, and off means off at once."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest

from tests import books
from tests.fakes.process import Fake
from tests.path.client import Answer, Line, ask, calling
from tests.path.routes import MODELS, PRICES, Crossing, crossing

SAID = "The answer that is kept."
ASKED = "What may be kept?"
SECONDS = 1.2
"""A change holds for every request by then."""
STREAMS = 100
OPT_INS = ("chat_history", "traces_with_content", "evaluation_sets", "memories", "product_improvement")
DISCOUNT = "12.25"
NANO = 10**9


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    settings = {"TOLLWAY_SHARING_DISCOUNT_PERCENT": DISCOUNT}
    with crossing(request.param, fake, tmp_path_factory.mktemp("privacy"), request, **settings) as running:
        yield running


@pytest.fixture
def own(place: Crossing) -> Crossing:
    """A fresh account of the same server."""
    place.fake.reset()
    for provider in ("cheap", "middle", "dear"):
        place.fake.fault(f"one-{provider}", fault=[], text=SAID)
    created = place.tollway.account("5")
    return place._replace(account=created)


def choose(own: Crossing, wait: bool = True, **fields: object) -> Answer:
    answer = own.send("PATCH", "account/privacy", fields)
    if wait:
        time.sleep(SECONDS)
    return answer


def said(own: Crossing, *, key: str = "", stream: bool = False, **headers: str) -> str:
    """Asks; the generation's id."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    messages = [{"role": "user", "content": ASKED}]
    cheap = {"only": ["cheap"]}
    answer = ask(own.tollway.port, key or own.account.key, MODELS[0], headers=sent, messages=messages, stream=stream, provider=cheap)
    assert answer.status == 200, answer.body
    assert answer.said() == SAID
    return answer.headers["x-generation-id"]


def kept(own: Crossing) -> list[str]:
    return [row["id"] for row in own.send("GET", "logs").json["data"]]


def test_by_default_nothing_is_kept_and_the_refusal_says_how_to_change_that(own: Crossing) -> None:
    assert own.send("GET", "account/privacy").json["logging"] == "metadata"
    id = said(own)
    assert kept(own) == []
    refused = own.send("GET", f"generation/content?id={id}")
    assert refused.status == 404
    assert '"logging": "full"' in refused.json["error"]["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_is_kept_is_the_prompt_and_the_answer_for_as_long_as_was_chosen(own: Crossing, stream: bool) -> None:
    before = said(own)
    assert choose(own, logging="full", retention_days=7).json["version"] == 1
    id = said(own, stream=stream)
    (row,) = own.send("GET", "logs").json["data"]
    assert row["id"] == id
    assert (moment(row["expires_at"]) - moment(row["created_at"])) == 7 * 86_400
    content = own.send("GET", f"generation/content?id={id}").json["data"]
    assert content["input"]["messages"] == [{"role": "user", "content": ASKED}]
    assert content["output"]["completion"] == SAID
    assert content["error"] is None
    assert own.send("GET", f"generation/content?id={before}").status == 404, "nothing is kept of what came before"


def test_a_request_and_a_key_can_only_be_stricter(own: Crossing) -> None:
    assert said(own, x_tollway_logging="full") not in kept(own), "a request cannot widen the account's choice"
    choose(own, logging="full")
    strict = said(own, x_tollway_logging="metadata")
    full = said(own, x_tollway_logging="full")
    assert kept(own) == [full]
    assert own.send("GET", f"generation/content?id={strict}").status == 404


def test_a_key_can_be_stricter_than_its_account_and_no_wider(own: Crossing) -> None:
    strict = own.send("POST", "keys", {"name": "strict", "logging": "none"}).json
    wide = own.send("POST", "keys", {"name": "wide", "logging": "full"}).json
    assert (strict["data"]["logging"], wide["data"]["logging"]) == ("none", "full")
    assert said(own, key=wide["key"]) not in kept(own)
    choose(own, logging="full")
    bare, full = said(own, key=strict["key"], x_tollway_logging="full"), said(own, key=wide["key"])
    assert kept(own) == [full]
    assert own.send("GET", f"generation?id={bare}").json["data"]["latency"] is None
    changed = own.send("PATCH", f"keys/{wide['data']['hash']}", {"logging": "metadata"})
    assert changed.json["data"]["logging"] == "metadata"
    time.sleep(SECONDS)
    assert said(own, key=wide["key"]) not in kept(own)
    refused = own.send("PATCH", f"keys/{wide['data']['hash']}", {"logging": "all"})
    assert (refused.status, refused.json["error"]["param"]) == (400, "logging")


def test_none_keeps_nothing_but_billing(own: Crossing) -> None:
    referer = {"http_referer": "https://canary.example/path", "x_title": "canary"}
    known = own.send("GET", f"generation?id={said(own, **referer)}").json["data"]
    assert known["http_referer"] == "https://canary.example"
    bare = own.send("GET", f"generation?id={said(own, x_tollway_logging='none', **referer)}").json["data"]
    assert (bare["http_referer"], bare["finish_reason"], bare["latency"], bare["provider_responses"]) == (None, None, None, [])
    assert bare["total_cost"] == known["total_cost"] > 0
    assert bare["tokens_completion"] == known["tokens_completion"]


def test_only_the_chosen_keys_are_kept(own: Crossing) -> None:
    other = own.key("--name", "other")
    listed = own.send("GET", "keys").json["data"]
    chosen = next(row for row in listed if row["name"] == "other")
    choose(own, logging="full", keys=[chosen["id"]])
    said(own)
    id = said(own, key=other)
    assert kept(own) == [id]


def test_another_account_finds_nothing(own: Crossing) -> None:
    choose(own, logging="full")
    id = said(own)
    stranger = own._replace(account=own.tollway.account("1"))
    assert stranger.send("GET", f"generation/content?id={id}").status == 404
    assert kept(stranger) == []
    assert stranger.send("DELETE", f"logs?id={id}").json["data"]["deleted"] == 0
    assert stranger.send("DELETE", "logs").json["data"]["deleted"] == 0
    assert kept(own) == [id]


def test_the_account_deletes_one_a_span_or_all_and_the_receipt_counts(own: Crossing) -> None:
    choose(own, logging="full")
    first = said(own)
    middle = iso_now()
    second, third = said(own), said(own)
    assert own.send("DELETE", f"logs?id={second}").json["data"]["deleted"] == 1
    assert kept(own) == [third, first]
    assert own.send("DELETE", f"logs?before={middle}").json["data"]["deleted"] == 1
    assert kept(own) == [third]
    receipt = own.send("DELETE", "logs").json["data"]
    assert (receipt["deleted"], receipt["deleted_keys"]) == (1, 1)
    assert receipt["deleted_bytes"] > 0
    assert kept(own) == []
    assert own.send("GET", f"generation/content?id={third}").status == 404


def test_switching_off_stores_nothing_from_then_on_and_deletes_nothing(own: Crossing) -> None:
    choose(own, logging="full")
    old, rows = said(own), stored(own)
    with live(own, STREAMS):
        assert choose(own, wait=False, logging="metadata").status == 200
        assert kept(own) == [old], "none had ended by then"
    time.sleep(0.3)
    assert kept(own) == [old]
    assert stored(own) == rows, "old rows are the same to the byte"
    assert own.send("GET", f"generation/content?id={old}").json["data"]["output"]["completion"] == SAID


def test_a_deletion_during_live_streams_takes_what_there_is_and_no_key_of_what_comes(own: Crossing) -> None:
    choose(own, logging="full")
    old = said(own)
    with live(own, 20):
        receipt = own.send("DELETE", "logs").json["data"]
        assert (receipt["deleted"], receipt["deleted_keys"]) == (1, 1)
        assert stored(own) == []
    time.sleep(0.3)
    found = kept(own)
    assert len(found) == 20, "deleting does not switch off"
    assert old not in found
    for id in found:
        assert own.send("GET", f"generation/content?id={id}").json["data"]["output"]["completion"].startswith("word word")


@contextlib.contextmanager
def live(own: Crossing, streams: int) -> Iterator[None]:
    """So many streams whose answers have begun; they end at the end."""
    for provider in ("cheap", "middle", "dear"):
        own.fake.fault(f"one-{provider}", fault="slow-tokens", ms=50, text=" ".join(["word"] * 80))
    asked = {"stream": True, "max_tokens": 100}
    with ThreadPoolExecutor(streams) as pool, contextlib.ExitStack() as stack:
        lines = [stack.enter_context(calling(own.tollway.port, own.account.key, MODELS[0], **asked)) for _ in range(streams)]
        list(pool.map(lambda line: line.read_until(b'"content":"'), lines))
        yield
        assert not any(b"[DONE]" in line.received for line in lines)
        list(pool.map(Line.read_all, lines))
        assert all(b"[DONE]" in line.received for line in lines)


def stored(own: Crossing) -> list[tuple[Any, ...]]:
    """Every byte that is kept of the account."""
    url, account = own.tollway.environment["TOLLWAY_DATABASE_URL"], own.account.account_id
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        tables = ("content", "content_key")
        return [
            row
            for table in tables
            for row in runner.run(books.sql(url, f"SELECT * FROM {table} WHERE account_id = '{account}' ORDER BY 1, 2"))
        ]


def test_all_other_opt_ins_together_keep_no_word(own: Crossing) -> None:
    choose(own, **dict.fromkeys(OPT_INS, True))
    assert own.send("GET", "account/privacy").json["logging"] == "metadata"
    for stream in (False, True):
        said(own, stream=stream)
        said(own, stream=stream, x_tollway_logging="full")
    assert kept(own) == []
    assert stored(own) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_account_that_shares_pays_exactly_that_much_less_and_sees_the_share(own: Crossing, stream: bool) -> None:
    before = charged(own, said(own, stream=stream), share=Decimal(100))
    choose(own, product_improvement=True)
    id = said(own, stream=stream)
    assert charged(own, id, share=100 - Decimal(DISCOUNT)) < before
    assert kept(own) == []
    choose(own, product_improvement=False)
    assert charged(own, said(own, stream=stream), share=Decimal(100)) == before


def charged(own: Crossing, id: str, *, share: Decimal) -> Decimal:
    """What the generation cost, which is its share of the list price to the nano-dollar."""
    shown = own.send("GET", f"generation?id={id}").json["data"]
    tokens = {"prompt": shown["tokens_prompt"], "completion": shown["tokens_completion"]}
    listed = sum(Decimal(PRICES["cheap"][kind]) * count for kind, count in tokens.items()) / 10**6
    assert Decimal(shown["cost_arithmetic"]["share_percent"]) == share
    assert shown["total_cost"] == (listed * share / 100 * NANO).to_integral_value(ROUND_FLOOR) / NANO > 0
    return Decimal(shown["total_cost"])


def test_the_books_are_right_with_shared_prices(own: Crossing) -> None:
    choose(own, product_improvement=True)
    said(own)
    done = own.tollway.cli("ledger", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_change_stands_in_the_history(own: Crossing) -> None:
    choose(own, wait=False, logging="full", retention_days=10)
    choose(own, wait=False, retention_days=10)
    choose(own, wait=False, retention_days=None)
    rows = own.send("GET", "account/privacy/history").json["data"]
    assert [row["version"] for row in rows] == [2, 1]
    assert [row["privacy"]["retention_days"] for row in rows] == [30, 10]
    assert all(row["actor"].startswith("key_") for row in rows)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logging": "everything"}, "logging"), ({"retention_days": 0}, "retention_days"), ({"retention_days": 366}, "retention_days"),
        ({"retention_days": "30"}, "retention_days"), ({"sampling_rate": 0}, "sampling_rate"), ({"sampling_rate": 1.01}, "sampling_rate"),
        ({"keys": "all"}, "keys"), ({"memories": 1}, "memories"), ({"colour": True}, "colour"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_is_refused_by_name_and_changes_nothing(own: Crossing, fields: dict[str, object], param: str) -> None:
    refused = own.send("PATCH", "account/privacy", fields)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert own.send("GET", "account/privacy").json["version"] == 0


def test_a_word_that_is_no_level_is_refused_before_anything_is_sent(own: Crossing) -> None:
    refused = ask(own.tollway.port, own.account.key, MODELS[0], headers={"X-Tollway-Logging": "some"})
    assert (refused.status, refused.json["error"]["param"]) == (400, "X-Tollway-Logging")
    assert own.called() == []


@pytest.mark.parametrize("path", ["logs", "account/privacy", "account/privacy/history"])
def test_an_inference_key_may_neither_read_nor_change_what_is_kept(own: Crossing, path: str) -> None:
    key = own.key("--name", "app")
    assert own.send("GET", path, key=key).status == 403
    assert own.send("PATCH", "account/privacy", {"logging": "full"}, key=key).status == 403
    assert own.send("DELETE", "logs", key=key).status == 403


@pytest.mark.parametrize(("query", "param"), [("?limit=0", "limit"), ("?limit=101", "limit"), ("?limit=x", "limit"), ("?after=x", "after")])
def test_a_bad_page_is_refused_by_name(own: Crossing, query: str, param: str) -> None:
    refused = own.send("GET", f"logs{query}")
    assert (refused.status, refused.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize(("query", "param"), [("?before=soon", "before"), ("?id=a&before=2026-01-01", "id"), ("?all=1", "all")])
def test_a_deletion_that_is_not_understood_deletes_nothing(own: Crossing, query: str, param: str) -> None:
    choose(own, logging="full")
    id = said(own)
    refused = own.send("DELETE", f"logs{query}")
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert kept(own) == [id]


def test_the_pages_of_the_log_are_whole_and_in_order(own: Crossing) -> None:
    choose(own, logging="full")
    ids = [said(own) for _ in range(5)]
    seen, after = [], ""
    while True:
        page = own.send("GET", f"logs?limit=2&after={after}").json
        seen += [row["id"] for row in page["data"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == ids[::-1]


def moment(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def iso_now() -> str:
    from datetime import UTC, datetime

    time.sleep(0.01)
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""The fake provider's ledger tells what was served, reported and billed, and when a client left."""

import json
import socket
import time

import pytest

from tests.fakes.faults import Json
from tests.fakes.process import Fake
from tests.fakes_check.raw_client import ask, connect, receive, request_bytes

ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}


def billed(prompt: int, completion: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "cached_tokens": cached, "reasoning_tokens": reasoning}


def only_row(fake: Fake, model: str) -> dict[str, Json]:
    rows = fake.settled(model)
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("stream", [True, False])
def test_a_served_answer_is_booked_whole(fake: Fake, stream: bool) -> None:
    seen = ask(fake, "fast-1", stream=stream, stream_options={"include_usage": True}, seed=7)
    row = only_row(fake, "fast-1")
    assert (row["outcome"], row["status"], row["stream"], row["path"]) == ("served", 200, stream, "/v1/chat/completions")
    assert row["reported_usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert row["reported_usage"] == (seen.events[-1] if stream else seen.json)["usage"]
    assert row["billed_tokens"] == billed(5, 3)
    assert row["request_body"]["seed"] == 7
    assert row["request_headers"]["host"] == "fake"
    assert row["started_at"] <= row["ended_at"]
    assert row["cancelled_after_ms"] is None


def test_usage_is_not_reported_in_a_stream_that_did_not_ask(fake: Fake) -> None:
    assert '"usage"' not in ask(fake, "fast-1").text
    assert only_row(fake, "fast-1")["reported_usage"] is None


def test_details_and_hidden_reasoning_are_reported_and_billed(fake: Fake) -> None:
    ask(fake, "fast-1@cached=4,reasoning=20", stream=False)
    row = only_row(fake, "fast-1@cached=4,reasoning=20")
    assert row["reported_usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert row["reported_usage"]["completion_tokens_details"] == {"reasoning_tokens": 20}
    assert row["billed_tokens"] == billed(5, 23, cached=4, reasoning=20)


def test_a_planned_usage_is_reported_and_billed(fake: Fake) -> None:
    fake.fault("fast-1", usage={"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 64}})
    ask(fake, "fast-1", stream_options={"include_usage": True})
    row = only_row(fake, "fast-1")
    assert row["reported_usage"]["total_tokens"] == 1500
    assert row["billed_tokens"] == billed(1000, 500, cached=64)


@pytest.mark.parametrize(
    "model", ["status", "reset-before-headers", "close-before-headers", "error-200", "empty-body", "bad-json", "redirect"]
)
def test_an_answer_that_never_was_is_failed_and_free(fake: Fake, model: str) -> None:
    ask(fake, model)
    row = only_row(fake, model)
    assert (row["outcome"], row["billed_tokens"]) == ("failed", ZEROS)


@pytest.mark.parametrize("model", ["reset-midstream", "close-midstream", "clean-eof-midstream", "error-midstream"])
def test_a_broken_stream_is_billed_for_what_was_emitted(fake: Fake, model: str) -> None:
    ask(fake, model)
    row = only_row(fake, model)
    assert (row["outcome"], row["billed_tokens"]) == ("failed", billed(5, 2))


def test_a_wrong_report_does_not_change_what_is_billed(fake: Fake) -> None:
    ask(fake, "usage-wrong@kind=negative", stream=False)
    row = only_row(fake, "usage-wrong@kind=negative")
    assert row["reported_usage"]["completion_tokens"] == -5
    assert row["billed_tokens"] == billed(5, 3)


@pytest.mark.parametrize(
    "model", ["endless", "slow-tokens@tokens=100000,ms=5", "stall-midstream", "endless+gzip", "endless@tokens=1000000"]
)
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_client_that_leaves_midstream_is_noticed_within_200_ms(fake: Fake, model: str, how: str) -> None:
    with connect(fake) as sock:
        sock.sendall(request_bytes(model, stream=True))
        started = time.monotonic()
        sock.recv(200)
        time.sleep(0.1)
        if how == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        left_after_ms = (time.monotonic() - started) * 1000
    row = only_row(fake, model)
    assert row["outcome"] == "cancelled"
    assert -50 < row["cancelled_after_ms"] - left_after_ms < 200
    assert row["completion_tokens"] >= 2
    assert row["billed_tokens"] == billed(5, row["completion_tokens"])


@pytest.mark.parametrize("model", ["stall-before-headers", "headers-then-stall", "slow-first-token@ms=60000"])
def test_a_client_that_leaves_before_anything_began_is_cancelled_and_free(fake: Fake, model: str) -> None:
    with connect(fake) as sock:
        sock.sendall(request_bytes(model, stream=False))
        time.sleep(0.05)
    row = only_row(fake, model)
    assert (row["outcome"], row["billed_tokens"]) == ("cancelled", ZEROS)


def test_a_client_that_leaves_a_whole_answer_pays_for_what_was_generated(fake: Fake) -> None:
    with connect(fake) as sock:
        sock.sendall(request_bytes("slow-tokens@ms=10,tokens=1000", stream=False))
        time.sleep(0.15)
    row = only_row(fake, "slow-tokens@ms=10,tokens=1000")
    assert row["outcome"] == "cancelled"
    assert 0 < row["billed_tokens"]["completion_tokens"] < 30


def test_a_client_that_leaves_after_the_last_event_was_served(fake: Fake) -> None:
    for model in ("fast-1", "doubled-done", "after-done"):
        with connect(fake) as sock:
            sock.sendall(request_bytes(model, stream=True, close=False))
            seen = b""
            while b"[DONE]" not in seen:
                seen += sock.recv(65536)
        assert only_row(fake, model)["outcome"] == "served"


def test_connections_are_counted_and_reused(fake: Fake) -> None:
    before = fake.connections()
    with connect(fake) as sock:
        for _ in range(3):
            sock.sendall(request_bytes("fast-1", close=False))
            assert receive(sock, quiet_s=0.1).status == 200
        sock.sendall(request_bytes("stall-before-headers", close=False))
        time.sleep(0.05)
        during = fake.connections()
    rows = fake.settled(count=4)
    assert len({row["connection"] for row in rows}) == 1
    assert during == {"open": before["open"] + 1, "in_flight": before["in_flight"] + 1, "total": before["total"] + 1}
    assert fake.connections()["open"] == before["open"]


def test_chunked_requests_and_pipelined_requests_are_read(fake: Fake) -> None:
    payload = json.dumps({"model": "fast-1", "messages": []}).encode()
    cut = b"5\r\n%b\r\n%x;note=1\r\n%b\r\n0\r\ntrailer: x\r\n\r\n" % (payload[:5], len(payload) - 5, payload[5:])
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\ntransfer-encoding: chunked\r\n\r\n"
    with connect(fake) as sock:
        sock.sendall(head + cut + request_bytes("fast-1"))
        seen = receive(sock)
    assert seen.raw.count(b"HTTP/1.1 200 OK") == 2


RUBBISH = [
    b"\x00\xff\xfe\x16\x03\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99999999999999\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET //[::1 HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"x" * 100_000,
    b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\xff\xfe{}",
    b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 50000\r\nconnection: close\r\n\r\n" + b"[" * 50_000,
    b"DELETE /nowhere HTTP/1.1\r\nconnection: close\r\n\r\n",
    b"PUT /v1/chat/completions HTTP/1.1\r\nconnection: close\r\n\r\n",
    b"PUT /control/faults/x HTTP/1.1\r\nconnection: close\r\ncontent-length: 17\r\n\r\n" + b'{"fault": "nope"}',
    b"PUT /control/faults/x HTTP/1.1\r\nconnection: close\r\ncontent-length: 17\r\n\r\n" + b'{"fault": [[1]] }',
]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_rubbish_is_refused_and_survived(fake: Fake, rubbish: bytes) -> None:
    with connect(fake) as sock:
        sock.sendall(rubbish)
        assert 400 <= receive(sock).status < 500
    assert ask(fake, "fast-1").status == 200


ODD_BODIES: list[dict[str, Json]] = [
    {"messages": [None, 5, {"role": "user", "content": 7}, {"content": [None, {"type": "text"}]}]},
    {"tools": [1, {"function": {"name": None, "parameters": []}}], "tool_choice": {"function": 3}},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#"}}}]},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": 3}}}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array", "minItems": 5, "maxLength": "x"}}}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"anyOf": [], "enum": 3, "allOf": [4]}}}},
    {"n": 10**9, "max_tokens": "five", "logprobs": True, "top_logprobs": 10**9, "stream_options": 5},
    {"model": "lone \ud800 surrogate", "messages": [{"role": "user", "content": "say 3"}]},
    {"model": "status@status=99999999999999999999,code=%0d%0ax"},
    {"model": "slow-tokens@ms=-5,tokens=-3"},
    {"model": "split-at@n=-4"},
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("odd", ODD_BODIES)
def test_odd_requests_are_answered_somehow(fake: Fake, odd: dict[str, Json], stream: bool) -> None:
    body: dict[str, Json] = {"model": "odd", **odd, "stream": stream}
    with connect(fake) as sock:
        sock.sendall(request_bytes(body.pop("model"), **body))
        assert receive(sock).end == "fin"
    fake.ledger()

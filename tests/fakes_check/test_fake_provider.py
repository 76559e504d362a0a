"""Every fault of the fake provider shows on the wire: with stream in CASES, without in WHOLE."""

import json
from collections.abc import Callable

import pytest

from tests.fakes import faults
from tests.fakes.faults import FAULTS, MIB
from tests.fakes.process import Fake
from tests.fakes_check.raw_client import Seen, ask, connect, receive, request_bytes, unpacked_size

ANSWER = "Hello from {}."
MULTI_BYTE = "Hello é 漢 😀 wörld"
ASK = {"include_usage": True}

Check = Callable[[Seen], object]


def whole(seen: Seen) -> bool:
    return seen.status == 200 and seen.end == "fin" and seen.chunked_to_the_end and seen.data[-1] == "[DONE]"


def cut_after_three(seen: Seen) -> bool:
    return seen.status == 200 and len(seen.data) == 3 and not seen.raw.endswith(b"0\r\n\r\n")


def finishes(seen: Seen) -> list[str]:
    return [c["finish_reason"] for e in seen.events for c in e["choices"] if c["finish_reason"]]


def usages(seen: Seen) -> list[object]:
    return [event["usage"] for event in seen.events if event.get("usage") is not None]


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def arguments(seen: Seen) -> list[tuple[int, str]]:
    calls = [call for event in seen.events for c in event["choices"] for call in c["delta"].get("tool_calls", [])]
    return [(call["index"], call["function"]["arguments"]) for call in calls if "id" not in call]


CASES: dict[str, Check] = {
    "slow-first-token@ms=250": lambda s: whole(s) and s.took_s > 0.25,
    "slow-tokens@ms=60": lambda s: whole(s) and len(s.reads) > 3 and s.took_s > 0.18,
    "slow-headers@ms=20": lambda s: whole(s) and s.reads[0].count(b"\r\n") < 5 and s.took_s > 0.12,
    "rate-limit@secs=7": lambda s: s.status == 429 and "retry-after: 7" in s.head and s.json["error"]["code"] == "rate_limit_exceeded",
    "status@status=418,code=tea,message=no%20coffee": lambda s: (
        s.status == 418 and "no coffee" in s.text and s.json["error"]["code"] == "tea"
    ),
    "status-html": lambda s: s.status == 502 and "text/html" in s.head and s.body.startswith(b"<html>"),
    "status-empty@status=503": lambda s: s.status == 503 and s.body == b"",
    "echo-prompt-error": lambda s: s.status == 400 and "hi there" in s.json["error"]["message"],
    "context-length": lambda s: s.status == 400 and s.json["error"]["code"] == "context_length_exceeded",
    "leaky-error": lambda s: s.status == 401 and "sk-secret-upstream-key" in s.text and "openai-organization: org-" in s.head,
    "needs-key": lambda s: s.status == 401 and s.json["error"]["code"] == "invalid_api_key",
    "reset-before-headers": lambda s: s.end == "rst" and not s.raw,
    "close-before-headers": lambda s: s.end == "fin" and not s.raw,
    "stall-before-headers": lambda s: s.end == "open" and not s.raw,
    "headers-then-stall": lambda s: s.end == "open" and s.status == 200 and s.raw.endswith(b"\r\n\r\n"),
    "redirect": lambda s: s.status == 302 and "location: /elsewhere/v1/chat/completions" in s.head,
    "fail-then-ok": lambda s: s.status == 500,
    "empty-body": lambda s: s.status == 200 and s.end == "fin" and s.body == b"",
    "bad-json": lambda s: s.status == 200 and not is_json(s.data[0]),
    "huge-body@mb=3": lambda s: s.status == 200 and len(s.body) > 3 * MIB and s.body.startswith(b"data: "),
    "gzip-bomb@mb=8": lambda s: len(s.raw) < 50_000 and unpacked_size(s.raw.partition(b"\r\n\r\n")[2]) == 8 * MIB,
    "reset-midstream": lambda s: s.end == "rst" and cut_after_three(s),
    "close-midstream": lambda s: s.end == "fin" and cut_after_three(s),
    "clean-eof-midstream": lambda s: s.chunked_to_the_end and len(s.data) == 3 and 'finish_reason":"' not in s.text,
    "stall-midstream": lambda s: s.end == "open" and cut_after_three(s),
    "truncated-json": lambda s: s.end == "fin" and len(s.chunks[-1]) < 0x800 and len(s.data) == 4,
    "malformed-sse": lambda s: s.chunked_to_the_end and [is_json(d) for d in s.data[:5]] == [True, True, True, False, True],
    "garbage-first": lambda s: s.data[-1] == "[DONE]" and [is_json(d) for d in s.data[:2]] == [False, True],
    "error-200": lambda s: s.status == 200 and len(s.events) == 1 and "message" in s.events[0]["error"],
    "error-midstream": lambda s: len(s.events) == 4 and s.events[3]["error"]["code"] == "server_error" and "[DONE]" not in s.text,
    "error-midstream@shape=chunk,done=1": lambda s: s.events[3]["choices"][0]["finish_reason"] == "error" and s.data[-1] == "[DONE]",
    "error-bare-midstream": lambda s: "error" not in s.events[3] and s.events[3]["message"],
    "error-bare-midstream@shape=string": lambda s: isinstance(s.events[3]["error"], str),
    "split-bytes": lambda s: whole(s) and {len(chunk) for chunk in s.chunks[:-1]} == {1} and s.said == MULTI_BYTE,
    "split-at@n=3": lambda s: whole(s) and len(s.chunks[0]) == 3 and s.chunks[2] == b"dat" and s.said == MULTI_BYTE,
    "crlf": lambda s: whole(s) and s.body.count(b"\r\n\r\n") == len(s.data) and s.body.replace(b"\r\n", b"").count(b"\n") == 0,
    "cr": lambda s: b"\n" not in s.body and s.body.endswith(b"data: [DONE]\r\r"),
    "comments": lambda s: whole(s) and all(mark in s.text for mark in ("\n: ", ": keep-alive", "event: ", "id: 2\n", "retry: ", "\n\n\n")),
    "multi-data": lambda s: len(s.data) == 13 and all(is_json("".join(s.data[n : n + 2])) for n in range(0, 12, 2)),
    "no-space": lambda s: whole(s) and "data:{" in s.text and "data: {" not in s.text,
    "no-done": lambda s: s.chunked_to_the_end and finishes(s) == ["stop"] and len(usages(s)) == 1 and "[DONE]" not in s.text,
    "doubled-done": lambda s: s.data[-2:] == ["[DONE]", "[DONE]"],
    "after-done": lambda s: s.data[-3] == "[DONE]" and "ghost" in s.data[-2],
    "gzip": lambda s: whole_but_packed(s) and s.said == ANSWER.format("gzip"),
    "wrong-content-type": lambda s: whole(s) and "content-type: text/html" in s.head,
    "stream-answered-with-json": lambda s: "application/json" in s.head and s.json["object"] == "chat.completion",
    "json-answered-with-stream": whole,
    "ok-then-close-idle": whole,
    "missing-usage": lambda s: whole(s) and '"usage":' not in s.text,
    "usage-null": lambda s: whole(s) and s.events[-1]["choices"] == [] and s.events[-1]["usage"] is None,
    "usage-in-last-content": lambda s: whole(s) and last_content_has_all(s),
    "usage-every-chunk": lambda s: [u["completion_tokens"] for u in usages(s)] == [0, 1, 2, 3, 3, 3],  # type: ignore[index]
    "usage-wrong": lambda s: usages(s)[0]["completion_tokens"] == -5,  # type: ignore[index]
    "usage-wrong@kind=str": lambda s: usages(s)[0]["completion_tokens"] == "3",  # type: ignore[index]
    "usage-wrong@kind=float": lambda s: usages(s)[0]["completion_tokens"] == 3.25,  # type: ignore[index]
    "usage-wrong@kind=huge": lambda s: usages(s)[0]["completion_tokens"] == 10**30,  # type: ignore[index]
    "usage-wrong@kind=list": lambda s: usages(s) == [[5, 3]],
    "usage-wrong@kind=empty": lambda s: usages(s) == [{}],
    "usage-wrong@kind=inconsistent": lambda s: usages(s)[0]["total_tokens"] == 1,  # type: ignore[index]
    "huge-event": lambda s: whole(s) and max(map(len, s.data)) > 2 * MIB,
    "big-event": lambda s: whole(s) and MIB // 2 < max(map(len, s.data)) < MIB,
    "endless@tokens=40": lambda s: whole(s) and s.said == "word " * 40,
    "ignore-max-tokens": lambda s: whole(s) and s.said == "word " * 100,
    "empty-stream": lambda s: whole(s) and s.data == ["[DONE]"],
    "empty-content": lambda s: whole(s) and s.said == "" and finishes(s) == ["stop"],
    "refusal": lambda s: whole(s) and 'refusal":"I"' in s.text and finishes(s) == ["stop"],
    "content-filter": lambda s: whole(s) and finishes(s) == ["content_filter"],
    "reasoning": lambda s: usages(s)[0]["completion_tokens_details"] == {"reasoning_tokens": 3} and s.text.count("reasoning_content") == 3,  # type: ignore[index]
    "tool-split": lambda s: {len(text) for _, text in arguments(s)} == {1} and [i for i, _ in arguments(s)][:4] == [0, 1, 0, 1],
    "n2": lambda s: whole(s) and [e["choices"][0]["index"] for e in s.events[:-1]] == [1, 1, 0, 0] + [1, 0] * 3,
}


def whole_but_packed(seen: Seen) -> bool:
    return "content-encoding: gzip" in seen.head and seen.chunked_to_the_end and seen.data[-1] == "[DONE]"


def last_content_has_all(seen: Seen) -> bool:
    last = seen.events[-1]
    choice = last["choices"][0]
    return bool(choice["delta"]["content"] and choice["finish_reason"] == "stop" and last["usage"]["completion_tokens"] == 3)


@pytest.mark.parametrize("model", CASES)
def test_a_stream_shows_its_fault_on_the_wire(fake: Fake, model: str) -> None:
    seen = ask(fake, model, max_tokens=60, stream_options=ASK)
    assert CASES[model](seen), seen.raw[:3000]


def half(seen: Seen) -> bool:
    return seen.status == 200 and seen.body.startswith(b'{"id"') and not is_json(seen.text) and declared(seen) > len(seen.body)


def declared(seen: Seen) -> int:
    return int(seen.head.partition("content-length: ")[2].split("\r\n")[0])


def answered(seen: Seen) -> bool:
    return seen.end == "fin" and seen.json["object"] == "chat.completion"


WHOLE: dict[str, Check] = {
    "reset-midstream": lambda s: s.end == "rst" and half(s),
    "close-midstream": lambda s: s.end == "fin" and half(s),
    "stall-midstream": lambda s: s.end == "open" and half(s),
    "stall-midstream@ms=50": answered,
    "truncated-json": lambda s: s.end == "fin" and half(s),
    "clean-eof-midstream": lambda s: declared(s) == len(s.body) and not is_json(s.text),
    "headers-then-stall": lambda s: s.end == "open" and s.status == 200 and s.body == b"",
    "malformed-sse": lambda s: s.status == 200 and not is_json(s.text),
    "bad-json": lambda s: s.status == 200 and not is_json(s.text),
    "error-200": lambda s: s.status == 200 and "message" in s.json["error"],
    "error-midstream": lambda s: s.status == 200 and "message" in s.json["error"],
    "error-bare-midstream": lambda s: s.status == 200 and "message" in s.json,
    "json-answered-with-stream": lambda s: whole(s) and "text/event-stream" in s.head,
    "stream-answered-with-json": answered,
    "empty-stream": lambda s: s.json["choices"] == [],
    "empty-content": lambda s: s.json["choices"][0]["message"]["content"] == "" and s.json["usage"]["completion_tokens"] == 0,
    "missing-usage": lambda s: answered(s) and "usage" not in s.json,
    "usage-null": lambda s: answered(s) and s.json["usage"] is None,
    "usage-wrong": lambda s: s.json["usage"]["completion_tokens"] == -5,
    "gzip": lambda s: "content-encoding: gzip" in s.head and s.json["choices"][0]["message"]["content"] == "Hello from gzip.",
    "split-bytes@gap_ms=1": lambda s: s.json["choices"][0]["message"]["content"] == MULTI_BYTE and len(s.reads) > 3,
    "wrong-content-type": lambda s: "text/html" in s.head and answered(s),
    "huge-body@mb=2": lambda s: len(s.json["choices"][0]["message"]["content"]) == 2 * MIB,
    "slow-tokens@ms=50": lambda s: answered(s) and s.took_s > 0.14,
    "endless": lambda s: s.end == "open" and not s.raw,
    "ignore-max-tokens@tokens=70": lambda s: s.json["usage"]["completion_tokens"] == 70,
    "refusal": lambda s: s.json["choices"][0]["message"]["content"] is None and "cannot" in s.json["choices"][0]["message"]["refusal"],
    "content-filter": lambda s: s.json["choices"][0]["finish_reason"] == "content_filter",
    "reasoning": lambda s: s.json["choices"][0]["message"]["reasoning_content"] == "Let me think.",
    "tool-split": lambda s: len(s.json["choices"][0]["message"]["tool_calls"]) == 2,
    "n2": lambda s: [row["index"] for row in s.json["choices"]] == [0, 1],
}


@pytest.mark.parametrize("model", WHOLE)
def test_a_whole_answer_shows_its_fault_on_the_wire(fake: Fake, model: str) -> None:
    seen = ask(fake, model, stream=False, max_tokens=60)
    assert WHOLE[model](seen), seen.raw[:3000]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_a_case_and_a_line_in_the_table(fault: str) -> None:
    assert fault in {model.partition("@")[0] for model in CASES}
    assert fault in (faults.__doc__ or "")


def test_two_faults_combine_in_one_name(fake: Fake) -> None:
    seen = ask(fake, "crlf+missing-usage+n2", stream_options=ASK)
    assert b"\r\n\r\n" in seen.body
    assert '"usage":' not in seen.text
    assert len(finishes(seen)) == 2


def test_a_plan_set_for_a_model_beats_its_name_until_cleared(fake: Fake) -> None:
    fake.fault("acme/fast 1", fault="status", status=503, message="planned")
    assert ask(fake, "acme/fast 1").status == 503
    fake.reset()
    assert ask(fake, "acme/fast 1").status == 200


def test_fail_then_ok_fails_as_often_as_told_and_as_told(fake: Fake) -> None:
    model = "fail-then-ok@how=rate-limit,times=2"
    assert [ask(fake, model).status for _ in range(4)] == [429, 429, 200, 200]


def test_a_stale_connection_closes_on_the_next_request_without_an_answer(fake: Fake) -> None:
    with connect(fake) as sock:
        sock.sendall(request_bytes("ok-then-close-idle", close=False))
        assert receive(sock, quiet_s=0.2).status == 200
        sock.sendall(request_bytes("fast-1"))
        second = receive(sock)
    assert (second.raw, second.end) == (b"", "fin")
    assert [row["outcome"] for row in fake.settled(count=2)] == ["served", "failed"]


def test_the_key_is_asked_for_only_by_the_model_that_needs_it(fake: Fake) -> None:
    with connect(fake) as sock:
        sock.sendall(request_bytes("needs-key", headers="authorization: Bearer good-key\r\n"))
        assert receive(sock).status == 200

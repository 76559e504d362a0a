"""What a chat must be beyond its shape: tool results answer calls, and base64 is whole; nothing else is looked at."""

import base64
import binascii
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.api import chat_checks
from gateway.api.chat_body import parse
from gateway.errors import BadRequest

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ASKED = {"role": "user", "content": "What is the weather?"}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def answer(id: object = "a") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "rain"}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def ask(*messages: dict[str, Any]) -> None:
    parse(json.dumps({"model": "acme/fast-1", "messages": messages}).encode())


def refusal(*messages: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        ask(*messages)
    assert caught.value.status == 400
    assert caught.value.message.startswith(f"{caught.value.param}: ")
    return caught.value


# Tool results


def test_a_result_of_an_earlier_call_passes_however_late_or_often() -> None:
    ask(ASKED, CALLED, answer(), answer(), ASKED, answer())


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ((ASKED, answer()), 1),
        ((ASKED, CALLED, answer("b")), 2),
        ((ASKED, answer(), CALLED), 1),
        ((ASKED, {**CALLED, "role": "user"}, answer()), 2),
        ((ASKED, CALLED, {"role": "tool", "content": "rain"}), 2),
        ((ASKED, CALLED, answer(None)), 2),
        ((ASKED, CALLED, answer(["a"])), 2),
        ((ASKED, CALLED, answer("")), 2),
    ],
    ids=["no call", "another id", "too early", "a user's call", "no id", "null", "a list", "empty"],
)
def test_a_result_that_answers_no_call_is_refused_by_its_place(messages: tuple[dict[str, Any], ...], place: int) -> None:
    assert refusal(*messages).param == f"messages[{place}].tool_call_id"


@pytest.mark.parametrize("id", [None, "", 7, ["a"], {}])
def test_a_call_without_an_id_may_be_meant_by_any_result(id: object) -> None:
    ask(ASKED, {"role": "assistant", "tool_calls": [{"id": id, "function": {"name": "f"}}]}, answer("whatever"))


# Base64


@pytest.mark.parametrize(
    "part",
    [
        image(f"data:image/png;base64,{PIXEL}"),
        image("https://example.com/a.png"),
        image("data:image/svg+xml;utf8,<svg/>"),
        {"type": "image_url", "image_url": f"data:image/png;base64,{PIXEL}"},
        {"type": "image_url"},
        {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PIXEL}},
        {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "unheard-of", "image_url": {"url": "data:image/png;base64,?"}},
    ],
    ids=repr,
)
def test_whole_data_and_what_is_no_data_pass(part: dict[str, Any]) -> None:
    ask(user({"type": "text", "text": "Look."}, part))


BROKEN = ("A", "AAA", "AA=", "A===", "AAAA=", "AA=A", "AA==AAAA", "AA A", "AAAA\n", "AA-_", "ÄAAA", "")


@pytest.mark.parametrize("data", BROKEN)
@pytest.mark.parametrize(
    ("kind", "field", "head"),
    [
        ("image_url", "url", "data:image/png;base64,"),
        ("video_url", "url", "data:video/mp4;base64,"),
        ("input_audio", "data", ""),
        ("input_audio", "data", "data:audio/wav;base64,"),
        ("file", "file_data", "data:application/pdf;base64,"),
        ("file", "file_data", ""),
    ],
)
def test_broken_base64_is_refused_by_its_message_and_part(kind: str, field: str, head: str, data: str) -> None:
    error = refusal(ASKED, user({"type": "text", "text": "Look."}, {"type": kind, kind: {field: head + data}}))
    assert error.param == "messages[1].content[1]"
    assert f"{kind}.{field}" in error.message
    assert error.error_type == ("invalid_image" if kind == "image_url" else "invalid_request")


def test_an_image_may_have_20_mib_and_not_a_byte_more() -> None:
    head = "data:image/png;base64,"
    for size in (chat_checks.IMAGE_BYTES_MAX - 1, chat_checks.IMAGE_BYTES_MAX):
        chat_checks.check([user(image(head + base64.b64encode(bytes(size)).decode()))])
    with pytest.raises(BadRequest, match="20 MiB") as caught:
        chat_checks.check([user(image(head + base64.b64encode(bytes(chat_checks.IMAGE_BYTES_MAX + 1)).decode()))])
    assert (caught.value.param, caught.value.error_type) == ("messages[0].content[0]", "image_too_large")


@given(st.text(alphabet="AZaz09+/=-_ é\n", max_size=24))
@example("A=AA")
@example("AAA=AAA=")
def test_whole_is_what_binascii_takes_in_its_strict_mode(text: str) -> None:
    try:
        strict = bool(binascii.a2b_base64(text.encode(), strict_mode=True))
    except binascii.Error:
        strict = False
    assert chat_checks.whole(text) == strict


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299))
def test_one_wrong_character_is_found_wherever_it_stands(data: bytes, at: int) -> None:
    text = base64.b64encode(data * 600).decode()
    assert chat_checks.whole(text)
    at = at * len(text) // 300
    assert not chat_checks.whole(f"{text[:at]}!{text[at + 1 :]}")


def test_a_large_image_takes_well_under_100_ms() -> None:
    messages = [user(image("data:image/png;base64," + base64.b64encode(bytes(20 * 2**20)).decode()))]
    fastest = min(_seconds(messages) for _ in range(3))
    assert fastest < 0.1


def _seconds(messages: list[dict[str, Any]]) -> float:
    began = time.perf_counter()
    chat_checks.check(messages)
    return time.perf_counter() - began

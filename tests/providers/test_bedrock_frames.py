"""AWS event streams: the same frames however the bytes are cut, and a broken message is one broken frame after the good ones."""

import random
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.bedrock_frames import BROKEN, FrameSplitter
from tests.fakes.bedrock_frames import event, exception, message
from tests.fakes.framing import dumps

MAX = 64 * 1024
STREAM = (
    event("messageStart", {"role": "assistant"})
    + event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "é 漢 😀"}})
    + event("messageStop", {"stopReason": "end_turn"})
    + exception("throttlingException", {"message": "Slow down."})
)
FRAMES = [
    b'messageStart\n{"role":"assistant"}',
    'contentBlockDelta\n{"contentBlockIndex":0,"delta":{"text":"é 漢 😀"}}'.encode(),
    b'messageStop\n{"stopReason":"end_turn"}',
    b'!throttlingException\n{"message":"Slow down."}',
]


def frames(*chunks: bytes, most: int = MAX) -> list[bytes]:
    splitter = FrameSplitter(most)
    found = [frame for chunk in chunks for frame in splitter.feed(chunk)]
    assert splitter.rest() == b""
    return [BROKEN if frame.startswith(BROKEN) else frame for frame in found]


def test_a_stream_is_cut_into_its_messages() -> None:
    assert frames(STREAM) == FRAMES


def test_every_split_gives_the_same_frames() -> None:
    for at in range(len(STREAM) + 1):
        assert frames(STREAM[:at], STREAM[at:]) == FRAMES
    assert frames(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == FRAMES


def test_every_bit_counts() -> None:
    """Whichever byte of the second message is wrong: the first came whole, and then there is exactly one broken frame, or none yet."""
    first, second = event("messageStart", {}), event("metadata", {"usage": None})
    for at in range(len(second)):
        torn = bytearray(second)
        torn[at] ^= 0x10
        assert frames(first + bytes(torn) + first) == [b"messageStart\n{}", BROKEN]


def test_what_came_before_a_broken_message_counts_however_it_is_cut() -> None:
    broken = STREAM + STREAM[:-1] + b"?" + STREAM
    whole = frames(broken)
    assert whole == [*FRAMES, *FRAMES[:-1], BROKEN]
    for size in (1, 7, 100, 1000):
        assert frames(*(broken[at : at + size] for at in range(0, len(broken), size))) == whole


def test_a_wrong_length_is_seen_before_what_it_promises_has_come() -> None:
    good, wrong = event("messageStart", {}), bytearray(event("metadata", {"usage": None})[:12])
    wrong[3] ^= 1
    for cut in (5, 12, len(good)):
        assert frames(good[:cut], good[cut:], bytes(wrong)) == [b"messageStart\n{}", BROKEN]


def test_a_torn_message_counts_for_nothing() -> None:
    assert frames(STREAM[:-1]) == FRAMES[:-1]


def test_a_message_beyond_the_bound_is_refused_before_it_is_here() -> None:
    fields = {"delta": {"text": "x" * 1000}}
    large = event("contentBlockDelta", fields)
    assert frames(large, most=len(large)) == [b"contentBlockDelta\n" + dumps(fields).encode()]
    assert frames(large[:12], most=len(large) - 1) == [BROKEN]
    splitter = FrameSplitter(1000)
    [frame] = splitter.feed(large[:12])
    assert b"not between 16 and 1000" in frame
    assert splitter.feed(large) == []


def crafted(total: int, of_headers: int, rest: bytes = b"") -> bytes:
    """A message whose prelude is as it says, with a right checksum."""
    prelude = struct.pack("!II", total, of_headers)
    return prelude + struct.pack("!I", zlib.crc32(prelude)) + rest


@pytest.mark.parametrize(
    "odd",
    [
        crafted(0, 0),
        crafted(15, 0, b"\0" * 20),
        crafted(16, 200, b"\0" * 4),
        crafted(40, 4, b"\xff" * 28),
        crafted(2**32 - 1, 0),
        message({":message-type": "event"}, b"{}"),
        message({":message-type": "event", ":event-type": "two words\nand a line"}, b"{}"),
        message({":message-type": "other", ":event-type": "metadata"}, b"{}"),
        message({}, b"{}"),
        b"HTTP/1.1 200 OK\r\n\r\n",
        b'data: {"choices": []}\n\n',
    ],
)
def test_what_is_no_message_is_one_broken_frame(odd: bytes) -> None:
    assert frames(odd + b"\0" * 64) == [BROKEN]


def test_an_error_that_the_api_does_not_name_is_an_exception() -> None:
    said = message({":message-type": "error", ":error-code": "InternalFailure", ":error-message": "secret"}, b"")
    assert frames(said) == [b"!InternalFailure\n"]


def by_botocore(data: bytes) -> list[bytes] | None:
    """The frames of whole messages as botocore's own decoder sees them; None if it finds one broken."""
    decoder = EventStreamBuffer()
    decoder.add_data(data)
    try:
        return [f"{found.headers[':event-type']}\n".encode() + found.payload for found in decoder]
    except (ParserError, LookupError, ValueError, struct.error):
        return None


@settings(max_examples=300, deadline=None)
@given(
    said=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    more=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=600), max_size=3),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=2),
)
def test_what_botocore_reads_is_read_alike_and_what_it_refuses_is_refused(
    said: list[bytes], more: dict[str, str], flips: list[tuple[int, int]]
) -> None:
    head = {**more, ":message-type": "event", ":event-type": "metadata"}
    data = bytearray(b"".join(message(head, payload) for payload in said))
    for place, bits in flips:
        data[place % len(data)] ^= bits
    expected, found = by_botocore(bytes(data)), frames(bytes(data), most=2**24)
    assert found == expected if expected is not None else found[-1:] in ([BROKEN], []) and len(found) <= len(said)


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200), at=st.integers(0, len(STREAM)), seed=st.integers(0, 2**32))
def test_no_bytes_make_it_stumble_or_differ_by_chunking(noise: bytes, at: int, seed: int) -> None:
    data = STREAM[:at] + noise + STREAM[at:]
    pick, chunks, start = random.Random(seed), [], 0
    while start < len(data):
        size = pick.choice((1, 2, 11, 12, 13, 50, 400))
        chunks.append(data[start : start + size])
        start += size
    assert frames(*chunks) == frames(data)

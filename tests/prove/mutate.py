"""Makes wrong bytes out of right ones: changes of bytes, of the order of frames, and of the JSON inside them. One seed, one result."""

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.prove.recorded import Frame, Recorded

BYTES_MAX: Final = 48 * 1024
CHANGES: Final = (1, 1, 1, 2, 2, 3, 4)
WEIRD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, -(2**63), 10**30, 1.5, -0.0, 1e308),
    *("", "x", "\0", "5", "{", "{}", "[1]", "error", "stop", "null", "\ud7ff", "\r\n\r\n", "data: ", "a" * 3000, "漢" * 700),
    *(
        [],
        [None],
        [[]],
        [1],
        ["x"],
        [{}],
        {},
        {"a": 1},
        {"": None},
        {"type": "x"},
        {"type": "text", "text": 1},
        {"index": 1},
        [{"index": "0"}],
    ),
)
TOKENS: Final = (
    *(b"\r", b"\n", b"\r\n\r\n", b"\n\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"data:", b"data: [DONE]\n\n", b": x\n\n", b"event: error\n"),
    *(
        b"\\ud800",
        b"\\u0000",
        b"NaN",
        b"1e999",
        b"-",
        b'"',
        b"{",
        b"}",
        b"[" * 2000,
        b'{"a":' * 600,
        b"<html>",
        b" ",
        b'{"error":"x"}',
        b"9" * 400,
    ),
)


def answer(rng: random.Random, recorded: Recorded, others: list[Recorded]) -> bytes:
    """One to four changes; a third of the time the bytes themselves are changed as well."""
    frames = list(recorded.frames)
    kinds = rng.choices(("json", "frame", "bytes"), (5, 3, 3), k=rng.choice(CHANGES))
    for kind in kinds:
        if kind == "json" and frames:
            place = rng.randrange(len(frames))
            frames[place] = Frame(in_json(rng, frames[place].data), frames[place].name)
        elif kind == "frame":
            _in_frames(rng, frames, rng.choice(others))
    raw = recorded.join(frames)
    for _ in range(kinds.count("bytes")):
        raw = in_bytes(rng, raw)
    return raw[:BYTES_MAX]


def request(rng: random.Random, raw: bytes) -> bytes:
    for _ in range(rng.choice(CHANGES)):
        raw = in_json(rng, raw) if rng.random() < 0.85 else in_bytes(rng, raw)
    return raw[:BYTES_MAX]


def _in_frames(rng: random.Random, frames: list[Frame], other: Recorded) -> None:
    if not frames:
        frames.append(rng.choice(other.frames))
        return
    one, two = rng.randrange(len(frames)), rng.randrange(len(frames))
    what = rng.randrange(6)
    if what == 0:
        frames[one], frames[two] = frames[two], frames[one]
    elif what == 1:
        del frames[one]
    elif what == 2:
        frames.insert(two, frames[one])
    elif what == 3:
        frames.insert(one, rng.choice(other.frames))
    elif what == 4:
        del frames[one:]
    else:
        frames[one] = Frame(frames[one].data, frames[two].name)


def in_bytes(rng: random.Random, raw: bytes) -> bytes:
    size = len(raw)
    if not size:
        return rng.choice(TOKENS)
    at, to = rng.randrange(size), min(size, rng.randrange(size) + rng.randint(1, 8))
    return rng.choice(BYTES)(rng, raw, min(at, to), max(at, to))


def _put(rng: random.Random, raw: bytes, at: int, to: int) -> bytes:
    return raw[:at] + rng.choice(TOKENS) + raw[at:]


def _noise(rng: random.Random, raw: bytes, at: int, to: int) -> bytes:
    return raw[:at] + rng.randbytes(rng.randint(1, 8)) + raw[at + rng.randint(0, 8) :]


def _flip(rng: random.Random, raw: bytes, at: int, to: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


BYTES: Final[tuple[Callable[[random.Random, bytes, int, int], bytes], ...]] = (
    _put,
    _noise,
    _flip,
    lambda rng, raw, at, to: raw[:at],
    lambda rng, raw, at, to: raw[:at] + raw[to:],
    lambda rng, raw, at, to: raw[:to] + raw[at:to] + raw[to:],
    lambda rng, raw, at, to: raw.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b" \n"))),
)


def in_json(rng: random.Random, raw: bytes) -> bytes:
    """Another value, one value less, a value twice, two swapped, or a key renamed; as it came where it is no JSON."""
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return raw
    places: list[tuple[Any, Any]] = []
    _walk(value, places)
    if not places:
        return msgspec.json.encode(rng.choice(WEIRD[6:]))
    (holder, key), (other, its) = rng.choice(places), rng.choice(places)
    what = rng.randrange(8)
    if what < 4:
        holder[key] = rng.choice(WEIRD)
    elif what == 4:
        del holder[key]
    elif what == 5:
        holder[key] = msgspec.json.decode(msgspec.json.encode(other[its]))
    elif isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[rng.choice(("type", "index", "error", "usage", "x", str(its)))] = holder.pop(key) if what == 6 else holder[key]
    try:
        return msgspec.json.encode(value)
    except (OverflowError, RecursionError):
        return raw


def _walk(value: Any, places: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict):
        places += [(value, key) for key in value]
        for each in value.values():
            _walk(each, places)
    elif isinstance(value, list):
        places += [(value, index) for index in range(len(value))]
        for each in value:
            _walk(each, places)

"""Server-sent events: the same bytes give the same events, however they are cut; nothing grows beyond its bound."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from providers.errors import ProviderInvalidAnswer
from providers.sse import EventSplitter

MAX = 64
LINES = st.sampled_from(
    [
        *(
            "data: {}",
            "data:{}",
            "data:  two blanks",
            "data:",
            "data",
            "data: é漢😀",
            ": comment",
            "event: x",
            "id: 1",
            "retry: 5",
            "",
            "x",
        ),
        *(" data: no", "data: [DONE]", "DATA: no", "data: a\ud83d".encode("utf-8", "replace").decode(), "\ufeffdata: no"),
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: "".join(line + end for line, end in lines).encode())


def split(chunks: list[bytes], bytes_max: int = 10_000) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter(bytes_max)
    return [event for chunk in chunks for event in splitter.feed(chunk)], splitter.rest()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def specified(stream: bytes) -> list[bytes]:
    """The same by the letter of the specification, one line at a time; events without data do not count."""
    events, data = [], []
    for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line:
            events.append(b"\n".join(data))
            data = []
    return [event for event in events if event]


@given(stream=STREAMS, places=st.lists(st.integers(0, 1000), max_size=8))
@example(stream=b"data: a\r\n\r\ndata: b\r\n\r\n", places=[8, 9, 10, 11])
@example(stream=b"data: a\r\rdata: b\r\r\n\n", places=[9])
@example(stream=b"data: a\n\n\n\ndata: b\n\n", places=[9, 10])
def test_any_cutting_gives_the_events_of_the_specification(stream: bytes, places: list[int]) -> None:
    events, rest = split(cut(stream, places))
    assert (events, rest) == split([stream])
    assert events == specified(stream)


@given(stream=STREAMS)
def test_byte_by_byte_gives_the_same(stream: bytes) -> None:
    assert split([bytes([byte]) for byte in stream]) == split([stream])


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: {}\n\n", [b"{}"]),
        (b"data:{}\n\n", [b"{}"]),
        (b'data: {"a":\ndata: 1}\n\n', [b'{"a":\n1}']),
        (b"event: message\nid: 7\ndata: x\nretry: 10\n\n", [b"x"]),
        (b": comment\n\n: another\n\ndata: x\n\n", [b"x"]),
        (b"\n\n\n\n\ndata: x\n\n\n\n", [b"x"]),
        (b"data: x", []),
        (b"data: x\n", []),
        (b"", []),
    ],
)
def test_fields_other_than_data_do_not_count(raw: bytes, events: list[bytes]) -> None:
    assert split([raw])[0] == events


@pytest.mark.parametrize(
    ("raw", "rest"), [(b"data: x", b"x"), (b"data: x\n", b"x"), (b"data: a\n\ndata: b", b"b"), (b": c", b""), (b"", b"")]
)
def test_the_rest_is_what_lacks_its_blank_line(raw: bytes, rest: bytes) -> None:
    assert split([raw])[1] == rest


@given(size=st.integers(MAX - 8, MAX + 3), end=ENDS, places=st.lists(st.integers(0, 100), max_size=5))
@example(size=MAX, end="\n", places=[MAX + 1])
@example(size=MAX, end="\r\n", places=[MAX + 2])
def test_an_event_of_the_bound_passes_and_a_larger_one_is_refused_however_it_is_cut(size: int, end: str, places: list[int]) -> None:
    event = b"data: " + b"x" * (size - 6)
    stream = event + end.encode() * 2
    if size <= MAX:
        assert split(cut(stream, places), MAX)[0] == [event[6:]]
    else:
        with pytest.raises(ProviderInvalidAnswer, match="64 bytes"):
            split(cut(stream, places), MAX)


def test_many_events_in_one_chunk_may_exceed_the_bound_together() -> None:
    assert len(split([b"data: x\n\n" * 1000], MAX)[0]) == 1000


def test_a_line_that_never_ends_is_refused_at_the_bound() -> None:
    splitter = EventSplitter(1000)
    for _ in range(100):
        splitter.feed(b"data: 1234")
    with pytest.raises(ProviderInvalidAnswer):
        splitter.feed(b"x")


def test_comments_without_end_are_bounded_too() -> None:
    splitter = EventSplitter(1000)
    for _ in range(70):
        splitter.feed(b": still here\n")
    with pytest.raises(ProviderInvalidAnswer):
        splitter.feed(b": still here\n" * 20)

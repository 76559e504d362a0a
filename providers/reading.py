"""What every dialect does with an answer: read it in pieces, know its proper end, and put a refusal into words."""

import math
import re
from typing import Final, Protocol

import msgspec

from providers.content import Content
from providers.errors import ProviderError, ProviderInvalidAnswer, from_status
from providers.provider import Event, Events
from providers.sse import EventSplitter, EventTooLarge
from providers.wire import Response

CODE: Final = re.compile(r"(?!None$)[A-Za-z0-9_.-]{1,64}", re.ASCII)
REFUSAL_BYTES_MAX: Final = 64 * 1024
RETRY_AFTER_SECONDS_MAX: Final = 24 * 3600


class Splitter(Protocol):
    """Bytes in any chunking -> whole frames; `rest` is what stood after the last whole one."""

    def feed(self, chunk: bytes) -> list[bytes]: ...
    def rest(self) -> bytes: ...


class Reader(Protocol):
    """One stream's frames -> canonical events. `done` when nothing may follow; `read` raises ProviderError.

    When the provider stopped sending: `last` are the events of what it left without an end, then `check` raises ProviderError if the
    answer may not end there. A cut stream never looks like an end.
    """

    done: bool

    def read(self, frame: bytes) -> list[Event]: ...
    def last(self, rest: bytes) -> list[Event]: ...
    def check(self) -> None: ...


async def read_stream(response: Response, reader: Reader, splitter: Splitter, first: bytes | None) -> Events:
    """`first` are the bytes that were already read. What came before a bad frame counts, however the bytes were cut into reads."""
    while first is not None:
        events, broken = _read_chunk(reader, splitter, first)
        yield events  # also when empty: a comment says that the provider is alive
        if broken is not None:
            raise broken
        if reader.done:
            return
        first = await response.read()
    last = reader.last(splitter.rest())
    if last:
        yield last
    reader.check()


async def sse(response: Response, reader: Reader, event_bytes_max: int) -> Events:
    """Server-sent events."""
    async for batch in read_stream(response, reader, EventSplitter(event_bytes_max), await response.read()):
        yield batch


async def opening(response: Response) -> bytes | None:
    """The first bytes, up to one that tells JSON from a stream: blanks say nothing, and a read may end behind them."""
    first = await response.read()
    while first is not None and not first.strip() and (more := await response.read()) is not None:
        first += more
    return first


def _read_chunk(reader: Reader, splitter: Splitter, chunk: bytes) -> tuple[list[Event], ProviderError | None]:
    try:
        return _read_all(reader, splitter.feed(chunk))
    except EventTooLarge as error:
        events, broken = _read_all(reader, error.before.reveal())
        return events, broken or (None if reader.done else ProviderInvalidAnswer(error.summary))


def _read_all(reader: Reader, frames: list[bytes]) -> tuple[list[Event], ProviderError | None]:
    events: list[Event] = []
    for frame in frames:
        if reader.done:
            break
        try:
            events += reader.read(frame)
        except ProviderError as error:
            return events, error
    return events, None


async def refusal(response: Response) -> ProviderError:
    """The error for a status that is not 2xx. The text is the provider's, so it is content."""
    raw = await response.body(REFUSAL_BYTES_MAX)
    code, message = error_of(json_or_none(raw))
    detail = Content(message) if message else None
    return from_status(response.status, code=code, detail=detail, retry_after_seconds=retry_after(response.headers))


def error_of(body: object) -> tuple[str | None, str | None]:
    """(code, message) of an error body in the shapes seen in the field; (None, None) for anything else."""
    error = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(error, str):
        return None, error
    if not isinstance(error, dict):
        return None, None
    code, message = str(error.get("code") or error.get("type")), error.get("message") or error.get("detail")
    return code if CODE.fullmatch(code) else None, message if isinstance(message, str) else None


def error_in_answer(body: Event) -> ProviderError:
    """The error that stands in an answer or in its place, whatever the answer's status was: its own code decides, else it is a 502."""
    code, message = error_of(body)
    status = int(code) if code and code.isdecimal() and 400 <= int(code) < 600 else 502
    return from_status(status, code=code, detail=Content(message) if message else None)


def retry_after(headers: dict[str, str]) -> int | None:
    try:
        seconds = math.ceil(float(headers["retry-after"]))
    except (KeyError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0), RETRY_AFTER_SECONDS_MAX)


def json_or_none(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def json_object(raw: bytes) -> Event:
    """ProviderInvalidAnswer if it is none."""
    value = json_or_none(raw)
    if not isinstance(value, dict):
        raise ProviderInvalidAnswer("the provider's answer is not a JSON object")
    return value

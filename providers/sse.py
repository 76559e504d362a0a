"""Server-sent events: bytes in any chunking -> the data of each complete event. The same bytes give the same events, however split."""

from providers.content import Content
from providers.errors import ProviderInvalidAnswer


class EventTooLarge(ProviderInvalidAnswer):
    """`before`: the events that the same bytes completed ahead of it, which count however the bytes were cut."""

    def __init__(self, text: str, before: list[bytes]) -> None:
        super().__init__(text)
        self.before = Content(before)


class EventSplitter:
    """`feed` bytes as they come; `rest` is what stood after the last complete event when the stream ended."""

    def __init__(self, event_bytes_max: int) -> None:
        self._max = event_bytes_max
        self._buffer = bytearray()
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that this chunk completes. EventTooLarge if one exceeds the bound."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._line_feeds(chunk)
        if not self._buffer and chunk.endswith(b"\n\n"):
            return self._complete(chunk)
        buffer = self._buffer
        searched = max(0, len(buffer) - 1)
        buffer += chunk
        if buffer.find(b"\n\n", searched) < 0:
            self._bound(len(buffer) - buffer.endswith(b"\n"), [])
            return []
        end = buffer.rfind(b"\n\n") + 2
        complete = bytes(buffer[:end])
        del buffer[:end]
        events = self._complete(complete)
        self._bound(len(buffer) - buffer.endswith(b"\n"), events)
        return events

    def _complete(self, blocks: bytes) -> list[bytes]:
        """The data of whole events."""
        if len(blocks) <= self._max:
            return [data for block in blocks.split(b"\n\n") if (data := _data(block))]
        events: list[bytes] = []
        for block in blocks.split(b"\n\n"):
            self._bound(len(block), events)
            if data := _data(block):
                events.append(data)
        return events

    def rest(self) -> bytes:
        """The data of a last event that lacks its blank line; empty if there is none."""
        return _data(bytes(self._buffer))

    def _line_feeds(self, chunk: bytes) -> bytes:
        """CRLF and CR become LF, also when a CRLF is cut in two."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _bound(self, size: int, before: list[bytes]) -> None:
        if size > self._max:
            raise EventTooLarge(f"the provider sent an event larger than {self._max} bytes", before)


def _data(block: bytes) -> bytes:
    """The joined `data:` lines of one event; comments and other fields do not count."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)

"""AWS event streams: bytes in any chunking -> one frame for each message. The same bytes give the same frames, however split.

botocore decodes each message and compares its checksums (4 us, as it remembers the headers). A frame is the name of an event, a line
feed, and the event's JSON; the name of an exception stands behind `!`. Where a message is broken or too large the last frame is BROKEN
with the reason: so what came before it counts, and the reader refuses it.
"""

import re
import struct
from typing import Final

from providers.bedrock_botocore import Decoder, Message, botocore

PRELUDE_BYTES: Final = 12
MESSAGE_BYTES_MIN: Final = 16
BROKEN: Final = b"?\n"
EXCEPTION: Final = b"!"
_NAME: Final = re.compile(r"\w{1,64}", re.ASCII)


class FrameSplitter:
    """`feed` bytes as they come. A torn message counts for nothing, so `rest` is empty."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._max = frame_bytes_max
        self._held = bytearray()
        self._decoder = botocore().decoder()
        self._unreadable = (botocore().parser_error, struct.error, LookupError, ValueError)
        self._prelude_seen = False
        self._broken = False

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._broken:
            return []
        self._held += chunk
        frames: list[bytes] = []
        try:
            while (message := self._next()) is not None:
                frames.append(_frame(message))
        except self._unreadable as error:
            self._broken = True
            self._held.clear()
            frames.append(BROKEN + _reason(error))
        return frames

    def rest(self) -> bytes:
        return b""

    def _next(self) -> Message | None:
        """The next whole message, None if there is none yet. Until then only the checksum of its length is looked at, once."""
        if len(self._held) < PRELUDE_BYTES:
            return None
        size = int.from_bytes(self._held[:4])
        if not MESSAGE_BYTES_MIN <= size <= self._max:
            raise _TooLarge(f"the provider sent a frame of {size} bytes, which is not between {MESSAGE_BYTES_MIN} and {self._max}")
        if len(self._held) < size:
            if not self._prelude_seen:
                self._prelude_seen = True
                self._decode(bytes(self._held[:PRELUDE_BYTES]), botocore().decoder())
            return None
        message = self._decode(bytes(self._held[:size]), self._decoder)
        del self._held[:size]
        self._prelude_seen = False
        return message

    @staticmethod
    def _decode(data: bytes, decoder: Decoder) -> Message | None:
        decoder.add_data(data)
        return next(decoder, None)


class _TooLarge(ValueError):
    pass


def _frame(message: Message) -> bytes:
    """ValueError for a message whose headers do not say what it is."""
    headers, payload = message.headers, message.payload
    kind = headers.get(":message-type")
    if kind == "event":
        return _named(headers.get(":event-type")) + b"\n" + payload
    if kind == "exception":
        return EXCEPTION + _named(headers.get(":exception-type")) + b"\n" + payload
    if kind == "error":
        return EXCEPTION + _named(headers.get(":error-code")) + b"\n"
    raise ValueError("a message of no known type")


def _named(name: object) -> bytes:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("a message without a name")
    return name.encode()


def _reason(error: Exception) -> bytes:
    return str(error).encode() if isinstance(error, _TooLarge) else b"the provider's stream has a frame that is no event-stream message"

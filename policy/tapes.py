"""Tapes: what a resumable stream has said so far, so that a client that was cut off can hear it again and listen on.

This is content. A tape is made only where the account's owner allows it (`Rules.resumable_streams`) and the request asks for it; it holds
the bytes encrypted, in memory or in Redis and nowhere else, and five minutes after its stream began it is gone, whatever became of it.
A tape that is lost early (Redis fails, or the stream outgrows it) says so: then nobody could listen any more, and a client that leaves
ends its request as ever.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.keys import derive

LIFETIME_SECONDS: Final = 300
BYTES_MAX: Final = 4 * 2**20
"""Of one stream."""
WAIT_SECONDS: Final = 1.0


class Tapes(Protocol):
    """Sealed frames by `name` (account and generation). Nothing here can be read without the secret."""

    def add(self, name: str, frame: bytes, *, last: bool, on_lost: Callable[[], None]) -> None:
        """Appends in order, without waiting. `on_lost` is called, once or often, when the tape cannot be kept."""
        ...

    async def after(self, name: str, count: int, wait_seconds: float) -> tuple[list[bytes], bool] | None:
        """The frames behind the first `count`, waiting a while for the next one, and whether the stream has ended with them; None if there
        is no such tape."""
        ...

    def drop(self, name: str) -> None: ...

    async def aclose(self) -> None: ...


class Tape:
    """One stream's, written by the process that answers it. `lost`: it cannot be listened to (any more)."""

    def __init__(self, tapes: Tapes, *, generation_id: str, account_id: str, secret: str, clock: Callable[[], float]) -> None:
        self._tapes = tapes
        self._clock = clock
        self._until = clock() + LIFETIME_SECONDS
        self._name = name_of(account_id, generation_id)
        self._cipher = _cipher(secret, self._name)
        self._frames = 0
        self._bytes = 0
        self.lost = False
        self.on_lost: Callable[[], None] = _nothing

    def add(self, data: bytes, *, last: bool) -> None:
        if self.lost:
            return
        self._bytes += len(data)
        if self._bytes > BYTES_MAX or self._clock() > self._until:
            self.drop()
            return
        frame = self._cipher.encrypt(_nonce(self._frames), data, _bound(self._name, last=last))
        self._frames += 1
        self._tapes.add(self._name, frame, last=last, on_lost=self._lose)
        if last:
            self.on_lost = _nothing

    def drop(self) -> None:
        """There is nothing to listen to: the stream was refused before it began, or is too long."""
        self._tapes.drop(self._name)
        self._lose()

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.on_lost()


async def listen(
    tapes: Tapes, *, generation_id: str, account_id: str, secret: str, offset: int, wait_seconds: float = WAIT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The stream's bytes from `offset` on, then what is added, to its end; the first item is always empty and says that there is a tape.

    Ends without an end where the tape is lost on the way: a cut stream never looks like a whole one.
    """
    name = name_of(account_id, generation_id)
    cipher, count = _cipher(secret, name), 0
    found = await tapes.after(name, 0, 0)
    if found is None:
        return
    yield b""
    while found is not None:
        frames, ended = found
        for number, frame in enumerate(frames, start=count):
            data = _opened(cipher, frame, name, number, last=ended and number == count + len(frames) - 1)
            if len(data) > offset:
                yield data[offset:]
            offset = max(0, offset - len(data))
        count += len(frames)
        if ended:
            return
        found = await tapes.after(name, count, wait_seconds)


def name_of(account_id: str, generation_id: str) -> str:
    return f"{account_id}:{generation_id}"


def _nothing() -> None:
    pass


def _cipher(secret: str, name: str) -> AESGCM:
    """A key of its own for every stream, so that a frame's number is nonce enough."""
    return AESGCM(derive(secret, f"tape:{name}"))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12)


def _bound(name: str, *, last: bool) -> bytes:
    return f"{name}:{'end' if last else 'more'}".encode()


def _opened(cipher: AESGCM, frame: bytes, name: str, number: int, *, last: bool) -> bytes:
    try:
        return cipher.decrypt(_nonce(number), frame, _bound(name, last=last))
    except InvalidTag:
        raise ValueError("a tape does not open: it was changed, or sealed under another TOLLWAY_SECRET_KEY") from None

"""The three parts of botocore that the `bedrock` dialect uses, loaded at its first call: 0.3 s that no start of ours should wait for."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

HEADERS_KNOWN_MAX: Final = 64
HEADERS_KNOWN_BYTES_MAX: Final = 512
"""Longer ones are read each time, so that what is remembered stays small."""


class Message(Protocol):
    """One message of an event stream, its checksums compared."""

    headers: Mapping[str, Any]
    payload: bytes


class Decoder(Protocol):
    """`EventStreamBuffer`: gives the next whole message of what was added."""

    def add_data(self, data: bytes) -> None: ...
    def __next__(self) -> Message: ...
    def __iter__(self) -> "Decoder": ...


class Signer(Protocol):
    """`SigV4Auth`: the steps of a signature over an `AWSRequest`, whose time is in its context."""

    def canonical_request(self, request: Any) -> str: ...
    def string_to_sign(self, request: Any, canonical_request: str) -> str: ...
    def signature(self, string_to_sign: str, request: Any) -> str: ...
    def headers_to_sign(self, request: Any) -> Any: ...
    def signed_headers(self, headers_to_sign: Any) -> str: ...
    def scope(self, request: Any) -> str: ...


class Botocore(NamedTuple):
    signer: Callable[[Any, str, str], Signer]
    request: Callable[..., Any]
    decoder: Callable[[], Decoder]
    parser_error: type[Exception]


async def load() -> None:
    """In a thread, so that other streams go on."""
    if not botocore.cache_info().currsize:
        await asyncio.to_thread(botocore)


@functools.cache
def botocore() -> Botocore:
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.eventstream import EventStreamBuffer, EventStreamHeaderParser, ParserError  # type: ignore[import-untyped]

    parser = EventStreamHeaderParser()
    remembered = functools.lru_cache(HEADERS_KNOWN_MAX)(parser.parse)

    class Remembering:
        """A stream has a handful of different headers, each many times: reading them is most of what a message costs."""

        @staticmethod
        def parse(data: bytes) -> Mapping[str, Any]:
            headers: Mapping[str, Any] = remembered(data) if len(data) <= HEADERS_KNOWN_BYTES_MAX else parser.parse(data)
            return headers

    def decoder() -> Decoder:
        buffer: Any = EventStreamBuffer()
        buffer._header_parser = Remembering()
        return buffer  # type: ignore[no-any-return]

    return Botocore(SigV4Auth, AWSRequest, decoder, ParserError)

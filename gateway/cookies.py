"""The cookies of the pages, from `cookies.toml`, for the page that lists them and for the test that holds the code to the list."""

import datetime
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_suffix(".toml")


class Cookie(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`essential`: without it the page cannot do what it was asked for, so nobody is asked for consent."""

    name: str
    where: str
    purpose: str
    lifetime: str
    essential: bool


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    date: datetime.date
    cookie: tuple[Cookie, ...]


@cache
def cookies() -> File:
    return msgspec.toml.decode(FILE.read_bytes(), type=File)

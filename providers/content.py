"""Content: prompts, answers and everything else a user or a model wrote, in a box that logs, tables and encoders refuse.

Only code that must forward the value to the client or to the provider calls `reveal()`; a search for that word finds every such place.
"""

from typing import Any, Generic, NoReturn, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Content(Generic[T_co]):
    """A value that must not be stored or logged. Its repr shows nothing; formatting, pickling and encoding raise TypeError."""

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def reveal(self) -> T_co:
        return self._value

    def __repr__(self) -> str:
        return "<content>"

    def __str__(self) -> NoReturn:
        raise TypeError("content must not be turned into text; reveal() it only to forward it")

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError("content must not be formatted; reveal() it only to forward it")

    def __reduce__(self) -> Any:
        raise TypeError("content must not be pickled")

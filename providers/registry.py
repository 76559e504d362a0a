"""The wire dialects that are built, by name. A provider row names its dialect; a new dialect is one file and one line here."""

from collections.abc import Callable
from typing import Final

from providers.echo import EchoDialect
from providers.openai import OpenAIDialect
from providers.provider import Dialect
from providers.wire import Wire

DIALECTS: Final[dict[str, Callable[[Wire], Dialect]]] = {
    "openai": OpenAIDialect,
    "echo": lambda wire: EchoDialect(),
}
PARAMETERS: Final[dict[str, frozenset[str]]] = {}
"""The request fields that a dialect has words for; one that is not listed passes every field on as it is."""


def dialects(wire: Wire) -> dict[str, Dialect]:
    """One instance of every built dialect, sharing one pool of connections."""
    return {name: build(wire) for name, build in DIALECTS.items()}

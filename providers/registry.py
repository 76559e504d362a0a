"""The wire dialects that are built, by name. A provider row names its dialect; a new dialect is one file and one line here."""

from collections.abc import Callable
from typing import Final

from providers import anthropic_request, bedrock_request, gemini_request
from providers.anthropic import AnthropicDialect
from providers.bedrock import BedrockDialect
from providers.echo import EchoDialect
from providers.gemini import GeminiDialect
from providers.openai import OpenAIDialect
from providers.provider import Dialect
from providers.wire import Wire

DIALECTS: Final[dict[str, Callable[[Wire], Dialect]]] = {
    "openai": OpenAIDialect,
    "anthropic": AnthropicDialect,
    "gemini": GeminiDialect,
    "bedrock": BedrockDialect,
    "echo": lambda wire: EchoDialect(),
}
PARAMETERS: Final[dict[str, frozenset[str]]] = {
    "anthropic": anthropic_request.PARAMETERS,
    "gemini": gemini_request.PARAMETERS,
    "bedrock": bedrock_request.PARAMETERS,
}
"""The request fields that a dialect has words for; one that is not listed passes every field on as it is."""
EMBEDDERS: Final = frozenset({"openai", "gemini", "bedrock", "echo"})
"""The dialects that have words for embeddings. An endpoint of another one does not give them, whatever its row says."""
CACHERS: Final = frozenset({"anthropic", "bedrock"})
"""The dialects that always pass `cache_control` on, so that their endpoints need a price for cache writes to be offered for it."""


def dialects(wire: Wire) -> dict[str, Dialect]:
    """One instance of every built dialect, sharing one pool of connections."""
    return {name: build(wire) for name, build in DIALECTS.items()}

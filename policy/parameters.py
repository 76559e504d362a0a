"""Which request fields are parameters that an endpoint must know, and which of them the catalog says that it knows.

`require_parameters: true` is strict: an endpoint whose support of a used parameter is not known is not offered. What is known:
- an endpoint that lists `parameters` takes those and no others;
- one that does not takes `BASIC`, which every dialect spoken here defines and `GET models` names for every model;
- `BY_CAPABILITY` come with the endpoint's capabilities, listed or not, and `LIMITS` are kept by the gateway itself;
- what the provider's dialect has no word for it does not take, whatever is listed.

Without it nothing is filtered here; tools, images and JSON schemas always need their capability.
"""

from collections.abc import Mapping
from typing import Any, Final

from providers.provider import Endpoint
from providers.registry import PARAMETERS

LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
BASIC: Final = frozenset(
    {"frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "seed", "stop", "temperature", "top_logprobs", "top_p"}
)
BY_CAPABILITY: Final = {
    "tools": frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"}),
    "json_schema": frozenset({"response_format", "structured_outputs"}),
}
FURTHER: Final = frozenset(
    {
        *("include_reasoning", "min_p", "n", "prediction", "reasoning", "reasoning_effort", "repetition_penalty", "top_a", "top_k"),
        *("verbosity", "web_search_options"),
    }
)
KNOWN: Final = LIMITS | BASIC | FURTHER | BY_CAPABILITY["tools"] | BY_CAPABILITY["json_schema"]
"""Public names, which may be shown in a reason. Any other name is the client's own and is not repeated."""

NEUTRAL: Final = frozenset(
    {
        *("audio", "cache_control", "debug", "image_config", "messages", "metadata", "modalities", "model", "models", "plugins", "preset"),
        *("prompt_cache_key", "prompt_cache_retention", "provider", "route", "safety_identifier", "service_tier", "session_id"),
        *("stop_server_tools_when", "store", "stream", "stream_options", "trace", "transforms", "usage", "user"),
    }
)
"""Fields that say what is asked or who asks, not how to answer; or that the gateway reads and takes out."""
PLAIN: Final = {"n": 1, "response_format": {"type": "text"}, "logprobs": False}
"""Values that ask for what happens anyway."""


def used(body: Mapping[str, Any]) -> frozenset[str]:
    """The parameters that a chat body really uses: null, an empty list or object and a plain default count as absent."""
    return frozenset([name for name in body.keys() - NEUTRAL if _matters(name, body[name])])


def supported(endpoint: Endpoint) -> frozenset[str]:
    own = BASIC if endpoint.parameters is None else endpoint.parameters
    named = own.union(*(names for capability, names in BY_CAPABILITY.items() if capability in endpoint.capabilities))
    return LIMITS | (named & PARAMETERS.get(endpoint.provider.dialect, named))


def _matters(name: str, value: object) -> bool:
    return value is not None and value not in ([], {}) and (name not in PLAIN or PLAIN[name] != value)

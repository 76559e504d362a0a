"""What the gateway and a wire dialect say to each other: `ChatRequest` in, batches of canonical events out."""

import datetime
from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal, Protocol

import msgspec

from metering.price import Price
from providers.content import Content

Event = dict[str, Any]
"""One chat completion chunk as decoded JSON, or one whole chat completion; usage stands where OpenAI puts it."""

Events = AsyncGenerator[list[Event], None]
"""Events in the batches they arrived in: what came in one read leaves in one write."""

Operation = Literal["chat", "embeddings"]
"""What is asked of a model. The answer to `embeddings` is one chat completion whose message holds `embeddings`, one entry per input."""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The canonical request: OpenAI's chat request, and what routing and metering need to know of it.

    `body` holds every field that a provider may see, unknown ones included; for `embeddings` it is OpenAI's embeddings request.
    `prompt_tokens_max` is an upper bound by size; `parameters` are the names of the fields that an endpoint must know for
    `require_parameters` to hold; `adjusted` names what the client API itself could not keep as it was asked.
    """

    body: Content[dict[str, Any]]
    operation: Operation = "chat"
    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    n: int
    prompt_tokens_max: int
    media: bool = False
    extras: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    preferences: dict[str, Any] = {}
    session_id: str | None = None
    adjusted: tuple[str, ...] = ()

    @property
    def prompt_tokens_estimate(self) -> int:
        """For limits that are corrected after the answer: the bound counts a token per byte, English has one in four."""
        return -(-self.prompt_tokens_max // 4)

    def __repr__(self) -> str:
        return "ChatRequest(<content>)"


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a model."""

    slug: str
    name: str


class DataPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider does with prompts. None = unknown = assume the worst."""

    trains: bool | None = None
    retention_days: int | None = None

    @property
    def zdr(self) -> bool:
        """Zero data retention: nothing is kept and nothing is learnt from it, and both are known."""
        return self.trains is False and self.retention_days == 0


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model under its public id `company/model`. `created` is a Unix time in seconds, 0 = unknown.

    `deprecated` is the last day (UTC) on which it is offered, None = no end is known; `successor` the id of what to use then.
    """

    id: str
    name: str
    company: str
    context_length: int
    created: int = 0
    description: str = ""
    tokenizer: str = "o200k_base"
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    deprecated: datetime.date | None = None
    successor: str | None = None

    def retired(self, today: datetime.date) -> bool:
        return self.deprecated is not None and today > self.deprecated


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Who serves models: one row per account-wide base URL and wire dialect.

    `key_header` carries the key as it is, empty = `Authorization: Bearer`; `query` is added to every URL; `{model}` in `base_url` stands
    for the endpoint's upstream model (Azure OpenAI's deployments).

    `region`: every region in which it may process a request; empty = unknown = refused under a region rule. `headquarters` and
    `datacenters` are ISO 3166 country codes, for reading only. What is not known is empty.
    """

    slug: str
    name: str
    dialect: str
    base_url: str = ""
    api_key_env: str | None = None
    max_tokens_field: str = "max_tokens"
    key_header: str = ""
    query: str = ""
    data_policy: DataPolicy = DataPolicy()
    region: frozenset[str] = frozenset()
    privacy_policy_url: str = ""
    terms_of_service_url: str = ""
    status_page_url: str = ""
    headquarters: str = ""
    datacenters: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider at one price. `id` is `provider/model-id`; `price_id` is frozen into each generation.

    `region` as the provider's, for an endpoint that differs from it, and so `own_data_policy`; `parameters` are those it takes, None =
    not stated.
    """

    id: str
    model: Model
    provider: Provider
    upstream_model: str
    price: Price
    price_id: str
    context_length: int
    max_output_tokens: int | None = None
    priority: int = 0
    quantization: str | None = None
    capabilities: frozenset[str] = frozenset()
    parameters: frozenset[str] | None = None
    region: frozenset[str] = frozenset()
    own_data_policy: DataPolicy | None = None

    @property
    def data_policy(self) -> DataPolicy:
        """The endpoint's own, which then counts as a whole, else its provider's."""
        return self.provider.data_policy if self.own_data_policy is None else self.own_data_policy


def _nothing() -> None:
    pass


def _unsaid(parameter: str) -> None:
    pass


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: the request as this endpoint gets it. `max_tokens` is what to send, None = send no limit.

    `on_connect` is called when there is a connection, new or kept, and the request is about to be sent; `adjust` with the name of each
    parameter that the dialect drops or changes, before.
    """

    request: ChatRequest
    endpoint: Endpoint
    api_key: str | None
    max_tokens: int | None
    generation_id: str
    on_connect: Callable[[], None] = _nothing
    adjust: Callable[[str], None] = _unsaid

    def __repr__(self) -> str:
        return f"Call({self.generation_id}, {self.endpoint.id})"


class Dialect(Protocol):
    """A wire dialect. `stream` raises ProviderError before its first batch or, for a stream that breaks, later.

    Inexpressible, before anything is sent, for a request that this dialect has no words for.
    """

    def stream(self, call: Call) -> Events: ...

    async def aclose(self) -> None: ...

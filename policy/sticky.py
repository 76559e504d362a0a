"""Sticky routes: later requests of a conversation go to the endpoint that has its beginning in its prompt cache.

The rules are OpenRouter's: a conversation is the request's `session_id` (body, else header x-session-id), else `prompt_cache_key`, else
its opening, which is the first system or developer message and the first other one. Without an explicit name a route is kept only after
an answer that used the provider's cache. It is kept only where cached prompt tokens are cheaper than others, for 10 minutes after its
last use, and dropped on an error. With `provider.order` there are no sticky routes.

All of these are content, so only an HMAC under a secret of the account is kept, as the name of the route; the route itself is an
endpoint's id. Retention: 10 minutes.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from metering.price import Price
from policy.keys import derive
from providers.provider import ChatRequest

LIFETIME_MS: Final = 600_000
TEXT_MAX: Final = 16_384
"""Characters of one text or URL that count, besides its length: a picture of 20 MiB must not cost 20 ms."""
ITEMS_MAX: Final = 64
LEVELS_MAX: Final = 8


class Conversation(msgspec.Struct, frozen=True):
    """`key` is an HMAC (hex). `explicit`: the client has named the conversation."""

    key: str
    explicit: bool


class Sticky(Protocol):
    """Endpoint ids by `Conversation.key`. Never raises: a store that does not answer knows no routes."""

    async def find(self, key: str) -> str | None:
        """The endpoint's id; its 10 minutes begin anew."""
        ...

    async def keep(self, key: str, endpoint_id: str) -> None: ...

    async def drop(self, key: str) -> None: ...

    async def aclose(self) -> None: ...


def conversation(account_id: str, request: ChatRequest, session_id: str | None, *, secret: str) -> Conversation | None:
    """None where there can be no sticky route: `provider.order` is set, or there is nothing to know the conversation by.

    `session_id` is the body's, else the header's; `secret` is TOLLWAY_SECRET_KEY. Costs 8 us for a short opening and 45 us for one whose
    texts have TEXT_MAX characters or more: ask only where the model has more than one endpoint.
    """
    if request.preferences.get("order"):
        return None
    body = request.body.reveal()
    named = session_id or body.get("prompt_cache_key")
    explicit = isinstance(named, str) and bool(named)
    what = named if explicit else _opening(body.get("messages"))
    if what is None:
        return None
    text = msgspec.json.encode([request.model, "named" if explicit else "opening", _cut(what, LEVELS_MAX)], order="deterministic")
    return Conversation(hmac.digest(_secret_of(secret, account_id), text, hashlib.sha256).hex(), explicit)


def worth_keeping(conversation: Conversation, price: Price, *, cached_tokens: int, found: bool) -> bool:
    """After an answer: is there a route to `keep`? `cached_tokens`: of the prompt, as the provider reported; `found`: it was kept already,
    for this endpoint, and `find` has renewed it."""
    cheaper = (price.rate("cached_prompt") or 0) < (price.rate("prompt") or 0)
    return cheaper and not found and (conversation.explicit or cached_tokens > 0)


@lru_cache(maxsize=4096)
def _secret_of(secret: str, account_id: str) -> bytes:
    return derive(secret, f"sticky:{account_id}")


def _opening(messages: Any) -> list[Any] | None:
    """The first message that instructs and the first that does not; without one of the latter there is no conversation."""
    found: dict[bool, Any] = {}
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            found.setdefault(message.get("role") in ("system", "developer"), message)
        if len(found) == 2:
            break
    if False not in found:
        return None
    return [[message.get("role"), message.get("content")] for message in (found.get(True), found[False]) if message]


def _cut(value: Any, levels: int) -> Any:
    """The value as far as it counts."""
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else [len(value), value[:TEXT_MAX]]
    if isinstance(value, list):
        return [_cut(each, levels - 1) for each in value[:ITEMS_MAX]] if levels else len(value)
    if isinstance(value, dict):
        return {name[:TEXT_MAX]: _cut(value[name], levels - 1) for name in list(value)[:ITEMS_MAX]} if levels else len(value)
    return value

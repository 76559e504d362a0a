"""Who is offered for chats and who for embeddings: by what its row says, and only where its dialect has words for it."""

import msgspec
import pytest

from metering.price import Price
from policy import route
from policy.errors import NoEndpoint
from providers import prompt
from providers.provider import ChatRequest, Endpoint
from tests.policy.routing import endpoint, plan, request

EMBEDDINGS = frozenset({"embeddings"})


def spoken(dialect: str, capabilities: set[str]) -> Endpoint:
    found = endpoint("acme", capabilities=frozenset(capabilities))
    return msgspec.structs.replace(found, provider=msgspec.structs.replace(found.provider, dialect=dialect))


def asked(operation: str) -> ChatRequest:
    return request(operation=operation, capabilities=EMBEDDINGS if operation == "embeddings" else frozenset({"text"}))


@pytest.mark.parametrize(
    ("dialect", "capabilities", "served"),
    [
        ("openai", {"text", "embeddings"}, {"chat", "embeddings"}),
        ("openai", {"tools", "embeddings"}, {"chat", "embeddings"}),
        ("openai", {"embeddings"}, {"embeddings"}),
        ("openai", {"text"}, {"chat"}),
        ("openai", set(), {"chat"}),
        ("echo", {"embeddings"}, {"embeddings"}),
        ("anthropic", {"text", "embeddings"}, {"chat"}),
        ("anthropic", {"embeddings"}, set()),
    ],
)
def test_an_endpoint_serves_what_its_row_and_its_dialect_say(dialect: str, capabilities: set[str], served: set[str]) -> None:
    for operation in ("chat", "embeddings"):
        if operation in served:
            assert plan(asked(operation), spoken(dialect, capabilities)).endpoints
            continue
        with pytest.raises(NoEndpoint) as caught:
            plan(asked(operation), spoken(dialect, capabilities))
        assert caught.value.failed_step == "Filter by Capabilities"
        assert f"it does not support {operation})" in caught.value.message


def test_an_embedding_is_held_for_by_its_prompt_alone_and_not_bound_by_one_context() -> None:
    place = endpoint("acme", price=Price(prompt=1000, completion=5000, request=7))
    chat, embeddings = (
        request(operation=operation, prompt_tokens_max=9000, max_tokens=10, capabilities=frozenset())
        for operation in ("chat", "embeddings")
    )
    assert (prompt.most(chat, place), prompt.most(embeddings, place)) == (1000, 9000)
    assert (prompt.reported_max(chat, place), prompt.reported_max(embeddings, place)) == (1000, 9000 + prompt.PROMPT_OVERHEAD_TOKENS)
    assert route.ceiling(embeddings, (place,)) == 9001
    assert route.ceiling(chat, (place,)) == 1051


def test_an_endpoint_of_embeddings_needs_a_completion_price_as_every_other() -> None:
    """Unpriced is blocked, without exceptions: its row says `completion = "0"`."""
    with pytest.raises(NoEndpoint, match="no price for completion"):
        plan(asked("embeddings"), endpoint("acme", capabilities=EMBEDDINGS, price=Price(prompt=1000)))
    assert plan(asked("embeddings"), endpoint("acme", capabilities=EMBEDDINGS, price=Price(prompt=1000, completion=0))).endpoints

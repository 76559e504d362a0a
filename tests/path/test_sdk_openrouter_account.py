"""OpenRouter's own Python SDK against the account and catalog routes of a running Tollway: its strict types take what we answer."""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from openrouter import OpenRouter, errors
from openrouter.utils import BackoffStrategy, RetryConfig

from tests.path.promises import ALL, TWO, Routes, routes

NEVER = RetryConfig("none", BackoffStrategy(1, 1, 1, 1), retry_connection_errors=False)
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    with routes(tmp_path_factory.mktemp("openrouter-account")) as place:
        yield place


@pytest.fixture
def client(at: Routes) -> Iterator[OpenRouter]:
    with sdk(at) as client:
        yield client


@contextlib.contextmanager
def sdk(at: Routes, key: str = "") -> Iterator[OpenRouter]:
    server = f"http://127.0.0.1:{at.tollway.port}/api/v1"
    with OpenRouter(api_key=key or at.account.key, server_url=server, retry_config=NEVER) as client:
        yield client


def test_the_sdk_makes_uses_changes_and_deletes_a_key(at: Routes, client: OpenRouter) -> None:
    expires = datetime(2099, 1, 31, 12, tzinfo=UTC)
    created = client.api_keys.create(name="ci", limit=0.25, limit_reset="monthly", expires_at=expires, include_byok_in_limit=False)
    data = created.data
    assert (data.hash, data.name) == (hashlib.sha256(created.key.encode()).hexdigest(), "ci")
    assert (data.limit, data.limit_remaining, data.limit_reset, data.expires_at) == (0.25, 0.25, "monthly", expires)
    with sdk(at, created.key) as made:
        assert made.chat.send(model=TWO, messages=HELLO, stream=False).id
    found = client.api_keys.get(hash=data.hash).data
    assert 0 < found.usage == found.usage_daily < 0.25
    assert found.byok_usage == 0
    assert found.last_used_at is not None
    assert data.hash in [key.hash for key in client.api_keys.list().data]
    changed = client.api_keys.update(hash=data.hash, name="renamed", disabled=True, limit=None).data
    assert (changed.name, changed.disabled, changed.limit) == ("renamed", True, None)
    assert data.hash not in [key.hash for key in client.api_keys.list(offset=0).data]
    assert data.hash in [key.hash for key in client.api_keys.list(include_disabled=True).data]
    time.sleep(1.05)
    with sdk(at, created.key) as dead, pytest.raises(errors.UnauthorizedResponseError):
        dead.chat.send(model=TWO, messages=HELLO, stream=False)
    assert client.api_keys.delete(hash=data.hash).DELETED
    with pytest.raises(errors.NotFoundResponseError):
        client.api_keys.get(hash=data.hash)


def test_the_sdk_raises_its_own_errors_of_keys(at: Routes, client: OpenRouter) -> None:
    with pytest.raises(errors.BadRequestResponseError, match="limit_reset"):
        client.api_keys.create(name="ci", limit_reset="daily")
    with pytest.raises(errors.BadRequestResponseError, match="finer than a nano-dollar"):
        client.api_keys.create(name="ci", limit=0.1 + 0.2)
    with sdk(at, client.api_keys.create(name="plain").key) as plain, pytest.raises(errors.OpenRouterError) as refused:
        plain.api_keys.list()
    assert refused.value.status_code == 403


def test_the_sdk_reads_the_models_in_pages_and_by_filters(at: Routes, client: OpenRouter) -> None:
    page = client.models.list(limit=2, sort="newest")
    seen: list[str] = []
    while page is not None:
        seen += [model.id for model in page.result.data]
        page = page.next()
    everything = client.models.list()
    assert everything is not None
    assert everything.result.total_count == len(everything.result.data) == len(seen) == len(set(seen))
    cheap = client.models.list(providers="c", max_price=0.5, output_modalities="text")
    assert cheap is not None
    assert ALL in [model.id for model in cheap.result.data]
    assert client.models.count().data.count == everything.result.total_count
    mine = client.models.list_for_user(security={"bearer": at.account.key})
    assert mine is not None
    assert {ALL, TWO} <= {model.id for model in mine.result.data}
    assert client.models.get(author="m", slug="two").data.id == TWO
    with pytest.raises(errors.NotFoundResponseError):
        client.models.get(author="m", slug="nothing")
    with pytest.raises(errors.BadRequestResponseError, match="category"):
        client.models.list(category="programming")
    embedding = client.embeddings.list_models()
    assert embedding is not None
    assert embedding.result.total_count == len(embedding.result.data)


def test_the_sdk_reads_endpoints_and_providers(client: OpenRouter) -> None:
    for _ in range(2):
        client.chat.send(model=TWO, messages=HELLO, provider={"only": ["a"]}, stream=False)
    found = client.endpoints.list(author="m", slug="all").data
    assert [(endpoint.tag, endpoint.quantization) for endpoint in found.endpoints] == [
        ("d", None),
        ("c", "int4"),
        ("a", "fp8"),
        ("b", "bf16"),
    ]
    assert {endpoint.status for endpoint in found.endpoints} == {0}
    time.sleep(0.3)
    asked = next(endpoint for endpoint in client.endpoints.list(author="m", slug="two").data.endpoints if endpoint.tag == "a")
    assert asked.latency_last_30m is not None
    assert 0 < asked.latency_last_30m.p50 <= asked.latency_last_30m.p99
    assert {endpoint.tag for endpoint in client.endpoints.list_zdr_endpoints().data if endpoint.model_id == ALL} == {"a"}
    providers = {provider.slug: provider for provider in client.providers.list().data}
    assert {"a", "b", "c", "d"} <= providers.keys()
    assert providers["a"].privacy_policy_url is None


@pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")  # the SDK's, of its own field rate_limit
def test_the_sdk_reads_activity_key_credits_and_is_told_that_no_content_is_kept(client: OpenRouter) -> None:
    answer = client.chat.send(model=TWO, messages=HELLO, stream=False)
    key = client.api_keys.get_current_key_metadata().data
    assert (key.byok_usage, key.budgets, key.effective_budget) == (0, [], None)
    hash = client.api_keys.list().data[0].hash
    assert client.analytics.get_user_activity(request={"api_key_hash": hash}).data == []
    assert client.credits.get_credits().data.total_usage > 0
    with pytest.raises(errors.NotFoundResponseError, match="off for this account"):
        client.generations.list_generation_content(id=answer.id)

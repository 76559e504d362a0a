"""OpenRouter's own Python SDK and pydantic-ai's OpenRouter model against a running Tollway: their strict types take what we answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest
from openai import AsyncOpenAI
from openrouter import OpenRouter, components, errors
from openrouter.utils import BackoffStrategy, RetryConfig
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openrouter import OpenRouterModel, OpenRouterModelSettings
from pydantic_ai.providers.openrouter import OpenRouterProvider

from gateway.commands import accounts
from gateway.settings import Settings
from tests.path.promises import ALL, OTHER, TWO, Routes, routes
from tests.running import SECRET

HELLO: Any = [{"role": "user", "content": "Hello"}]
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
NEVER = RetryConfig("none", BackoffStrategy(1, 1, 1, 1), retry_connection_errors=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    with routes(tmp_path_factory.mktemp("openrouter"), TOLLWAY_HEALTH="off") as place:
        yield place


@pytest.fixture
def at(running: Routes) -> Routes:
    running.fake.reset()
    return running


@pytest.fixture
def client(at: Routes) -> Iterator[OpenRouter]:
    with sdk(at, at.account.key) as client:
        yield client


def sdk(at: Routes, key: str) -> OpenRouter:
    return OpenRouter(api_key=key, server_url=f"http://127.0.0.1:{at.tollway.port}/api/v1", retry_config=NEVER)


def poor_key(at: Routes, limit: str) -> str:
    options: dict[str, Any] = {"name": "poor", "limit": limit, "reset": None, "expires": None, "management": False}
    settings = Settings(database_url=at.database_url, secret_key=SECRET)
    return str(asyncio.run(accounts.create_key(settings, account_id=at.account.account_id, **options))["key"])


# openrouter


def test_the_sdk_gets_an_answer_where_its_preferences_allow(at: Routes, client: OpenRouter) -> None:
    answer = client.chat.send(model=ALL, messages=HELLO, provider={"order": ["c"], "max_price": {"prompt": "1"}}, stream=False)
    assert isinstance(answer, components.ChatResult)
    assert at.tried() == ["all-c"]
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.cost
    assert answer.usage.cost > 0


def test_the_sdk_streams_and_is_told_the_cost(at: Routes, client: OpenRouter) -> None:
    at.fail("all-a")
    with client.chat.send(model=ALL, messages=HELLO, provider={"order": ["a", "b"]}, stream=True) as stream:
        chunks = list(stream)
    assert at.tried() == ["all-a", "all-b"]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.cost
    assert usage.cost > 0


def test_the_sdk_falls_back_to_another_model(at: Routes, client: OpenRouter) -> None:
    at.fail("other-a", "other-c")
    answer = client.chat.send(
        model=OTHER, models=[OTHER, ALL], messages=HELLO, provider={"only": ["a", "c"], "order": ["a", "c"]}, stream=False
    )
    assert isinstance(answer, components.ChatResult)
    assert (answer.model, at.tried()) == (ALL, ["other-a", "other-c", "all-a"])


@STREAMED
def test_the_sdk_raises_its_own_errors(at: Routes, client: OpenRouter, stream: bool) -> None:
    with pytest.raises(errors.NotFoundResponseError) as nothing:
        client.chat.send(model=ALL, messages=HELLO, provider={"only": ["nobody"]}, stream=stream)
    assert "provider.only" in nothing.value.data.error.message
    with pytest.raises(errors.BadRequestResponseError, match=r"provider\.only"):
        client.chat.send(model=ALL, messages=HELLO, provider={"only": ["a"], "ignore": ["a"]}, stream=stream)
    at.fake.fault("two-a", fault="rate-limit", secs=7)
    with pytest.raises(errors.TooManyRequestsResponseError) as busy:
        client.chat.send(model=TWO, messages=HELLO, provider={"only": ["a"]}, stream=stream)
    assert busy.value.headers["retry-after"] == "7"
    with sdk(at, poor_key(at, "0.000000001")) as poor, pytest.raises(errors.PaymentRequiredResponseError):
        poor.chat.send(model=TWO, messages=HELLO, stream=stream)
    with sdk(at, "sk-tw-v1-wrong") as stranger, pytest.raises(errors.UnauthorizedResponseError):
        stranger.chat.send(model=TWO, messages=HELLO, stream=stream)
    at.fail("two-a", "two-b")
    with pytest.raises(errors.BadGatewayResponseError):
        client.chat.send(model=TWO, messages=HELLO, stream=stream)


@pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")  # the SDK's, of its own field rate_limit
def test_the_sdk_reads_models_key_credits_and_generation(at: Routes, client: OpenRouter) -> None:
    answer = client.chat.send(model=TWO, messages=HELLO, stream=False)
    assert isinstance(answer, components.ChatResult)
    listed = client.models.list()
    assert listed is not None
    found = {model.id: model for model in listed.result.data}[TWO]
    assert (found.context_length, found.pricing.prompt) == (10000, "0.000001")
    key = client.api_keys.get_current_key_metadata().data
    credits = client.credits.get_credits().data
    assert Decimal(str(key.usage)) == Decimal(str(credits.total_usage)) > 0
    assert credits.total_credits == 100
    generation = client.generations.get_generation(id=answer.id).data
    assert answer.usage is not None
    assert (generation.model, generation.total_cost) == (TWO, answer.usage.cost)
    assert [each.provider_name for each in generation.provider_responses or []] == [generation.provider_name]


# pydantic-ai


@contextlib.asynccontextmanager
async def agent(at: Routes, model: str, key: str = "", **settings: Any) -> AsyncIterator["Agent[None, str]"]:
    async with AsyncOpenAI(base_url=at.tollway.base_url, api_key=key or at.account.key, max_retries=0) as client:
        routed = OpenRouterModel(model, provider=OpenRouterProvider(openai_client=client))
        yield Agent(routed, model_settings=OpenRouterModelSettings(**settings))


async def test_pydantic_ai_gets_an_answer_where_its_preferences_allow(at: Routes) -> None:
    at.fail("all-c")
    preferences: Any = {"order": ["c", "a"], "allow_fallbacks": False, "data_collection": "allow"}
    async with agent(at, ALL, openrouter_provider=preferences, openrouter_usage={"include": True}) as asked:
        result = await asked.run("Hello")
    assert at.tried() == ["all-c", "all-a"]
    assert result.output
    details = result.response.provider_details or {}
    assert details["downstream_provider"] == "a"
    assert details["cost"] > 0
    assert result.usage.input_tokens > 0


async def test_pydantic_ai_streams_from_the_next_model(at: Routes) -> None:
    at.fail("other-a", "other-c")
    preferences: Any = {"only": ["a"]}
    async with (
        agent(at, OTHER, openrouter_provider=preferences, openrouter_models=[ALL]) as asked,
        asked.run_stream("Hello") as result,
    ):
        text = "".join([part async for part in result.stream_text(delta=True)])
        response = result.response
    assert at.tried() == ["other-a", "all-a"]
    assert text
    assert (response.provider_details or {})["cost"] > 0


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"openrouter_provider": {"only": ["nobody"]}}, 404),
        ({"openrouter_provider": {"only": ["a"], "ignore": ["a"]}}, 400),
        ({"openrouter_preset": "nothing"}, 400),
    ],
)
async def test_pydantic_ai_is_told_what_was_wrong(at: Routes, settings: dict[str, Any], status: int) -> None:
    async with agent(at, ALL, **settings) as asked:
        with pytest.raises(ModelHTTPError) as refused:
            await asked.run("Hello")
    assert refused.value.status_code == status


async def test_pydantic_ai_is_told_of_money_and_of_limits(at: Routes) -> None:
    key = await asyncio.to_thread(poor_key, at, "0.000000001")
    async with agent(at, TWO, key) as asked:
        with pytest.raises(ModelHTTPError) as poor:
            await asked.run("Hello")
    assert poor.value.status_code == 402
    at.fake.fault("two-a", fault="rate-limit", secs=7)
    async with agent(at, TWO, openrouter_provider={"only": ["a"]}) as asked:
        with pytest.raises(ModelHTTPError) as busy:
            await asked.run("Hello")
    assert busy.value.status_code == 429

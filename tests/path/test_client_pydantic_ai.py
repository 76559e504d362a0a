"""pydantic-ai's agents against a running Tollway, by its models of chat, responses, messages and OpenRouter."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.openrouter import OpenRouterModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openrouter import OpenRouterProvider

from tests.path.sdk_fixtures import BOTH, ECHO, FAST, Place, place, price_of
from tests.running import Account

MODELS = pytest.mark.parametrize("model", BOTH)
APIS = pytest.mark.parametrize("api", ["chat", "responses", "messages", "openrouter"])
QUESTION = "in parallel: weather and clock"
ANSWER = {ECHO: "noon", FAST: "Hello from fast-1."}


class City(BaseModel):
    name: str
    people: int
    tags: list[str]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("pydantic-ai")) as running:
        yield running
        assert running.tollway.cli("ledger", "verify").returncode == 0


@pytest.fixture
def account(here: Place) -> Account:
    return here.new_account("1")


@pytest.fixture(scope="module")
def poor(here: Place) -> Account:
    return here.new_account("0")


@contextlib.asynccontextmanager
async def modelled(here: Place, api: str, name: str, key: str = "") -> AsyncIterator[Model[Any]]:
    options: dict[str, Any] = {"api_key": key or here.account.key, "max_retries": 0}
    base_url = here.tollway.base_url
    if api == "messages":
        async with AsyncAnthropic(base_url=base_url.removesuffix("/v1"), **options) as anthropic:
            yield AnthropicModel(name, provider=AnthropicProvider(anthropic_client=anthropic))
        return
    async with AsyncOpenAI(base_url=base_url, **options) as openai:
        if api == "openrouter":
            yield OpenRouterModel(name, provider=OpenRouterProvider(openai_client=openai))
        else:
            yield {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[api](name, provider=OpenAIProvider(openai_client=openai))


def equipped(model: Model[Any]) -> tuple["Agent[None, str]", list[str]]:
    """An agent with two tools, and which of them were called."""
    agent: Agent[None, str] = Agent(model)
    called: list[str] = []

    @agent.tool_plain
    def weather(city: str) -> str:
        called.append("weather")
        return f"12 degrees in {city}"

    @agent.tool_plain
    def clock(zone: str) -> str:
        called.append("clock")
        return "noon" if zone else ""

    return agent, called


@MODELS
@APIS
async def test_an_agent_calls_its_tools_and_answers(here: Place, account: Account, api: str, model: str) -> None:
    async with modelled(here, api, model, account.key) as client:
        agent, called = equipped(client)
        result = await agent.run(QUESTION)
    assert sorted(called) == ["clock", "weather"]
    assert (result.output, result.usage.requests, result.usage.tool_calls) == (ANSWER[model], 2, 2)
    used = [message.usage for message in result.all_messages() if message.kind == "response"]
    assert all(each.input_tokens > 0 and each.output_tokens > 0 for each in used)
    counted = [{"prompt_tokens": each.input_tokens, "completion_tokens": each.output_tokens} for each in used]
    assert here.used(account) == sum(price_of(model, each) for each in counted)


@MODELS
@APIS
async def test_a_streamed_run_calls_its_tools_and_says_the_same(here: Place, api: str, model: str) -> None:
    async with modelled(here, api, model) as client:
        agent, called = equipped(client)
        async with agent.run_stream(QUESTION) as result:
            text = "".join([part async for part in result.stream_text(delta=True, debounce_by=None)])
    assert sorted(called) == ["clock", "weather"]
    assert text == ANSWER[model]
    assert (result.usage.requests, result.usage.output_tokens > 0) == (2, True)


@MODELS
@APIS
async def test_an_answer_comes_typed_by_a_tool_and_by_a_schema(here: Place, api: str, model: str) -> None:
    wanted: list[Any] = [City] if api in ("messages", "openrouter") else [City, NativeOutput(City)]  # these two never ask for a schema
    async with modelled(here, api, model) as client:
        for output in wanted:
            agent: Agent[None, City] = Agent(client, output_type=output)
            result = await agent.run("Bern")
            assert isinstance(result.output, City)
            async with agent.run_stream("Bern") as streamed:
                assert await streamed.get_output() == result.output


@APIS
async def test_thoughts_are_a_part_of_their_own_and_go_back(here: Place, api: str) -> None:
    async with modelled(here, api, "acme/thinks") as client:
        agent: Agent[None, str] = Agent(client)
        result = await agent.run("Why?")
        thoughts = [part.content for part in result.response.parts if part.part_kind == "thinking"]
        assert (thoughts, result.output) == (["Let me think."], "Hello from reasoning.")
        assert result.usage.output_reasoning_tokens == 3
        assert (await agent.run("Go on.", message_history=result.all_messages())).output == result.output
    _, assistant, _ = here.fake.settled("reasoning")[-1]["request_body"]["messages"]
    # The model of OpenRouter sends back `reasoning_details` alone, and this provider gave none.
    assert ("Let me think." in str(assistant)) == (api != "openrouter")


@APIS
async def test_what_goes_wrong_is_told(here: Place, poor: Account, api: str) -> None:
    for status, name, key in ((401, ECHO, "sk-nothing"), (402, ECHO, poor.key), (400, "tollway/ecko", ""), (429, "acme/busy", "")):
        async with modelled(here, api, name, key) as client:
            with pytest.raises(ModelHTTPError) as refused:
                await Agent(client).run("hi")
        assert refused.value.status_code == status


@APIS
async def test_a_stream_that_is_cut_is_an_error(here: Place, api: str) -> None:
    async with modelled(here, api, "acme/cut") as client:
        with pytest.raises(ModelAPIError):
            async with Agent(client).run_stream("hi") as result:
                await result.get_output()

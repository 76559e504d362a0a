"""The official OpenAI client is content with the fake provider's plain answers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from pydantic import BaseModel

from tests.fakes.process import ROOT, Fake, fake_provider

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city"],
        },
    },
}
TIME: ChatCompletionToolParam = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}


class City(BaseModel):
    name: str
    people: int
    tags: list[str]


@pytest.fixture
def client(fake: Fake) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fake.base_url, api_key="any", max_retries=0) as client:
        yield client


def test_the_client_gets_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="fast-1", messages=[{"role": "user", "content": "hi"}], n=2, logprobs=True, top_logprobs=2
    )
    assert [choice.message.content for choice in answer.choices] == ["Hello from fast-1."] * 2
    assert answer.usage
    assert answer.usage.completion_tokens == 6
    assert answer.system_fingerprint == "fp_fake"
    assert answer.choices[0].logprobs
    assert [len(entry.top_logprobs) for entry in answer.choices[0].logprobs.content or []] == [2, 2, 2]


def test_the_client_reads_a_stream_with_usage_and_a_limit(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="fast-1",
        messages=[{"role": "user", "content": "say 50"}],
        max_completion_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "word " * 20
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 20


@pytest.mark.parametrize("model", ["fast-1", "split-bytes", "crlf", "cr", "multi-data", "no-space", "gzip", "split-at"])
def test_the_client_reads_every_legal_framing(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}], stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert said == ("Hello é 漢 😀 wörld" if "split" in model else f"Hello from {model}.")


def test_the_client_gets_parallel_tool_calls(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "in parallel"}], tools=[WEATHER, TIME])
    calls = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"] == [
        ("weather", {"city": "text", "days": 1}),
        ("time", {}),
    ]


def test_the_client_puts_streamed_tool_calls_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="tool-split", messages=[{"role": "user", "content": "hi"}], tools=[WEATHER, TIME]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [call.function.arguments for call in message.tool_calls or []] == ['{"city":"text","days":1}', "{}"]


def test_the_client_parses_a_json_schema_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="m", messages=[{"role": "user", "content": "hi"}], response_format=City)
    assert answer.choices[0].message.parsed == City(name="text", people=1, tags=[])


def test_the_client_knows_the_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="rate-limit", messages=[])
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="needs-key", messages=[])
    with pytest.raises(openai.APIError, match="server had an error"):
        list(client.chat.completions.create(model="error-midstream", messages=[], stream=True))


def test_the_client_lists_the_models(client: openai.OpenAI) -> None:
    assert "slow-tokens" in {model.id for model in client.models.list()}
    assert client.models.retrieve("fast-1").id == "fast-1"


async def test_the_asynchronous_client_leaving_midstream_is_noticed(fake: Fake) -> None:
    async with openai.AsyncOpenAI(base_url=fake.base_url, api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(model="endless", messages=[], stream=True)
        async for _ in stream:
            break
        await stream.close()
        assert fake.settled("endless", within_s=0.5)[0]["outcome"] == "cancelled"


def test_the_fake_stops_with_its_context_and_dies_with_its_parent() -> None:
    with fake_provider() as fake:
        pid = fake.pid
        os.kill(pid, 0)
    assert not os.path.exists(f"/proc/{pid}")
    code = "import time\nfrom tests.fakes.process import fake_provider\nwith fake_provider() as f: print(f.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        orphan = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while _running(orphan) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _running(orphan)


def _running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""Anthropic's own Python SDK against a running Tollway whose provider speaks OpenAI: messages, streams, tools, thoughts and counts."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from pydantic import BaseModel

from metering.tokens import tokenizer
from tests.fakes.faults import Json
from tests.path.messages_clients import PNG, TOOLS, asking, book, client_of, raw_post, root, say, upstream_body
from tests.path.models import TEXT, model_id
from tests.path.place import Place, billed, charge_for
from tests.running import Account

PLAIN, THINKING, SPLIT = model_id("plain"), model_id("reasoning"), model_id("tool-split")


@pytest.fixture
def owner(quiet: Place) -> Account:
    return quiet.account()


@pytest.fixture
def client(quiet: Place, owner: Account) -> Iterator[anthropic.Anthropic]:
    with client_of(quiet, owner) as client:
        yield client


def plain(message: Message) -> list[dict[str, Any]]:
    return [{name: value for name, value in block.to_dict().items() if name != "parsed_output"} for block in message.content]


def test_a_message_has_the_sdks_own_shape_and_costs_exactly_what_the_provider_billed(
    quiet: Place, owner: Account, client: anthropic.Anthropic
) -> None:
    raw = client.messages.with_raw_response.create(**asking(PLAIN))
    Message.model_validate_json(raw.text(), strict=True)
    message = json.loads(raw.text(), parse_float=Decimal)
    assert (message["content"], message["stop_reason"], message["model"]) == ([{"type": "text", "text": TEXT}], "end_turn", PLAIN)
    assert message["id"].startswith("msg_")
    assert raw.headers["x-generation-id"].removeprefix("gen-").replace("-", "") == message["id"].removeprefix("msg_")
    rows = quiet.fake.settled()
    assert message["usage"]["cost"] == charge_for(**billed(rows)) == quiet.used(owner)
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (billed(rows)["prompt"], billed(rows)["completion"])


def test_the_stream_gives_the_same_message_and_says_last_what_was_charged(
    quiet: Place, owner: Account, client: anthropic.Anthropic
) -> None:
    whole = client.messages.create(**asking(PLAIN))
    since = quiet.used(owner)
    with client.messages.stream(**asking(PLAIN)) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert (plain(final), final.stop_reason, final.model) == (plain(whole), whole.stop_reason, whole.model)
    assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)
    kinds = [event.type for event in events if event.type != "text"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    usage: Any = next(event.usage for event in events if event.type == "message_delta")
    assert Decimal(str(usage.cost)) == quiet.used(owner) - since == charge_for(**billed(quiet.fake.settled()[1:]))


async def test_the_asynchronous_client_gets_the_same(quiet: Place, owner: Account) -> None:
    async with anthropic.AsyncAnthropic(base_url=root(quiet), api_key=owner.key, max_retries=0) as client:
        whole = await client.messages.create(**asking(PLAIN))
        async with client.messages.stream(**asking(PLAIN)) as stream:
            texts = [text async for text in stream.text_stream]
        counted = await client.messages.count_tokens(model=PLAIN, messages=say("Hello"))
    assert [block.to_dict() for block in whole.content] == [{"type": "text", "text": "".join(texts)}]
    assert len(texts) > 3
    assert counted.input_tokens == tokenizer("o200k_base").count("Hello") + 6


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_both_ways_to_send_a_key_are_taken_on_both_prefixes(quiet: Place, owner: Account, header: str, prefix: str) -> None:
    key = {header: owner.key if header == "x-api-key" else f"Bearer {owner.key}"}
    for path, body in (("messages?beta=true", asking(PLAIN)), ("messages/count_tokens?beta=true", {"model": PLAIN, "messages": say("x")})):
        status, _, answer = raw_post(quiet, f"{prefix}/{path}", key, body)
        assert status == 200, answer


# Tools


def test_tools_are_called_in_parallel_and_their_results_go_back(quiet: Place, client: anthropic.Anthropic) -> None:
    turns = say("in parallel: weather and clock")
    first = client.messages.create(**asking(PLAIN, messages=turns, tools=TOOLS, tool_choice={"type": "auto"}))
    uses = [block for block in first.content if block.type == "tool_use"]
    assert [(use.name, list(use.input)) for use in uses] == [("weather", ["city"]), ("clock", ["zone"])]
    assert first.stop_reason == "tool_use"
    answer: Any = {"role": "assistant", "content": first.content}
    results: Json = [{"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "12"}]} for use in uses]
    second = client.messages.create(**asking(PLAIN, messages=[*turns, answer, {"role": "user", "content": results}], tools=TOOLS))
    assert (second.stop_reason, second.content[0].type) == ("end_turn", "text")
    sent = upstream_body(quiet)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["function"]["name"] for call in sent[1]["tool_calls"]] == ["weather", "clock"]
    for result in results:  # a tool says only texts there
        result["content"].append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})
    client.messages.create(**asking(PLAIN, messages=[*turns, answer, {"role": "user", "content": results}], tools=TOOLS))
    sent = upstream_body(quiet)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert [part["type"] for part in sent[4]["content"]] == ["image_url", "image_url"]


def test_a_forced_tool_is_called_alone(quiet: Place, client: anthropic.Anthropic) -> None:
    choice = {"type": "tool", "name": "clock", "disable_parallel_tool_use": True}
    answer = client.messages.create(**asking(PLAIN, messages=say("in parallel"), tools=TOOLS, tool_choice=choice))
    assert {block.name for block in answer.content if block.type == "tool_use"} == {"clock"}
    assert upstream_body(quiet)["parallel_tool_calls"] is False


@pytest.mark.parametrize("model", [PLAIN, SPLIT])
def test_the_stream_helper_puts_tool_calls_together(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(**asking(model, messages=say("in parallel"), tools=TOOLS)) as stream:
        ended = [event.content_block for event in stream if event.type == "content_block_stop"]
        final = stream.get_final_message()
    assert [(block.name, list(block.input)) for block in ended if block.type == "tool_use"] == [("weather", ["city"]), ("clock", ["zone"])]
    assert final.stop_reason == "tool_use"


class City(BaseModel):
    name: str
    people: int


def test_a_pydantic_model_comes_back_parsed(client: anthropic.Anthropic) -> None:
    answer = client.messages.parse(**asking(PLAIN, messages=say("Bern")), output_format=City)
    assert isinstance(answer.parsed_output, City)


# Thoughts and media


def test_thoughts_are_blocks_and_go_back_under_the_name_they_came_by(quiet: Place, client: anthropic.Anthropic) -> None:
    asked = asking(THINKING, max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024})
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    whole = client.messages.create(**asked)
    assert plain(final) == plain(whole)
    assert [block.type for block in final.content] == ["thinking", "text"]
    thought: Any = final.content[0]
    assert (thought.thinking, bool(thought.signature)) == ("Let me think.", True)
    details: Any = whole.usage.output_tokens_details
    assert details.thinking_tokens == 3
    turns: Any = [*say("?"), {"role": "assistant", "content": final.content}, *say("Go on.")]
    client.messages.create(**asking(THINKING, messages=turns))
    assert upstream_body(quiet)["messages"][1] == {"role": "assistant", "content": TEXT, "reasoning_content": "Let me think."}


def test_images_and_documents_reach_the_provider_in_its_words(quiet: Place, client: anthropic.Anthropic) -> None:
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Words."}},
    ]
    client.messages.create(**asking(PLAIN, messages=say(content)))
    parts = upstream_body(quiet)["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "file", "text"]
    assert parts[0]["image_url"]["url"] == f"data:image/png;base64,{PNG}"


def test_what_claude_code_sends_is_answered_by_a_model_of_openai(quiet: Place, client: anthropic.Anthropic) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    asked: Json = {
        "system": [{"type": "text", "text": "You are an agent."}, {"type": "text", "text": "Manual.", **cached}],
        "messages": say([{"type": "text", "text": "Hello", **cached}]),
        "tools": [{**TOOLS[0], **cached}, {**TOOLS[1], "eager_input_streaming": True}],
        "metadata": {"user_id": f"user_{'a' * 64}_account__session_0b7e2c1a"},
        "thinking": {"type": "adaptive"},
        "extra_body": {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "betas": ["x"]},
        "extra_headers": {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14", "x-app": "cli"},
        "extra_query": {"beta": "true"},
        "tool_choice": {"type": "none"},
    }
    raw = client.messages.with_raw_response.create(**asking(PLAIN, **asked))
    assert raw.headers["x-tollway-adjusted"] == "cache_control, context_management, metadata.user_id, reasoning"
    body = upstream_body(quiet)
    assert "cache_control" not in json.dumps(body)
    assert body.keys() == {"model", "messages", "tools", "tool_choice", "user", "max_tokens"}
    assert len(body["user"]) == 64
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_comments_that_keep_a_slow_stream_alive_do_not_disturb_the_sdk(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    quiet.fake.fault("planned", fault="slow-first-token", ms=600)  # a comment comes after 0.3 s
    body = {**asking(model_id("planned")), "stream": True}
    _, _, answer = raw_post(quiet, "/v1/messages", {"x-api-key": owner.key}, body)
    assert answer.startswith(b": TOLLWAY PROCESSING\n\nevent: message_start\n")
    with client.messages.stream(**asking(model_id("planned"))) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"


# Counting


def test_counting_is_exact_free_and_asks_no_provider(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=PLAIN, system="Be brief.", messages=say("Hello there"), tools=TOOLS[:1])
    count, tool = tokenizer("o200k_base").count, TOOLS[0]
    words = ["Be brief.", "Hello there", "type", "function", "function", "name", tool["name"], "description", tool["description"]]
    schema = ["parameters", "type", "object", "properties", "city", "type", "string", "required", "city"]
    assert counted.input_tokens == sum(map(count, [*words, *schema])) + 3 * 3
    assert quiet.books(owner) == quiet.books(quiet.account())
    assert quiet.fake.ledger() == []
    assert book(quiet, owner) == []


def test_counting_a_long_prompt_takes_none_of_the_others_time(quiet: Place, owner: Account, client: anthropic.Anthropic) -> None:
    words = "word " * 100_000
    assert client.messages.count_tokens(model=PLAIN, messages=say(words)).input_tokens > 100_000

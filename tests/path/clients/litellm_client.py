"""Runs LiteLLM as a client of a Tollway and prints what it saw as one JSON object, for test_client_litellm.py to judge.

Usage: python litellm_client.py <base url> <key> <key without credit>, in an environment of its own: LiteLLM wants another OpenAI SDK.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

BASE, KEY, POOR = sys.argv[1:]
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENROUTER_API_BASE": BASE, "OPENROUTER_API_KEY": KEY}

import litellm  # type: ignore[import-not-found]  # noqa: E402
import openai  # noqa: E402

litellm.suppress_debug_info = True
OPENAI = {"api_base": BASE, "api_key": KEY, "num_retries": 0}
ANTHROPIC = {"api_base": BASE.removesuffix("/v1"), "api_key": KEY, "num_retries": 0}
PREFIXES: dict[str, dict[str, Any]] = {"openai": OPENAI, "openrouter": {"num_retries": 0}, "anthropic": ANTHROPIC}
WORDS = "one two three"
BOTH = "in parallel: weather and clock"


def tool(name: str, field: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}
    return {"type": "function", "function": {"name": name, "description": f"Tells the {name}.", "parameters": parameters}}


TOOLS = [tool("weather", "city"), tool("clock", "zone")]


def say(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def shown(answer: Any) -> dict[str, Any]:
    """What a program reads from a whole answer."""
    choice, usage = answer.choices[0], answer.usage
    message = choice.message
    return {
        "text": message.content,
        "reasoning": getattr(message, "reasoning_content", None),
        "calls": [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []],
        "finish": choice.finish_reason,
        "usage": {name: getattr(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "cost": getattr(usage, "cost", None),
    }


def streamed(**asked: Any) -> dict[str, Any]:
    """A stream put together by LiteLLM's own builder."""
    chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
    return {**shown(litellm.stream_chunk_builder(chunks)), "pieces": len(chunks)}


def tools(**asked: Any) -> dict[str, Any]:
    """Two calls, their results sent back, and the answer to them."""
    first = litellm.completion(messages=say(BOTH), tools=TOOLS, **asked)
    message = first.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12 degrees"} for call in message.tool_calls]
    second = litellm.completion(messages=[*say(BOTH), message.model_dump(), *results], tools=TOOLS, **asked)
    return {"first": shown(first), "second": shown(second), "streamed": streamed(messages=say(BOTH), tools=TOOLS, **asked)}


async def asynchronous(**asked: Any) -> dict[str, Any]:
    whole = await litellm.acompletion(messages=say(WORDS), **asked)
    stream = await litellm.acompletion(messages=say(WORDS), stream=True, **asked)
    return {"whole": shown(whole), "streamed": "".join([chunk.choices[0].delta.content or "" async for chunk in stream])}


def failure(attempt: Callable[[], Any]) -> dict[str, Any] | None:
    try:
        attempt()
    except openai.APIError as error:  # what LiteLLM makes of every provider's failure is also OpenAI's
        return {"kind": type(error).__name__, "status": getattr(error, "status_code", None), "message": str(error)}
    return None


def failures(prefix: str) -> dict[str, Any]:
    asked = PREFIXES[prefix]

    def call(model: str, **more: Any) -> Any:
        return list(litellm.completion(**{"model": f"{prefix}/{model}", "messages": say("hi"), "stream": False, **asked, **more}))

    return {
        "noKey": failure(lambda: call("tollway/echo", api_key="sk-nothing")),
        "noCredit": failure(lambda: call("tollway/echo", api_key=POOR)),
        "busy": failure(lambda: call("acme/busy")),
        "broken": failure(lambda: call("acme/broken")),
        "unknownModel": failure(lambda: call("tollway/ecko")),
        "cut": failure(lambda: call("acme/cut", stream=True)),
    }


def seen(prefix: str) -> dict[str, Any]:
    asked = {"model": f"{prefix}/tollway/echo", **PREFIXES[prefix]}
    fast = {**asked, "model": f"{prefix}/acme/fast-1"}
    return {
        "whole": shown(litellm.completion(messages=say(WORDS), **asked)),
        "streamed": streamed(messages=say(WORDS), **asked),
        "asynchronous": asyncio.run(asynchronous(**asked)),
        "tools": tools(**fast),
        "thinks": shown(litellm.completion(**{**asked, "model": f"{prefix}/acme/thinks"}, messages=say("Why?"))),
        "failures": failures(prefix),
    }


def responses() -> dict[str, Any]:
    asked = {"model": "openai/tollway/echo", "input": WORDS, **OPENAI}
    events = list(litellm.responses(**asked, stream=True))
    return {"text": litellm.responses(**asked).output_text, "streamed": events[-1].response.output_text}


def embedded(model: str, **asked: Any) -> dict[str, Any]:
    answer = litellm.embedding(model=model, input=["one two", "three"], **asked)
    return {"vectors": [row["embedding"] for row in answer.data], "tokens": answer.usage.prompt_tokens}


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "version": litellm._version.version,
                **{prefix: seen(prefix) for prefix in PREFIXES},
                "embedding": embedded("openai/acme/fast-1", encoding_format="float", **OPENAI),
                "embeddingOpenRouter": embedded("openrouter/acme/fast-1"),
                "responses": responses(),
            }
        )
    )

"""What the `gemini` dialect makes of a canonical chat request: the body of Google's generateContent, v1beta.

Shapes as in Google's API reference and guides: functionDeclarations and responseJsonSchema take JSON Schema as it is; a turn of the
model goes back with its thoughtSignature, without which Gemini 3 and later refuse their own function calls.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.dropping import report_dropped
from providers.errors import Inexpressible
from providers.gemini_contents import contents
from providers.gemini_thinking import LEVELLED, thinking_config
from providers.provider import Call

PLAIN: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
PARAMETERS: Final = frozenset(PLAIN) | {
    *("logprobs", "modalities", "n", "reasoning", "reasoning_effort", "response_format", "seed", "stop", "tool_choice", "tools"),
    "top_logprobs",
}
MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}

SEEDS: Final = 2**31
"""Seeds have 32 bits there, of which one is the sign; the same seed stays the same."""


def payload(call: Call) -> bytes:
    """Names to `call.adjust` what has no word here. Inexpressible names the place."""
    return msgspec.json.encode(_body(call))


def _body(call: Call) -> dict[str, Any]:
    body = call.request.body.reveal()
    if body.get("functions"):
        raise Inexpressible("functions", "functions of the old kind cannot be passed to this provider; use tools.")
    report_dropped(body, PARAMETERS, call.adjust)
    system, turns = contents(body["messages"], signed=LEVELLED.match(call.endpoint.upstream_model) is not None)
    if not turns:  # instructions alone are no conversation there
        system, turns = [], [{"role": "user", "parts": system}]
    sent: dict[str, Any] = {"contents": turns}
    if system:
        sent["systemInstruction"] = {"parts": system}
    if body.get("tools"):
        sent["tools"] = [{"functionDeclarations": list(_declarations(body["tools"], call))}]
        sent |= _tool_config(body.get("tool_choice"), call)
    if config := {**_sampling(body, call), **_form(body, call), **thinking_config(body, call)}:
        sent["generationConfig"] = config
    return sent


def _declarations(tools: list[dict[str, Any]], call: Call) -> Iterator[dict[str, Any]]:
    for number, tool in enumerate(tools):
        function = tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, dict):
            raise Inexpressible(f"tools[{number}]", "only tools of type function can be passed to this provider.")
        if function.get("strict"):
            call.adjust("tools")  # arguments are held to their schema only where a call is forced
        declaration = {name: function[name] for name in ("name", "description") if function.get(name)}
        if function.get("parameters"):
            declaration["parametersJsonSchema"] = function["parameters"]
        yield declaration


def _tool_config(choice: Any, call: Call) -> dict[str, Any]:
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in MODES:
        return {"toolConfig": {"functionCallingConfig": {"mode": MODES[choice]}}}
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        call.adjust("tool_choice")
        return {}
    return {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [function["name"]]}}}


def _sampling(body: dict[str, Any], call: Call) -> dict[str, Any]:
    config = {google: body[name] for name, google in PLAIN.items() if body.get(name) is not None}
    if call.max_tokens is not None:
        config["maxOutputTokens"] = call.max_tokens
    if body.get("seed") is not None:
        config["seed"] = body["seed"] % SEEDS
    if stop := body.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if call.request.n > 1:
        config["candidateCount"] = call.request.n
    if body.get("logprobs"):
        config["responseLogprobs"] = True
        if body.get("top_logprobs"):
            config["logprobs"] = body["top_logprobs"]
    return config


def _form(body: dict[str, Any], call: Call) -> dict[str, Any]:
    """What the answer is to look like."""
    config: dict[str, Any] = {}
    wanted = body.get("response_format") or {}
    if wanted.get("type") in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
        described = wanted.get("json_schema")
        if isinstance(described, dict) and described.get("schema"):
            config["responseJsonSchema"] = described["schema"]
    elif wanted.get("type", "text") != "text":
        call.adjust("response_format")
    modalities = body.get("modalities") or []
    if "audio" in modalities:
        raise Inexpressible("modalities", "audio answers cannot be had from this provider; ask for text or image.")
    if modalities:
        config["responseModalities"] = [modality.upper() for modality in modalities]
    return config

"""What Google's generateContent refuses: unknown fields, turns out of order, results without calls, lost signatures, broken base64."""

import base64
import binascii
from collections.abc import Iterator

from tests.fakes.faults import Json

UNSIGNED = "skip_thought_signature_validator"
SIGNATURE = b"signature-of-"
CALLS_FIRST = "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
AS_MANY = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
)

_CONFIG = {
    *("candidateCount", "stopSequences", "maxOutputTokens", "temperature", "topP", "topK", "seed", "presencePenalty", "frequencyPenalty"),
    *("responseLogprobs", "logprobs", "responseMimeType", "responseJsonSchema", "responseModalities", "thinkingConfig"),
}
_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_DECLARATION = {"name", "description", "parameters", "parametersJsonSchema"}


def complaints(body: dict[str, Json], model: str) -> Iterator[str]:
    """What the API would say; the first is enough for a 400."""
    yield from _unknown(body, {"contents", "tools", "toolConfig", "safetySettings", "systemInstruction", "generationConfig"}, "")
    config = body.get("generationConfig", {})
    yield from _unknown(config, _CONFIG, "generation_config")
    thinking = config.get("thinkingConfig", {})
    yield from _unknown(thinking, {"includeThoughts", "thinkingBudget", "thinkingLevel"}, "generation_config.thinking_config")
    if {"thinkingBudget", "thinkingLevel"} <= set(thinking):
        yield "You can only set only one of thinking budget and thinking level."
    for tool in body.get("tools", []):
        yield from _unknown(tool, {"functionDeclarations"}, "tools[0]")
        for declaration in tool.get("functionDeclarations", []):
            yield from _unknown(declaration, _DECLARATION, "tools[0].function_declarations[0]")
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if calling.get("allowedFunctionNames") and calling.get("mode") != "ANY":
        yield "allowed_function_names should only be set when mode is ANY."
    for number, content in enumerate([body.get("systemInstruction", {"parts": [{"text": ""}]}), *body.get("contents", [])]):
        yield from _parts(content, f"contents[{number - 1}]")
    yield from _order(body.get("contents") or [], signed=model.startswith("gemini-3"))


def _unknown(fields: Json, known: set[str], where: str) -> Iterator[str]:
    at = f" at '{where}'" if where else ""
    for name in fields if isinstance(fields, dict) else ():
        if name not in known:
            yield f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'


def _parts(content: Json, where: str) -> Iterator[str]:
    yield from _unknown(content, {"role", "parts"}, where)
    if not content.get("parts"):
        yield f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty."
    for part in content.get("parts", []):
        yield from _unknown(part, {*_DATA, "thought", "thoughtSignature"}, f"{where}.parts[0]")
        if sum(name in part for name in _DATA) != 1:
            yield f"{where}.parts[0]: required oneof field 'data' must have one initialized field"
        yield from _unknown(part.get("inlineData"), {"mimeType", "data"}, f"{where}.parts[0].inline_data")
        if "inlineData" in part and not _is_base64(part["inlineData"]["data"]):
            yield f"Invalid value at '{where}.parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed."
        yield from _unknown(part.get("fileData"), {"mimeType", "fileUri"}, f"{where}.parts[0].file_data")
        yield from _unknown(part.get("functionCall"), {"id", "name", "args"}, f"{where}.parts[0].function_call")
        yield from _unknown(part.get("functionResponse"), {"id", "name", "response"}, f"{where}.parts[0].function_response")
        if not isinstance(part.get("functionResponse", {}).get("response", {}), dict):
            yield f"Invalid value at '{where}.parts[0].function_response.response' (type.googleapis.com/google.protobuf.Struct)"
        if not _is_signature(part.get("thoughtSignature", UNSIGNED)):
            yield "Corrupted thought signature."


def _order(turns: list[Json], *, signed: bool) -> Iterator[str]:
    if not turns:
        yield "* GenerateContentRequest.contents: contents is not specified"
    before: Json = {}
    for turn in turns:
        role, calls, results = turn.get("role"), _of(turn, "functionCall"), _of(turn, "functionResponse")
        asked = _of(before, "functionCall")
        if role not in ("user", "model"):
            yield "Please use a valid role: user, model."
        if role == before.get("role"):
            yield "Please ensure that multiturn requests alternate between user and model."
        if calls and (role != "model" or before.get("role") != "user"):
            yield CALLS_FIRST
        if [(each.get("id"), each["name"]) for each in results] != [(each.get("id"), each["name"]) for each in asked]:
            yield AS_MANY
        if signed and calls and not next(part for part in turn["parts"] if "functionCall" in part).get("thoughtSignature"):
            yield f"Function call is missing a thought_signature in functionCall parts. Additional data, function call `{calls[0]['name']}`"
        before = turn


def _of(turn: Json, kind: str) -> list[Json]:
    return [part[kind] for part in turn.get("parts", []) if kind in part]


def _is_base64(data: Json) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, TypeError, ValueError):
        return False


def _is_signature(text: Json) -> bool:
    return text == UNSIGNED or (_is_base64(text) and base64.b64decode(text).startswith(SIGNATURE))

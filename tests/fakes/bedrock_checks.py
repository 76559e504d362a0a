"""What Bedrock refuses: a wrong signature, what its service description (botocore's) does not allow, and turns out of order."""

import datetime
import functools
import re
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import quote

from tests.fakes.faults import Json
from tests.fakes.http1 import Request

ACCESS_KEY, SECRET_KEY = "AKIDOFTHEFAKE", "secret/of+the/fake"
API_KEY = "bedrock-api-key-of-the-fake"
SIGNATURE = "c2lnbmVkLWJ5LXRoZS1mYWtl"
REDACTED = "cmVkYWN0ZWQtYnktdGhlLWZha2U="
SKEW_S = 300
MISMATCH = "The request signature we calculated does not match the signature you provided."
_SCOPE = r"(\S+)/(\d{8})/([a-z0-9-]+)/bedrock/aws4_request"
_AUTHORIZATION = re.compile(rf"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders=(\S+), Signature=(\S+)")
_NEWER = re.compile(r"claude-(?:opus|sonnet|haiku|fable|mythos)-(?:4-[7-9]|[5-9])")


def refused_caller(request: Request, path: str) -> tuple[str, str] | None:
    """(exception, message); None for a good signature or API key. `path` as it was sent, percent-encoded."""
    said = request.headers.get("authorization", "")
    if said.startswith("Bearer "):
        return None if said == f"Bearer {API_KEY}" else ("AccessDeniedException", "Authentication failed: check your API Key.")
    found = _AUTHORIZATION.fullmatch(said)
    if found is None:
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    access, day, region, names, signature = found.groups()
    if access != ACCESS_KEY:
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    stamp = request.headers["x-amz-date"]
    sent = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    if abs((datetime.datetime.now(datetime.UTC) - sent).total_seconds()) > SKEW_S or not stamp.startswith(day):
        return "InvalidSignatureException", f"Signature expired: {stamp}"
    needed = {"host", "x-amz-date", *(name for name in request.headers if name.startswith("x-amz-"))}
    if not needed <= set(names.split(";")) or signature != _signature(request, path, region, names.split(";")):
        return "InvalidSignatureException", MISMATCH
    return None


def _signature(request: Request, path: str, region: str, names: list[str]) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    url = f"http://{request.headers['host']}{path}"
    signed = AWSRequest("POST", url, {name: request.headers[name] for name in names}, request.body)
    signed.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(SimpleNamespace(access_key=ACCESS_KEY, secret_key=SECRET_KEY, token=None), "bedrock", region)
    made: str = signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed)
    return made


def path_of(prefix: str, model: str, operation: str) -> str:
    return f"{prefix}/model/{quote(model, safe='')}/{operation}"


def complaints(body: Json, model: str) -> Iterator[str]:
    """What Converse would say; the first is enough for a 400."""
    yield from _shape({**body, "modelId": "any"}, _service().operation_model("Converse").input_shape, "")
    yield from _order(body.get("messages") or [])
    if "toolConfig" not in body and any(_of(turn, "toolUse", "toolResult") for turn in body.get("messages", [])):
        yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    yield from _more(body, model)


def _shape(value: Json, shape: Json, where: str) -> Iterator[str]:
    kind, rules = shape.type_name, shape.metadata
    if kind == "structure" and not getattr(shape, "is_document_type", False):
        yield from _structure(value, shape, where)
    elif kind == "list":
        for number, each in enumerate(value if isinstance(value, list) else ["not a list"]):
            yield from _shape(each, shape.member, f"{where}.{number + 1}.member")
    elif kind in ("string", "blob") and not isinstance(value, str):
        yield f"{where}: Expected a string."
    elif kind in ("integer", "float") and (isinstance(value, bool) or not isinstance(value, int | float)):
        yield f"{where}: Expected a number."
    elif kind == "boolean" and not isinstance(value, bool):
        yield f"{where}: Expected a boolean."
    elif kind == "string" and "enum" in rules and value not in rules["enum"]:
        yield f"Value at '{where}' failed to satisfy constraint: Member must satisfy enum value set: {rules['enum']}"
    elif kind == "string" and "pattern" in rules and not re.fullmatch(rules["pattern"], value):
        yield f"Value at '{where}' failed to satisfy constraint: Member must satisfy regular expression pattern: {rules['pattern']}"
    elif kind in ("integer", "float") and not rules.get("min", value) <= value <= rules.get("max", value):
        yield f"Value at '{where}' failed to satisfy constraint: Member must be between {rules.get('min')} and {rules.get('max')}"
    elif kind in ("string", "blob", "list") and not rules.get("min", 0) <= len(value) <= rules.get("max", len(value)):
        yield f"Value at '{where}' failed to satisfy constraint: Member must have length between {rules.get('min')} and {rules.get('max')}"


def _structure(value: Json, shape: Json, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: Expected an object."
        return
    if missing := [name for name in shape.required_members if name not in value]:
        yield f"Value null at '{where}.{missing[0]}' failed to satisfy constraint: Member must not be null"
    if unknown := [name for name in value if name not in shape.members]:
        yield f"{where}: extraneous key [{unknown[0]}] is not permitted"
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"{where}: exactly one member of the union must be set"
    for name, each in value.items():
        if name in shape.members:
            yield from _shape(each, shape.members[name], f"{where}.{name}".lstrip("."))


def _order(turns: list[Json]) -> Iterator[str]:
    before: Json = {"role": None, "content": []}
    names: set[str] = set()
    if not turns:
        yield "A conversation must contain at least one message."
    for number, turn in enumerate(turns):
        role, blocks = turn["role"], turn["content"]
        if before["role"] is None and role != "user":
            yield "A conversation must start with a user message. Try again with a conversation that starts with a user message."
        if role == before["role"]:
            yield "A conversation must alternate between user and assistant roles."
        if not blocks or any("text" in block and not block["text"].strip() for block in blocks):
            yield f"The text field in the ContentBlock object at messages.{number}.content.0 is blank."
        asked = [block["toolUseId"] for block in _of(before, "toolUse")]
        if sorted(asked) != sorted(block["toolUseId"] for block in _of(turn, "toolResult")) and (asked or _of(turn, "toolResult")):
            yield f"Expected toolResult blocks at messages.{number}.content for the following Ids: {', '.join(asked)}"
        documents = [block["name"] for block in _of(turn, "document")]
        if documents and not _of(turn, "text"):
            yield "The content field contains a document, so it must contain a text block too."
        if role != "user" and (documents or _of(turn, "image")):
            yield "Images and documents are possible in user messages only."
        if names & set(documents) or len(set(documents)) < len(documents):
            yield "Duplicate document names are not allowed."
        names.update(documents)
        yield from _thoughts(_of(turn, "reasoningContent"))
        before = turn


def _thoughts(blocks: list[Json]) -> Iterator[str]:
    for block in blocks:
        signature = block.get("reasoningText", {"signature": SIGNATURE}).get("signature")
        if signature != SIGNATURE or block.get("redactedContent", REDACTED) != REDACTED:
            yield "messages.1.content.0: Invalid `signature` in `thinking` block"


def _more(body: Json, model: str) -> Iterator[str]:
    """What Claude itself says to Converse's fields and its own."""
    config, more = body.get("inferenceConfig", {}), body.get("additionalModelRequestFields", {})
    if "claude" not in model:
        return
    if unknown := more.keys() - {"thinking", "top_k", "output_config", "tool_choice", "anthropic_beta"}:
        yield f"{sorted(unknown)[0]}: Extra inputs are not permitted"
    thinking = more.get("thinking", {})
    newer = _NEWER.search(model) is not None
    if newer and (thinking.get("type") == "enabled" or more.keys() & {"top_k"} or config.keys() & {"temperature", "topP"}):
        yield "`temperature`, `top_p`, `top_k` and `thinking.type.enabled` are not supported for this model."
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    if thinking["type"] == "enabled" and not 1024 <= thinking.get("budget_tokens", 0) < config.get("maxTokens", 1 << 30):
        yield "`max_tokens` must be greater than `thinking.budget_tokens`, which must be at least 1024."
    if config.get("temperature", 1) != 1 or "top_k" in more:
        yield "`temperature` may only be set to 1 when thinking is enabled."
    if body.get("toolConfig", {}).get("toolChoice", {"auto": {}}) != {"auto": {}}:
        yield "Thinking may not be enabled when tool_choice forces tool use."
    turns = body["messages"]
    if thinking["type"] == "enabled" and _of(turns[-1], "toolResult") and "reasoningContent" not in turns[-2]["content"][0]:
        yield "Expected `thinking` or `redacted_thinking`, but found `tool_use`."


def _of(turn: Json, *kinds: str) -> list[Json]:
    return [block[kind] for block in turn["content"] for kind in kinds if kind in block]


@functools.cache
def _service() -> Json:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))

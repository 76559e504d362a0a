"""The body of an embeddings request: OpenAI's, checked field by field; the canonical one always has a list of inputs."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.api import chat_body
from gateway.errors import BadRequest
from policy import parameters, presets
from policy.presets import Preset
from providers import prompt
from providers.content import Content
from providers.provider import ChatRequest

INPUTS_MAX: Final = 2048
TOKEN_MAX: Final = 2**31
DIMENSIONS_MAX: Final = 65_536
VALUES_MAX: Final = 400_000
"""OpenAI takes 300,000 tokens at once, and each may be sent as a number."""
ANYWAY: Final = frozenset({"input", "encoding_format"})
"""No parameters that an endpoint must know: without the first there is no request, the second is kept here."""
ADVICE: Final = "input: write a text, or a list of 1 to 2048 texts; or tokens as a list of whole numbers, or a list of such lists."


class EmbeddingsBody(msgspec.Struct):
    """What is checked. Everything else in the body is the provider's to judge."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=DIMENSIONS_MAX)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    input_type: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    user: str | None = None
    models: Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    provider: dict[str, Any] | None = None
    session_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None


def parse(raw: bytes, known: Mapping[str, Preset]) -> ChatRequest:
    """`known` are the account's presets, of which only model, fallbacks and preferences count. BadRequest names the field."""
    body = chat_body.decode(raw, values_max=VALUES_MAX)
    chat_body.refuse_strangers(body)
    if body.get("messages"):
        raise BadRequest("messages: belongs to POST chat/completions; write the texts in input.", param="messages")
    preset = presets.find(body, known)
    if preset is not None:
        body = presets.apply_preset(body, msgspec.structs.replace(preset, parameters={}))
    inputs = _inputs(body.get("input"))
    fields = chat_body.checked(body, EmbeddingsBody)
    sent = {name: value for name, value in body.items() if name not in chat_body.OURS and name != "messages"}
    return ChatRequest(
        body=Content({**sent, "input": inputs}),
        operation="embeddings",
        model=fields.model,
        stream=False,
        include_usage=False,
        max_tokens=None,
        n=1,
        prompt_tokens_max=len(raw) + prompt.BOUND_PER_MESSAGE * len(inputs),
        capabilities=frozenset({"embeddings"}),
        models=tuple(fields.models or ()),
        parameters=parameters.used(body) - ANYWAY,
        preferences=fields.provider or {},
        session_id=fields.session_id or None,
    )


def _inputs(given: Any) -> list[Any]:
    """One entry per vector: a text, or the list of its tokens, which the model's own provider understands or refuses."""
    if given is None:
        raise BadRequest(f"input: is required. {ADVICE}", param="input")
    inputs = given if isinstance(given, list) and not all(type(each) is int for each in given) else [given]
    if not isinstance(given, str | list) or not given or len(inputs) > INPUTS_MAX:
        raise BadRequest(ADVICE, param="input")
    kind = type(inputs[0])
    for place, each in enumerate(inputs):
        where = f"input[{place}]" if inputs is given else "input"
        if not each:
            raise BadRequest(f"{where}: is empty; leave it out.", param=where)
        if type(each) is not kind or not (kind is str or (kind is list and all(map(_is_token, each)))):
            raise BadRequest(f"{where}: is neither a text nor a list of tokens, or not like the others. {ADVICE}", param=where)
    return inputs


def _is_token(value: object) -> bool:
    return type(value) is int and 0 <= value < TOKEN_MAX

"""The shapes of a Responses request: its input items, the parts of their content, and the fields that are checked."""

from typing import Annotated, Any, Literal

import msgspec

from gateway.api.chat_body import TOKENS_MAX

ITEMS_MAX = 9_999
"""One message more is the instructions; a chat takes 10,000."""
Name = Annotated[str, msgspec.Meta(min_length=1)]


class Part(msgspec.Struct, tag_field="type"):
    cache_control: dict[str, Any] | None = None


class InputText(Part, tag="input_text", kw_only=True):
    text: str


class OutputText(Part, tag="output_text", kw_only=True):
    text: str


class Refusal(Part, tag="refusal", kw_only=True):
    refusal: str


class InputImage(Part, tag="input_image", kw_only=True):
    image_url: str | None = None
    detail: str | None = None


class InputFile(Part, tag="input_file", kw_only=True):
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


class InputAudio(Part, tag="input_audio", kw_only=True):
    input_audio: dict[str, Any]


Content = str | list[InputText | OutputText | Refusal | InputImage | InputFile | InputAudio]


class InputMessage(msgspec.Struct, tag_field="type", tag="message"):
    """The only item that may come without a type."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCall(msgspec.Struct, tag_field="type", tag="function_call"):
    call_id: Name
    name: Name
    arguments: str


class FunctionCallOutput(msgspec.Struct, tag_field="type", tag="function_call_output"):
    call_id: Name
    output: Content


class Reasoning(msgspec.Struct, tag_field="type", tag="reasoning"):
    id: str | None = None
    summary: list[dict[str, Any]] | None = None
    content: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class ItemReference(msgspec.Struct, tag_field="type", tag="item_reference"):
    """Of something stored, which does not exist here."""


Item = InputMessage | FunctionCall | FunctionCallOutput | Reasoning | ItemReference


class TextConfig(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesBody(msgspec.Struct):
    """What is checked. Everything else in the body passes as in a chat request."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = None
    store: bool | None = None
    background: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    n: Literal[1] | None = None

"""The body of a legacy text completion, translated into the chat request that means the same: one user message.

No provider serves the old API for today's models, so what only it could say is refused: several prompts, token arrays, `suffix`, and
log probabilities of the prompt. OpenAI's default of 16 tokens is not applied: who sends no `max_tokens` gets a whole answer, as in a chat.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from gateway.api import chat_body
from gateway.errors import BadRequest
from policy.presets import Preset
from providers.provider import ChatRequest

OWN: Final = ("prompt", "suffix", "echo", "best_of", "logprobs")
"""Fields that a chat request does not have, or has in another meaning."""
OF_CHATS: Final = ("messages", "tools", "functions", "modalities")


class CompletionBody(msgspec.Struct):
    """What is checked here; the fields that a chat has as well are checked as a chat's."""

    prompt: str | list[str]
    suffix: str | None = None
    echo: bool | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=chat_body.TOKENS_MAX)] | None = None


class Completion(msgspec.Struct, frozen=True):
    """The chat request, and the text that every choice begins with: the prompt where `echo` asked for it."""

    request: ChatRequest
    prefix: str


def parse(raw: bytes, presets: Mapping[str, Preset]) -> Completion:
    """BadRequest names the field and says what to send instead."""
    body = chat_body.decode(raw)
    for name in OF_CHATS:
        if body.get(name):
            raise BadRequest(f"{name}: belongs to POST chat/completions; send it there.", param=name)
    text = _prompt(body.get("prompt"))
    fields = chat_body.checked(body, CompletionBody)
    _refuse_inexpressible(fields)
    chat = {name: value for name, value in body.items() if name not in OWN and name not in OF_CHATS}
    chat["messages"] = [{"role": "user", "content": text}]
    if fields.logprobs is not None:
        chat |= {"logprobs": True, "top_logprobs": fields.logprobs or None}
    return Completion(chat_body.canonical(chat, raw, presets), text if fields.echo else "")


def _prompt(prompt: Any) -> str:
    """The one text. BadRequest for none, several, or tokens."""
    if prompt is None:
        raise BadRequest("prompt: is required: write the text to complete.", param="prompt")
    if isinstance(prompt, list):
        if any(isinstance(each, int | list) for each in prompt):
            raise BadRequest("prompt: tokens cannot be passed on, each model has its own; send text.", param="prompt")
        if len(prompt) != 1:
            raise BadRequest("prompt: must be one text; send one request per prompt.", param="prompt")
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequest("prompt: must be a text, or a list with one text.", param="prompt")
    return prompt


def _refuse_inexpressible(fields: CompletionBody) -> None:
    if fields.suffix:
        raise BadRequest("suffix: text to insert before cannot be passed on; leave it out, or say it in the prompt.", param="suffix")
    if fields.best_of not in (None, fields.n or 1):
        message = "best_of: must equal n; that more answers are made than are returned cannot be passed on. Leave it out."
        raise BadRequest(message, param="best_of")
    if fields.echo and fields.logprobs is not None:
        message = "logprobs: those of the prompt are not to be had; leave out echo to get those of the answer."
        raise BadRequest(message, param="logprobs")
    if fields.echo and fields.max_tokens == 0:
        raise BadRequest("max_tokens: must be 1 or more; the prompt alone needs no model.", param="max_tokens")

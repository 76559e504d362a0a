"""POST chat/completions: the canonical request as it is, answered as chat completions."""

from collections.abc import Mapping
from typing import Final

from gateway.api import chat_body
from gateway.api.chat_reply import ChatJson, ChatStream
from gateway.api.inference import Asked, ClientApi
from gateway.streaming import Reply, Writer
from policy.presets import Preset


def parse(raw: bytes, presets: Mapping[str, Preset]) -> Asked:
    """BadRequest names the field."""
    request = chat_body.parse(raw, presets)

    def reply(writer: Writer) -> Reply:
        return ChatStream(writer, include_usage=request.include_usage) if request.stream else ChatJson(writer)

    return Asked(request, reply)


API: Final = ClientApi(route="chat/completions", parse=parse)

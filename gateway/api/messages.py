"""POST messages: Anthropic's Messages API, over the models of any provider."""

from collections.abc import Mapping
from typing import Final

from gateway.api import messages_body
from gateway.api.inference import Asked, ClientApi
from gateway.api.messages_reply import MessagesJson, MessagesStream, error_body
from gateway.streaming import Reply, Writer
from policy.presets import Preset


def parse(raw: bytes, presets: Mapping[str, Preset]) -> Asked:
    """BadRequest names the field."""
    read = messages_body.parse(raw, presets)

    def reply(writer: Writer) -> Reply:
        kind = MessagesStream if read.request.stream else MessagesJson
        return kind(writer, read.stops, read.origins)

    return Asked(read.request, reply)


API: Final = ClientApi(route="messages", parse=parse, refusal=error_body)

"""POST responses: OpenAI's Responses API over the canonical chat request, without anything stored."""

from collections.abc import Mapping
from typing import Final

from gateway.api import responses_body
from gateway.api.inference import Asked, ClientApi
from gateway.api.responses_reply import ResponsesJson, ResponsesStream
from gateway.streaming import Reply, Writer
from policy.presets import Preset


def parse(raw: bytes, presets: Mapping[str, Preset]) -> Asked:
    """BadRequest names the field."""
    request, echo = responses_body.parse(raw, presets)

    def reply(writer: Writer) -> Reply:
        return ResponsesStream(writer, echo) if request.stream else ResponsesJson(writer, echo)

    return Asked(request, reply)


API: Final = ClientApi(route="responses", parse=parse)

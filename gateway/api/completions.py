"""POST completions: legacy text completions, answered by chat models."""

from collections.abc import Mapping
from typing import Final

from gateway.api import completions_body
from gateway.api.completions_reply import CompletionJson, CompletionStream
from gateway.api.inference import Asked, ClientApi
from gateway.streaming import Reply, Writer
from policy.presets import Preset


def parse(raw: bytes, presets: Mapping[str, Preset]) -> Asked:
    """BadRequest names the field."""
    asked = completions_body.parse(raw, presets)
    request = asked.request

    def reply(writer: Writer) -> Reply:
        if request.stream:
            return CompletionStream(writer, asked.prefix, include_usage=request.include_usage)
        return CompletionJson(writer, asked.prefix)

    return Asked(request, reply)


API: Final = ClientApi(route="completions", parse=parse)

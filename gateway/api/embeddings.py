"""POST embeddings: texts in, one vector each out, through the same pipeline as a chat."""

from collections.abc import Mapping
from typing import Final

from gateway.api import embeddings_body
from gateway.api.embeddings_reply import EmbeddingsJson
from gateway.api.inference import Asked, ClientApi
from gateway.streaming import Reply, Writer
from policy.presets import Preset


def parse(raw: bytes, presets: Mapping[str, Preset]) -> Asked:
    """BadRequest names the field."""
    request = embeddings_body.parse(raw, presets)
    base64 = request.body.reveal().get("encoding_format") == "base64"

    def reply(writer: Writer) -> Reply:
        return EmbeddingsJson(writer, base64=base64)

    return Asked(request, reply)


API: Final = ClientApi(route="embeddings", parse=parse)

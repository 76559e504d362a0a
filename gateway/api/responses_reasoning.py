"""Reasoning in the Responses API: a summary to read and, where it was asked for, `encrypted_content` that brings everything back.

The canonical answer carries a provider's own reasoning (texts with signatures, encrypted data) in `reasoning_details`, which must come
back unchanged on the next turn. A reasoning item has one opaque field for that, so the assistant message's own fields are put into it.
"""

import base64
import binascii
from typing import Any, Final

from gateway.api.chat_body import decode
from gateway.api.responses_fields import Reasoning
from gateway.errors import BadRequest
from gateway.streaming import encode

MARK: Final = "tw1."
"""What we gave out begins so; anything else is another server's, and its provider's to read."""
TEXTS: Final = ("reasoning", "reasoning_content")
"""The names under which providers send reasoning as plain text; a provider gets it back under the name that it used."""
_JOINED: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}


def sealed(fields: dict[str, Any]) -> str:
    """`fields` of an assistant message as `encrypted_content`. Nothing in it is secret from the client that it is given to."""
    return MARK + base64.urlsafe_b64encode(encode(fields)).decode()


def fields_of(item: Reasoning, at: str, *, values_max: int) -> tuple[dict[str, Any], int]:
    """The fields of the assistant message that this item was made of, and how many values were unfolded for them.

    What stands in `encrypted_content` says it all, so the summary beside it is not repeated. BadRequest for what claims to be ours and
    is not.
    """
    secret = item.encrypted_content
    if secret and secret.startswith(MARK):
        return _unsealed(secret[len(MARK) :], f"{at}.encrypted_content", values_max)
    if secret:
        theirs = {"type": "reasoning.encrypted", "data": secret, "id": item.id, "format": "openai-responses-v1"}
        return {"reasoning_details": [theirs]}, 0
    return {"reasoning_details": [*_readable("summary", item.summary), *_readable("text", item.content)]}, 0


class Details:
    """`reasoning_details` put together: a text goes on in the next piece of its kind and index until it has been signed.

    What is `whole` stands by itself, unless it is only the signature of what came before.
    """

    def __init__(self) -> None:
        self._all: list[tuple[dict[str, Any], list[str]]] = []

    def add(self, pieces: list[Any], *, whole: bool) -> None:
        for piece in pieces:
            if isinstance(piece, dict):
                self._add(piece, whole=whole)

    def joined(self) -> list[dict[str, Any]]:
        return [{**fields, _JOINED[fields["type"]]: "".join(texts)} if texts else fields for fields, texts in self._all]

    def _add(self, piece: dict[str, Any], *, whole: bool) -> None:
        last, texts = self._all[-1] if self._all else ({}, [])
        kind = piece.get("type")
        name = _JOINED.get(kind) if isinstance(kind, str) else None
        text = piece.get(name) if name else None
        said = [text] if isinstance(text, str) else []
        same = name and kind == last.get("type") and piece.get("index") == last.get("index") and not last.get("signature")
        if same and not (whole and said):
            last.update({field: value for field, value in piece.items() if value is not None and field != name})
            texts += said
        else:
            self._all.append((dict(piece), said))


def text_of(details: list[Any]) -> str:
    """What can be read of them."""
    readable = [each.get(_JOINED.get(str(each.get("type")), "")) for each in details if isinstance(each, dict)]
    return "".join(text for text in readable if isinstance(text, str))


def _readable(kind: str, parts: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    texts = [part.get("text") for part in parts or ()]
    return [{"type": f"reasoning.{kind}", kind: text} for text in texts if isinstance(text, str) and text]


def _unsealed(secret: str, place: str, values_max: int) -> tuple[dict[str, Any], int]:
    try:
        raw = base64.b64decode(secret, altchars=b"-_", validate=True)
        fields = decode(raw, values_max=values_max)
    except (BadRequest, binascii.Error, ValueError):
        raise _foreign(place) from None
    details = fields.get("reasoning_details", [])
    whole = isinstance(details, list) and all(isinstance(each, dict) for each in details)
    if not whole or any(not isinstance(fields.get(name, ""), str) for name in TEXTS) or fields.keys() - {"reasoning_details", *TEXTS}:
        raise _foreign(place)
    return fields, raw.count(b",") + raw.count(b"{") + raw.count(b"[")


def _foreign(place: str) -> BadRequest:
    return BadRequest(f"{place}: is not what this API gave out; send it back unchanged, or leave the item out.", param=place)

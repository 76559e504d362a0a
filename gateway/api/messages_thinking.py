"""Thoughts between Anthropic's blocks and what canonical messages have for them, so that each comes back to its provider as it left it.

Claude's own signatures and redacted data pass as they are. What another provider signed or encrypted has no block of its own there, so
its detail travels whole inside the signature (or the data), under a mark; its text stands beside it for the client to show.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.errors import BadRequest

CLAUDE: Final = "anthropic-claude-v1"
MARK: Final = "tollway."
"""What begins so is ours, anything else Anthropic's."""
TEXTS: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""The kinds of detail that have a text, and the field that holds it."""
PLAIN: Final = ("reasoning", "reasoning_content")
"""Under these names providers send thoughts as plain text; each gets them back under the name that it used."""
DATA: Final = "reasoning.encrypted"

Detail = dict[str, Any]
_KEPT: Final = msgspec.json.Decoder(dict[str, str | int])


def details_of(part: dict[str, Any]) -> Iterator[Detail]:
    """The thoughts of a message or of a piece of one. A plain text is a detail of its own kind, unless the details say the same."""
    found = part.get("reasoning_details")
    details = [detail for detail in found if isinstance(detail, dict)] if isinstance(found, list) else []
    if not any(map(text_of, details)):
        name = next((name for name in PLAIN if isinstance(part.get(name), str) and part[name]), None)
        if name is not None:
            yield {"type": name, "text": part[name]}
    yield from details


def text_of(detail: Detail) -> str:
    text = detail.get(TEXTS.get(str(detail.get("type")), "text"))
    return text if isinstance(text, str) else ""


def signature_of(detail: Detail) -> str:
    """Of a whole thought. Claude's may be "", and is refused there when it comes back; every other one has a signature of ours."""
    if detail.get("format") != CLAUDE or detail.get("type") != "reasoning.text":
        return _packed(detail)
    signature = detail.get("signature")
    return signature if isinstance(signature, str) else ""


def data_of(detail: Detail) -> str:
    data = detail.get("data")
    return data if isinstance(data, str) and detail.get("format") == CLAUDE else _packed(detail)


def take_thought(message: dict[str, Any], thinking: str, signature: str, place: str) -> None:
    """Puts a thinking block into an assistant message. BadRequest for a signature of ours that is damaged."""
    detail: Detail = {"type": "reasoning.text", "text": thinking}
    if signature.startswith(MARK):
        detail = _unpacked(signature, f"{place}.signature")
        if detail["type"] in PLAIN:
            message[detail["type"]] = message.get(detail["type"], "") + thinking
            return
        detail[TEXTS.get(detail["type"], "text")] = thinking
    elif signature:
        detail |= {"signature": signature, "format": CLAUDE, "index": len(message.get("reasoning_details", ()))}
    message.setdefault("reasoning_details", []).append(detail)


def take_data(message: dict[str, Any], data: str, place: str) -> None:
    """Puts a redacted_thinking block into an assistant message. BadRequest for data of ours that are damaged."""
    details = message.setdefault("reasoning_details", [])
    ours = data.startswith(MARK)
    details.append(_unpacked(data, f"{place}.data") if ours else {"type": DATA, "data": data, "format": CLAUDE, "index": len(details)})


def _packed(detail: Detail) -> str:
    """Without its text, which stands beside it."""
    kept = {name: value for name, value in detail.items() if isinstance(value, str | int) and name not in TEXTS.values()}
    return MARK + base64.urlsafe_b64encode(msgspec.json.encode(kept, order="sorted")).decode()


def _unpacked(packed: str, place: str) -> Detail:
    try:
        detail: Detail = _KEPT.decode(base64.b64decode(packed.removeprefix(MARK), b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        detail = {}
    if detail.get("type") not in (*TEXTS, *PLAIN, DATA):
        raise BadRequest(f"{place}: is damaged; send thinking blocks back exactly as they came.", param=place)
    return detail

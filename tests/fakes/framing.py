"""Server-sent events as bytes, in every legal and odd way the fault plan asks for."""

import json
from collections.abc import Callable

from tests.fakes.faults import Json
from tests.fakes.plans import Plan


def framer(plan: Plan, *, named: bool = False) -> Callable[[Json], bytes]:
    """Turns an event's data, JSON or raw text, into its bytes, the blank line included; `named` gives JSON an `event:` line of its type."""
    newline = "\r\n" if plan.has("crlf") else "\r" if plan.has("cr") else "\n"
    prefix = "data:" if plan.has("no-space") else "data: "
    number = 0

    def frame(data: Json) -> bytes:
        nonlocal number
        number += 1
        lines = [prefix + part for part in _data_lines(data, plan)]
        if named and isinstance(data, dict):
            lines = [f"event: {data.get('type')}", *lines]
        if plan.has("comments"):
            noise = [": keep-alive", "", "event: message", f"id: {number}", ": mid-event comment", "retry: 3000"]
            lines = [*noise, *lines, "", ""]
        return (newline.join([*lines, ""]) + newline).encode("utf-8", "replace")

    return frame


def dumps(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _data_lines(data: Json, plan: Plan) -> list[str]:
    """JSON is parted after its first comma, which follows the id: white space means nothing there."""
    if isinstance(data, str):
        return [data]
    text = dumps(data)
    head, comma, tail = text.partition(",")
    return [head + comma, tail] if comma and plan.has("multi-data") else [text]

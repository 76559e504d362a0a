"""An explained route as plain text, for somebody who has never seen the code: what was left out and why, the order, the price."""

from collections.abc import Iterator
from typing import Any, Final

Object = dict[str, Any]
DRAWN: Final = "drawn with weight"


def lines(found: Object) -> Iterator[str]:
    """`found` is what `gateway.explanation` makes. The last lines say what was assumed."""
    first, *rest = found["funnel"]
    count, left = first["endpoint_count"], len(found["endpoints"])
    yield f"{found['model']} has {_endpoints(count)}; {left or 'none'} of them can take this request."
    if rest:
        yield ""
        yield "Left out, step by step:"
    for step in rest:
        yield from _step(step)
    if found["endpoints"]:
        yield ""
        yield "Tried in this order; the next one only if one fails before it has answered, and three at most:"
    for place, endpoint in enumerate(found["endpoints"], 1):
        yield from _endpoint(place, endpoint)
    if any(DRAWN in endpoint["why"] for endpoint in found["endpoints"]):
        yield "The first one was drawn by price: at half the price an endpoint is drawn four times as often. The others follow by price."
    yield ""
    if found["error"] is None:
        yield f"Held until the answer has ended: {found['ceiling_usd']} USD, the most that it can cost. Charged is what it costs."
    else:
        yield f"Such a request is refused with status {found['error']['code']}, and nothing is charged:"
        yield f"  {found['error']['message']}"
    for assumption in found["assumed"]:
        yield f"Assumed: {assumption}."
    yield f"Drawn with {found['draw']!r}: the same --draw shows the same order again."


def _step(step: Object) -> Iterator[str]:
    """Endpoints that went for the same reason stand together."""
    together: dict[str, list[str]] = {}
    for id, reason in step["removed"].items():
        together.setdefault(reason, []).append(id)
    yield f"  {step['step']}: {step['endpoint_count']} left"
    for reason, ids in together.items():
        yield f"    {reason}:"
        yield from (f"      {id}" for id in ids)


def _endpoint(place: int, endpoint: Object) -> Iterator[str]:
    prices = endpoint["usd_per_million_tokens"]
    each = f", and {endpoint['usd_per_request']} USD per request" if endpoint["usd_per_request"] != "0" else ""
    yield f"  {place}. {endpoint['endpoint']}"
    yield f"     {prices['prompt']} USD per million prompt tokens, {prices['completion']} per million completion tokens{each}"
    yield f"     {endpoint['tier']}: {endpoint['why']}"


def _endpoints(count: int) -> str:
    return "1 endpoint" if count == 1 else f"{count} endpoints"

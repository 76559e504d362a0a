"""The control API, beside the provider's own: the ledger, the fault plans, the connections, health."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fakes.faults import Json
from tests.fakes.http1 import Request
from tests.fakes.ledger import Ledger
from tests.fakes.plans import Plans, UnknownFaultError

if TYPE_CHECKING:
    from tests.fakes.provider import Provider


@dataclass(frozen=True)
class Reply:
    status: int
    body: Json


def control(provider: "Provider", request: Request) -> Reply:
    """GET/DELETE ledger, PUT faults/<model>, DELETE faults, GET connections, GET health; all under /control/."""
    area, _, rest = request.path.removeprefix("/control/").partition("/")
    route = f"{request.method} {area}"
    if route == "PUT faults" and rest:
        return _plan(provider.plans, rest, request.body)
    if route == "DELETE faults":
        provider.plans.clear()
    elif route == "GET ledger":
        return Reply(200, provider.ledger.rows(request.query.get("model", [None])[0]))
    elif route == "DELETE ledger":
        provider.ledger.clear()
    elif route == "GET connections":
        return Reply(200, provider.connections())
    elif route == "GET health":
        return _health(provider.ledger)
    else:
        return Reply(404, {"error": f"no such control: {request.method} {request.path}"})
    return Reply(200, {"ok": True})


def _health(ledger: Ledger) -> Reply:
    return Reply(200, {"ok": not ledger.internal_errors, "internal_errors": ledger.internal_errors[-20:]})


def _plan(plans: Plans, model: str, body: bytes) -> Reply:
    try:
        wish = json.loads(body)
        plans.put(model, wish if isinstance(wish, dict) else {"fault": wish})
    except (ValueError, TypeError, RecursionError, UnknownFaultError) as error:
        return Reply(400, {"error": str(error)})
    return Reply(200, {"ok": True})

"""GET subprocessors and /.well-known/gpc.json: who else gets data, and that `Sec-GPC` is honoured. Public, no key needed."""

from datetime import UTC, datetime
from typing import Any, Final

from litestar import get
from litestar.datastructures import State

from gateway.services import Services
from gateway.subprocessors import subprocessors

GPC: Final = {"gpc": True, "lastUpdate": "2026-11-22"}
"""As https://www.w3.org/TR/gpc/ has it."""


@get(["/v1/subprocessors", "/api/v1/subprocessors"], summary="Everybody else who may receive data of this installation, and what changes")
async def list_subprocessors(state: State) -> dict[str, Any]:
    at: Services = state.services
    return subprocessors(at.catalog, at.settings, keys=at.provider_keys.keys(), today=datetime.now(UTC).date())


@get("/.well-known/gpc.json", summary="That requests with `Sec-GPC: 1` are honoured")
async def get_gpc() -> dict[str, Any]:
    return GPC

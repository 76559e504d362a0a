"""The ASGI application: the hot routes raw, everything else Litestar's, one x-request-id on every response.

`create_app` takes nothing, so that any ASGI server can start it; settings come from the environment.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, Final

from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from gateway import cors, openapi
from gateway.api import (
    account,
    chat,
    closing,
    completions,
    embeddings,
    endpoints,
    explain,
    keys,
    ledger,
    logs,
    messages,
    messages_count,
    models,
    own_keys,
    privacy,
    providers,
    responses,
    resume,
    rights,
    rules,
    subprocessors,
    usage,
)
from gateway.api.inference import serve
from gateway.api.metrics import get_metrics
from gateway.asgi import REQUEST_ID, Receive, Scope, send_problem
from gateway.dashboard import routes
from gateway.dashboard.errors import refused
from gateway.errors import Problem, problem
from gateway.ids import Ids
from gateway.metrics import Metrics
from gateway.services import Services
from gateway.settings import Settings
from gateway.streaming import Send
from gateway.telemetry import metrics_of
from gateway.timing import HEADER
from metering.errors import MeteringError

IDS: Final = Ids()
OTHER: Final = "other"
"""The route of a request that matches none: its path is the client's word."""
_log = logging.getLogger("tollway.http")

INFERENCE: Final = (chat.API, completions.API, embeddings.API, messages.API, responses.API)
HOT: Final[dict[str, Callable[[Scope, Receive, Send, Services], Awaitable[None]]]] = {
    f"{prefix}/{api.route}": partial(serve, api) for api in INFERENCE for prefix in ("/v1", "/api/v1")
}


def create_app(settings: Settings | None = None) -> "Tollway":
    """ValueError or CatalogError from here and from the lifespan are for the operator: they say which setting or row is wrong."""
    return Tollway(settings or Settings.load())


class Tollway:
    """Routes by the ASGI scope's path alone, never by a rebuilt URL."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = metrics_of(settings)
        self.litestar = _litestar(settings, self._metrics)

    async def open(self) -> None:
        """Opens the services before a server is there to log a traceback; the lifespan then finds them open, and closes them."""
        self.litestar.state.services = await Services.open(self._settings, self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.litestar(scope, receive, send)  # type: ignore[arg-type]
            return
        send = _with_request_id(send, scope, self._metrics)
        hot = HOT.get(scope["path"])
        if hot is not None and scope["method"] == "POST":
            await hot(scope, receive, send, self.litestar.state.services)
        elif cors.asks(scope):
            await cors.allow(send)
        elif hot is not None:
            await send_problem(send, Problem(405, "Use POST here.", {"error_type": "invalid_request"}), [(b"allow", b"POST")])
        else:
            await self.litestar(scope, receive, send)  # type: ignore[arg-type]


def _with_request_id(send: Send, scope: Scope, metrics: Metrics) -> Send:
    """And which pages may read it, and the time until the response began, where it does not say itself where its time went; counts it."""
    request_id, began = IDS.request(), perf_counter()
    scope[REQUEST_ID] = request_id

    async def with_request_id(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            route = scope["path"] if scope["path"] in HOT else scope.get("path_template", OTHER)
            metrics.answers[route, message["status"]] += 1
            message["headers"] = headers = [
                *message.get("headers", ()),
                *(cors.HEADERS if cors.is_api(scope["path"]) else ()),
                (b"x-request-id", request_id),
                (b"request-id", request_id),
            ]
            if not any(name == HEADER for name, _ in headers):
                headers.append((HEADER, b"total;dur=%.3f" % ((perf_counter() - began) * 1000)))
        await send(message)

    return with_request_id


def _litestar(settings: Settings, metrics: Metrics) -> Litestar:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
        if "services" not in app.state:
            app.state.services = await Services.open(settings, metrics)
        try:
            yield
        finally:
            await app.state.services.close()

    return Litestar(
        route_handlers=[
            live,
            ready,
            *([get_metrics] if settings.metrics == "on" else []),
            routes.router(),
            openapi.document,
            models.list_models,
            models.count_models,
            models.list_user_models,
            models.list_embeddings_models,
            models.get_model,
            models.get_model_data,
            endpoints.list_zdr_endpoints,
            providers.list_providers,
            account.get_key,
            account.get_credits,
            account.get_generation,
            logs.get_content,
            logs.list_logs,
            logs.delete_logs,
            privacy.get_privacy,
            privacy.patch_privacy,
            privacy.get_privacy_history,
            closing.get_standing,
            closing.export_account,
            closing.close_account,
            closing.cancel_closing,
            rights.list_requests,
            rights.open_request,
            rights.get_profile,
            rights.patch_profile,
            subprocessors.list_subprocessors,
            subprocessors.get_gpc,
            messages_count.count_tokens,
            resume.resume_stream,
            ledger.get_proof,
            usage.export_usage,
            usage.get_activity,
            rules.get_routing,
            rules.put_routing,
            rules.patch_routing,
            rules.get_limits,
            rules.put_limits,
            explain.explain_route,
            own_keys.list_own_keys,
            own_keys.add_own_key,
            own_keys.delete_own_key,
            keys.list_keys,
            keys.create_key,
            keys.get_key,
            keys.change_key,
            keys.delete_key,
        ],
        lifespan=[lifespan],
        exception_handlers={HTTPException: _unknown, Exception: _error},
        openapi_config=openapi.CONFIG,
        state=State({"metrics": metrics}),
        logging_config=None,
    )


@get("/health/live", summary="The process runs")
async def live() -> dict[str, str]:
    return {"status": "live"}


@get("/health/ready", summary="The process can serve: its database answers")
async def ready(state: State) -> dict[str, str]:
    at: Services = state.services
    await at.database.ping()
    return {"status": "ready"}


def _unknown(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """A browser that asks for a page which is none gets one that says so; everybody else JSON."""
    if "text/html" in request.headers.get("accept", "") and not cors.is_api(request.scope["path"]):
        return refused(request, error)
    return _http_error(request, error)


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Litestar's own refusals (404, 405, a bad parameter) in the one error shape."""
    details = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    param = details.get("key") if isinstance(details, dict) else None
    message = {404: "There is no such route.", 405: "This route does not take this method."}.get(error.status_code)
    if message is None:
        message = f"{param}: {details.get('message')}" if param else "The request is not valid."
    kind = "not_found" if error.status_code == 404 else "invalid_request"
    return _response(Problem(error.status_code, message, {"error_type": kind}, param, dict(error.headers or {})))


def _error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    found = problem(error)
    if found.status == 500 or isinstance(error, MeteringError):
        name, route = type(error).__name__, request.scope.get("path_template", OTHER)  # the path itself may hold a client's words
        _log.error("%s %s: %s", request.method, route, name, extra={"route": route, "error_class": name})
    return _response(found)


def _response(found: Problem) -> Response[Any]:
    return Response(found.body(), status_code=found.status, headers=found.headers, media_type=MediaType.JSON)

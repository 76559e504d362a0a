"""GET generation/stream: the rest of a stream whose connection broke, from the byte that the client has not seen."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final

from litestar import Request, get
from litestar.datastructures import State
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from gateway.api.account import caller_of
from gateway.errors import BadRequest
from gateway.services import Services
from metering import generations
from policy.errors import Forbidden
from policy.tapes import listen

_OFFSET: Final = "Bytes of the stream that the client has: the answer begins behind them"
Plain = Request[Any, Any, Any]


@get(["/v1/generation/stream", "/api/v1/generation/stream"], summary="A resumable stream again: from `offset` on, then the rest")
async def resume_stream(
    request: Plain,
    state: State,
    id: FromQuery[str] = "",
    offset: Annotated[int, QueryParameter(ge=0, description=_OFFSET)] = 0,
) -> Stream:
    """Costs nothing: the generation is paid once, whoever listens how often."""
    at: Services = state.services
    caller = await caller_of(request, at)
    if caller.kind == "management":
        raise Forbidden("A management key may not read answers: use an inference key or the owner's key.")
    if not id:
        raise BadRequest("id: is required; X-Generation-Id of the stream holds it.", param="id")
    heard = listen(at.tapes, generation_id=id, account_id=caller.account_id, secret=at.settings.secret_key, offset=offset)
    try:
        await anext(heard)
    except StopAsyncIteration:
        await _refuse(id, caller.account_id, at)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no", "x-generation-id": id}
    return Stream(_closing(heard), media_type="text/event-stream; charset=utf-8", headers=headers)


async def _closing(heard: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(heard):
        async for data in heard:
            yield data


async def _refuse(id: str, account_id: str, at: Services) -> None:
    found = await at.database.read(generations.find, id, account_id) if id.isprintable() else None
    if found is None:
        raise BadRequest("There is no such stream in this account.", param="id", status=404, error_type="not_found")
    raise BadRequest(
        "This stream cannot be heard again: its request did not ask for it (X-Tollway-Resumable: on), the account does not allow it "
        "(resumable_streams), or its five minutes are over. GET /v1/generation shows how it ended.",
        param="id",
        status=410,
        error_type="gone",
    )

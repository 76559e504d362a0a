"""What only the account's owner may do: their key in the header and, for each act, once more in the body.

A request that was merely passed on, by a browser or by a proxy, does not have the second one.
"""

from collections.abc import Mapping
from typing import Any

from gateway.api.account import Plain
from gateway.api.rules import object_of
from gateway.asgi import headers_of, token_of
from gateway.errors import BadRequest
from gateway.services import Services
from metering.money import now_ms
from policy.caller import Caller
from policy.errors import Forbidden, Unauthenticated


async def owner_of(request: Plain, at: Services, what: str, *, reading: bool = True) -> Caller:
    """Also of an account that is suspended or closing, if it is only `reading` or leaving. Forbidden for keys that may not `what`."""
    scope: Any = request.scope
    caller = await at.callers.identify(token_of(headers_of(scope)), now_ms(), reading=reading)
    if caller.kind != "owner":
        raise Forbidden(f"Only the owner's key may {what}.")
    return caller


async def again(request: Plain, caller: Caller, at: Services, fields: Mapping[str, type]) -> dict[str, Any]:
    """The fields of the body but the key: each one of `fields`, none needed. BadRequest names one that is wrong, Forbidden another key."""
    given = await object_of(request, at)
    known: dict[str, type] = {"key": str, **fields}
    for name, value in given.items():
        if name not in known:
            raise BadRequest(f"{name[:100]}: is not a known field; use {', '.join(known)}.", param=name[:100])
        if type(value) is not known[name]:
            raise BadRequest(f"{name}: must be a {'boolean' if known[name] is bool else 'string'}.", param=name)
    if "key" not in given:
        raise BadRequest("key: write the owner's key of this account once more.", param="key")
    try:
        named = await at.callers.identify(given.pop("key"), now_ms(), reading=True)
    except Unauthenticated:
        named = None
    if named is None or named.kind != "owner" or named.account_id != caller.account_id:
        raise Forbidden("key: is not the owner's key of this account.")
    return given

"""Sticky routes of this process alone, the ones used last."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from policy.sticky import LIFETIME_MS

ROUTES_MAX: Final = 100_000


class MemorySticky:
    """In the order of their last use, so the front is what has expired or, at `routes_max`, what may be forgotten first."""

    def __init__(self, now_ms: Callable[[], int], routes_max: int = ROUTES_MAX) -> None:
        self._now_ms = now_ms
        self._routes_max = routes_max
        self._routes: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._routes)

    async def find(self, key: str) -> str | None:
        route = self._routes.get(key)
        if route is None:
            return None
        endpoint_id, expires_ms = route
        if expires_ms <= self._now_ms():
            del self._routes[key]
            return None
        await self.keep(key, endpoint_id)
        return endpoint_id

    async def keep(self, key: str, endpoint_id: str) -> None:
        now_ms = self._now_ms()
        self._routes[key] = (endpoint_id, now_ms + LIFETIME_MS)
        self._routes.move_to_end(key)
        while len(self._routes) > self._routes_max or next(iter(self._routes.values()))[1] <= now_ms:
            self._routes.popitem(last=False)

    async def drop(self, key: str) -> None:
        self._routes.pop(key, None)

    async def aclose(self) -> None:
        self._routes.clear()

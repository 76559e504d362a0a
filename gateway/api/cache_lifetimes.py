"""Provider-side caches are written for five minutes: an hour costs more, and there is one price for cache writes."""

from typing import Any


def shorten_caches(body: dict[str, Any]) -> bool:
    """Takes every other lifetime out of `cache_control`, wherever it stands; whether there was one."""
    found, left = False, [value for value in body.values() if isinstance(value, dict | list)]
    while left:
        inside = left.pop()
        if isinstance(inside, dict):
            cache = inside.get("cache_control")
            if isinstance(cache, dict) and cache.pop("ttl", "5m") != "5m":
                found = True
        left += [child for child in (inside.values() if isinstance(inside, dict) else inside) if isinstance(child, dict | list)]
    return found

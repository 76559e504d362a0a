"""Query parameters as clients write them. BadRequest names the one that is wrong and says what it can be."""

from collections.abc import Collection

from gateway.errors import BadRequest


def whole(text: str | None, name: str, *, least: int, most: int) -> int | None:
    """A whole number; None if it is not given."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise BadRequest(f"{name}: write a whole number from {least} to {most}.", param=name)
    return int(text)


def flag(text: str | None, name: str) -> bool:
    """Without it, false."""
    if text not in (None, "true", "false"):
        raise BadRequest(f"{name}: write true or false.", param=name)
    return text == "true"


def one_of(text: str, name: str, allowed: Collection[str]) -> str:
    if text not in allowed:
        raise BadRequest(f"{name}: is not known here; use one of {', '.join(allowed)}.", param=name)
    return text


def several(text: str | None, name: str, known: Collection[str], shown: Collection[str] = ()) -> frozenset[str]:
    """Names with commas between them, in letters of any size; empty if it is not given. The message lists what is `shown`, or known."""
    if text is None:
        return frozenset()
    names = frozenset(part.strip().lower() for part in text.split(","))
    if not names <= set(known):
        raise BadRequest(f"{name}: is not known here; use {', '.join(sorted(shown or known))}, with commas between several.", param=name)
    return names

"""Makes a small JSON value that fits a JSON Schema, for the echo provider's structured answers and tool calls.

Understands type, properties, required, items, prefixItems, minItems, enum, const, anyOf, oneOf, allOf, $ref and the simple bounds of
strings and numbers. It does not solve `pattern` (a client's regular expression is never run), `uniqueItems`, `not` and conditions.
"""

import json
import math
from typing import Any, Final

DEPTH_MAX: Final = 64
"""Steps into the schema: 16 levels of nesting, where each may pass a property, an option, a reference and a merge."""

WORK_MAX: Final = 100_000
"""Keywords looked at and characters made. Depth alone is no bound: ten required properties that each lead back to the root would be
10^16 values, and one long constant in a long array as many characters."""

OPTIONS_MAX: Final = 64
STEP_MIN: Final = 1e-6

FORMATS: Final = {
    "date-time": "2025-01-01T00:00:00Z",
    "date": "2025-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: object, text: str) -> Any:
    """A JSON value that fits `schema`; the first string field it leaves free is `text`, the others are empty.

    Every required property is there, others only if `required` is absent. A schema that never ends gets null at a bound.
    """
    return _Builder(schema, text).value(schema, 0)


class _Builder:
    def __init__(self, root: object, text: str) -> None:
        self.root = root
        self.text: str | None = text
        self.work_left = WORK_MAX
        self.open_refs = ["#"]

    def value(self, schema: object, depth: int) -> Any:
        schema = schema if isinstance(schema, dict) else {}
        self.work_left -= 1 + len(schema)
        if depth > DEPTH_MAX or self.work_left < 0:
            return None
        if "const" in schema:
            return self.literal(schema["const"])
        if _items(schema.get("enum")):
            return self.literal(schema["enum"][0])
        if isinstance(schema.get("$ref"), str):
            return self.referred(schema, depth)
        for combination in ("allOf", "anyOf", "oneOf"):
            if _items(schema.get(combination)):
                return self.combined(schema, combination, depth)
        return self.typed(schema, depth)

    def literal(self, value: object) -> object:
        self.work_left -= len(json.dumps(value))
        return value

    def referred(self, schema: dict[str, Any], depth: int) -> Any:
        ref = schema["$ref"]
        target = _resolve(self.root, ref)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        self.open_refs.append(ref)
        try:
            return self.value({**target, **beside} if isinstance(target, dict) else beside, depth + 1)
        finally:
            self.open_refs.pop()

    def combined(self, schema: dict[str, Any], combination: str, depth: int) -> Any:
        """All options of allOf, else the first one that does not lead back to where we are."""
        options = [option for option in schema[combination][:OPTIONS_MAX] if isinstance(option, dict)]
        if combination != "allOf":
            options = sorted(options, key=self.leads_back)[:1]
        beside = {key: value for key, value in schema.items() if key != combination}
        for option in options:
            added = self.inlined(option) if combination == "allOf" else option
            self.work_left -= len(_properties(added))
            beside = _merged(beside, added)
        return self.value(beside, depth + 1)

    def inlined(self, option: dict[str, Any]) -> dict[str, Any]:
        target = _resolve(self.root, option["$ref"]) if isinstance(option.get("$ref"), str) else None
        return target if isinstance(target, dict) else option

    def leads_back(self, schema: object) -> bool:
        return isinstance(schema, dict) and schema.get("$ref") in self.open_refs

    def typed(self, schema: dict[str, Any], depth: int) -> Any:
        match _type(schema):
            case "object":
                return self.an_object(schema, depth)
            case "array":
                return self.an_array(schema, depth)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case "null":
                return None
        return self.a_string(schema)

    def an_object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, optional = _properties(schema), "required" not in schema
        built: dict[str, Any] = {}
        for name in properties if optional else _items(schema["required"]):
            if self.work_left <= 0:
                break
            self.work_left -= 1 + len(str(name))
            if isinstance(name, str) and name not in built and not (optional and self.leads_back(properties[name])):
                built[name] = self.value(properties.get(name), depth + 1)
        return built

    def an_array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first, rest = _items(schema.get("prefixItems")), schema.get("items")
        built: list[Any] = []
        while len(built) < _whole(schema.get("minItems"), 0) and self.work_left > 0:
            built.append(self.value(first[len(built)] if len(built) < len(first) else rest, depth + 1))
        return built

    def a_string(self, schema: dict[str, Any]) -> str:
        shortest = min(_whole(schema.get("minLength"), 0), max(self.work_left, 0))
        if isinstance(schema.get("format"), str) and schema["format"] in FORMATS:
            return FORMATS[schema["format"]]
        text = self.text
        if text is not None and "pattern" not in schema and shortest <= len(text) <= _whole(schema.get("maxLength"), len(text)):
            self.text = None
            return text
        self.work_left -= shortest
        return "x" * shortest


def _resolve(root: object, ref: str) -> object:
    """The place in `root` that a local reference names (`#`, `#/$defs/node`), None if there is none."""
    place = root
    for step in ref.removeprefix("#").split("/")[1:]:
        if not isinstance(place, dict):
            return None
        place = place.get(step.replace("~1", "/").replace("~0", "~"))
    return place if ref.startswith("#") else None


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    if "properties" in merged:
        merged["properties"] = {**_properties(one), **_properties(other)}
    if "required" in merged:
        merged["required"] = _items(one.get("required")) + _items(other.get("required"))
    return merged


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if _items(kind):
        kind = kind[0] if kind else None
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    """0, or the first obvious candidate within the bounds."""
    low, high = _bound(schema, "minimum"), _bound(schema, "maximum")
    above, below, step = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum"), _bound(schema, "multipleOf")
    step = step if step and step > STEP_MIN else None
    floor = max((bound for bound in (low, above) if bound is not None), default=-math.inf)
    ceiling = min((bound for bound in (high, below) if bound is not None), default=math.inf)
    candidates: list[int | float] = [0, *(bound for bound in (low, high) if bound is not None)]
    if above is not None:
        candidates.append(math.floor(above) + 1)
    if below is not None:
        candidates.append(math.ceil(below) - 1)
    if math.isfinite(floor):
        candidates += [math.ceil(floor), (math.floor(floor / step) + 1) * step if step else floor]
    if math.isfinite(floor) and math.isfinite(ceiling):
        candidates.append((floor + ceiling) / 2)
    for candidate in candidates:
        fits = floor <= candidate <= ceiling and candidate not in (above, below)
        if fits and not (whole and candidate != int(candidate)) and not (step and candidate % step):
            return int(candidate) if whole else candidate
    return 0


def _bound(schema: dict[str, Any], name: str) -> int | float | None:
    value = schema.get(name)
    return value if type(value) in (int, float) and abs(value) < 2**53 else None  # type: ignore[arg-type]


def _whole(value: object, otherwise: int) -> int:
    return value if type(value) is int and value >= 0 else otherwise


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

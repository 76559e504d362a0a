"""Builds the smallest value that fits a JSON schema: the content of a json_schema answer, the arguments of a tool call."""

from tests.fakes.faults import Json

MAX_DEPTH = 12
FULL_DEPTH = 4

_FORMATS = {
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Json, *, full: bool = False) -> Json:
    """`full` adds the optional properties, down to a depth where recursive schemas must end."""
    return _value(schema, schema, full, 0)


def _value(schema: Json, root: Json, full: bool, depth: int) -> Json:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), root, full, depth + 1)
    if "const" in schema:
        return schema["const"]
    for choices in (schema.get("enum"), schema.get("examples")):
        if isinstance(choices, list) and choices:
            return choices[0]
    for union in ("anyOf", "oneOf"):
        if isinstance(schema.get(union), list) and schema[union]:
            return _value(schema[union][0], root, full, depth + 1)
    if isinstance(schema.get("allOf"), list):
        return _value(_merged(schema, root), root, full, depth + 1)
    return _typed(schema, root, full, depth)


def _typed(schema: dict[str, Json], root: Json, full: bool, depth: int) -> Json:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        return _object(schema, root, full, depth)
    if kind == "array":
        return [_value(schema.get("items", {}), root, full, depth + 1) for _ in range(min(_int(schema, "minItems"), 100))]
    if kind in ("integer", "number"):
        return schema.get("minimum", _int(schema, "exclusiveMinimum") + 1)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = _FORMATS.get(str(schema.get("format")), "text")
    return text.ljust(min(_int(schema, "minLength"), 10_000), "x")[: schema.get("maxLength")]


def _object(schema: dict[str, Json], root: Json, full: bool, depth: int) -> dict[str, Json]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required", [])
    wanted = [name for name in properties if name in required or (full and depth < FULL_DEPTH)]
    return {name: _value(properties[name], root, full, depth + 1) for name in wanted}


def _merged(schema: dict[str, Json], root: Json) -> dict[str, Json]:
    parts = [_resolve(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part for part in schema["allOf"]]
    merged: dict[str, Json] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in (part for part in parts if isinstance(part, dict)):
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged = {**merged, **part, "properties": properties, "required": required}
    return merged


def _resolve(reference: Json, root: Json) -> Json:
    found = root
    for step in str(reference).removeprefix("#").split("/")[1:]:
        found = found.get(step, {}) if isinstance(found, dict) else {}
    return found


def _int(schema: dict[str, Json], name: str) -> int:
    value = schema.get(name, 0)
    return value if isinstance(value, int) else 0

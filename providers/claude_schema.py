"""A JSON schema as Anthropic's structured outputs take it: objects closed, and without the bounds that its grammar does not know.

The list is that of Anthropic's guide (platform.claude.com/docs/en/build-with-claude/structured-outputs). OpenAI's strict mode closes
objects too, so such a schema passes as it is.
"""

from typing import Any, Final

_SCHEMAS: Final = ("anyOf", "allOf", "oneOf")
_NAMED: Final = ("properties", "$defs", "definitions")
_BOUNDS: Final = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("maxItems", "uniqueItems", "minProperties", "maxProperties", "patternProperties", "propertyNames"),
    }
)


def closed(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """(the schema to send, whether it says less or more than the client's)."""
    sent = {name: value for name, value in schema.items() if name not in _BOUNDS}
    changed = len(sent) < len(schema)
    if sent.get("minItems", 0) not in (0, 1):
        del sent["minItems"]
        changed = True
    if "oneOf" in sent and "anyOf" not in sent:
        sent["anyOf"] = sent.pop("oneOf")
    for name, value in list(sent.items()):
        sent[name], inner = _inside(name, value)
        changed |= inner
    if (sent.get("type") == "object" or "properties" in sent) and sent.get("additionalProperties") is not False:
        sent["additionalProperties"] = False
        changed = True
    return sent, changed


def _inside(name: str, value: Any) -> tuple[Any, bool]:
    if name == "items" and isinstance(value, dict):
        return closed(value)
    if name in _SCHEMAS and isinstance(value, list):
        pairs = [closed(each) if isinstance(each, dict) else (each, False) for each in value]
        return [schema for schema, _ in pairs], any(changed for _, changed in pairs)
    if name in _NAMED and isinstance(value, dict):
        named = {key: closed(each) if isinstance(each, dict) else (each, False) for key, each in value.items()}
        return {key: schema for key, (schema, _) in named.items()}, any(changed for _, changed in named.values())
    return value, False

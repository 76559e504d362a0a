"""The echo model's structured answers: a small value that fits the schema, within bounds, whatever the schema."""

import json
import time
from typing import Any

import pytest

from providers.echo_schema import FORMATS, instance

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["value", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "hello"),
        (True, "hello"),
        ({"type": "object"}, {}),
        ({"properties": {"a": {}, "b": {"type": "string"}}}, {"a": "hello", "b": ""}),
        ({"properties": {"a": {}, "b": {}}, "required": ["b"]}, {"b": "hello"}),
        ({"type": "object", "required": ["undescribed"]}, {"undescribed": "hello"}),
        ({"enum": ["red", "green"]}, "red"),
        ({"const": {"a": [1]}}, {"a": [1]}),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "integer"}, "minItems": 3}, [None, 0, 0]),
        ({"type": ["string", "null"]}, "hello"),
        ({"type": ["null", "string"]}, None),
        ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}, 3),
        ({"type": "object", "oneOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}]}, {"a": 1}),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
            {"a": 1, "b": "hello"},
        ),
        ({"type": "string", "minLength": 8}, "xxxxxxxx"),
        ({"type": "string", "maxLength": 3}, ""),
        ({"type": "string", "format": "date"}, FORMATS["date"]),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "minimum": 1, "multipleOf": 7}, 7),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "boolean"}}, "$ref": "#/$defs/a"}, False),
        ({"definitions": {"x/y": {"type": "null"}}, "$ref": "#/definitions/x~1y"}, None),
        (NODE, {"value": 0, "next": None}),
        ({"properties": {"name": {"type": "string"}, "parent": {"$ref": "#"}}}, {"name": "hello"}),
        ({"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}, {"children": []}),
    ],
)
def test_a_schema_gets_a_small_value_that_fits(schema: Any, expected: object) -> None:
    assert instance(schema, "hello") == expected


def test_nested_models_are_filled_to_sixteen_levels() -> None:
    levels = {f"level{number}": {"anyOf": [{"$ref": f"#/$defs/level{number + 1}"}, {"type": "null"}]} for number in range(16)}
    schema: dict[str, Any] = {
        "$defs": {name: {"type": "object", "properties": {name: field}, "required": [name]} for name, field in levels.items()}
    }
    schema["$defs"]["level16"] = {"const": "bottom"}
    built = instance({**schema, "$ref": "#/$defs/level0"}, "")
    for number in range(16):
        built = built[f"level{number}"]
    assert built == "bottom"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"properties": {name: {"$ref": "#"} for name in "abcdefghij"}, "required": list("abcdefghij")},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"allOf": [{"$ref": "#"}] * 1_000},
        {"type": "array", "minItems": 10**12, "items": {"const": "x" * 100_000}},
        {"type": "array", "minItems": 10**12, "items": {"type": "array", "minItems": 10**12, "items": {"$ref": "#"}}},
        {"type": "array", "minItems": 10**12, "items": {"properties": {f"p{number}": {"$ref": "#"} for number in range(50_000)}}},
        {"type": "array", "minItems": 10**12, "items": {"type": "string", "minLength": 10**12}},
        {"type": "object", "required": ["y" * 100_000] * 1_000},
    ],
)
def test_a_schema_without_end_is_answered_within_bounds(schema: dict[str, Any]) -> None:
    started = time.monotonic()
    assert len(json.dumps(instance(schema, "hello"))) < 2_000_000
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 3},
        {"type": []},
        {"properties": []},
        {"required": "a"},
        {"required": [1, None]},
        {"enum": []},
        {"enum": 3},
        {"$ref": 3},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/nowhere"},
        {"anyOf": [True]},
        {"anyOf": {}},
        {"type": "string", "pattern": "(a+)+$", "minLength": "3"},
        {"type": "number", "minimum": 1e308, "multipleOf": 1e-320},
        {"type": "integer", "minimum": True, "exclusiveMaximum": -(10**400)},
        {"type": "array", "minItems": "3"},
        "schema",
        None,
        False,
    ],
)
def test_a_schema_that_is_none_still_gets_a_json_value(schema: object) -> None:
    json.dumps(instance(schema, "hello"))

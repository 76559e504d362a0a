"""Named settings of an account (`@preset/name`, `model@preset/name`, or the body field `preset`): looked up and put into a request.

A request's own fields win over the preset's, one by one; of the two `provider` objects neither can widen what the other narrows.
A preset says how to answer, never what about: it holds no prompt, so that storing one stores no content.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from policy import preferences
from policy.errors import InvalidPreferences, InvalidRules, UnknownPreset
from policy.narrowing import as_request
from policy.parameters import BASIC, FURTHER, LIMITS
from policy.preferences import NOTHING, Name, Preferences

MARK: Final = "@preset/"
MODELS_MAX: Final = 16
DEPTH_MAX: Final = 32
PROMPTS: Final = frozenset({"messages", "system", "system_prompt", "prompt", "instructions", "input", "prediction"})
SETTINGS: Final = (LIMITS | BASIC | (FURTHER - PROMPTS - {"web_search_options"})) | {"response_format", "parallel_tool_calls", "stream"}
SAME: Final = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
    "reasoning": "reasoning_effort",
    "reasoning_effort": "reasoning",
}
"""Two names for one thing: a request that uses one of them has said it."""


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`parameters` are fields of the body, of those in `SETTINGS`."""

    model: Name | None = None
    models: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MODELS_MAX)] = ()
    provider: Preferences = NOTHING
    parameters: dict[str, Any] = {}


def find(body: Mapping[str, Any], presets: Mapping[str, Preset]) -> Preset | None:
    """The preset that a body names in `model` or `preset`; None if it names none. UnknownPreset, or InvalidPreferences if it names two."""
    model, field = body.get("model"), body.get("preset")
    named = model.partition(MARK)[2] if isinstance(model, str) and MARK in model else None
    if field is not None:
        if not isinstance(field, str):
            raise InvalidPreferences("preset: write the name of one of the account's presets.")
        field = field.removeprefix(MARK)
        if named is not None and named != field:
            raise InvalidPreferences("preset and model name two different presets; leave one of them out.")
        named = field
    if named is None:
        return None
    if named not in presets:
        raise UnknownPreset("preset", named, close_names(named, presets))
    return presets[named]


def apply_preset(body: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """A new body without the preset's name and with its settings; null counts as not said. InvalidPreferences if no model is left."""
    full = {name: value for name, value in body.items() if name != "preset" and value is not None}
    own, listed = full.get("model", ""), full.get("models", preset.models)
    if isinstance(own, str) and isinstance(listed, list | tuple):  # else the check of the body names what is wrong
        models = [model for model in (own.partition(MARK)[0] or preset.model, *listed) if model]
        if not models:
            raise InvalidPreferences("model: the preset names none; write it in front, as in company/model@preset/name.")
        full["model"] = models[0]
        if len(models) > 1:
            full["models"] = models[1:]
    if preset.provider != NOTHING:
        full["provider"] = as_request(preferences.parse(body.get("provider")), preset.provider)
    said = full.keys()
    return full | {name: value for name, value in preset.parameters.items() if name not in said and SAME.get(name) not in said}


def close_names(name: str, known: Mapping[str, object]) -> list[str]:
    """Those of the account's own names that resemble it, best first."""
    return difflib.get_close_matches(name, known, n=3) if len(name) <= 100 else []


def checked(name: str, raw: object) -> dict[str, Any]:
    """The fields of a preset as `Preset` takes them. InvalidRules for what a preset must not hold."""
    where = f"presets.{name}"
    if not isinstance(raw, dict):
        raise InvalidRules(f"{where}: write an object with model, models, provider or parameters.")
    _refuse_prompts(where, raw)
    preset = {field: value for field, value in raw.items() if value is not None}
    models = preset.get("models")
    for model in (preset.get("model"), *(models if isinstance(models, list) else ())):
        if isinstance(model, str) and MARK in model:
            raise InvalidRules(f"{where}.model: a preset cannot name another preset; name a model or a policy.")
    try:
        preset["provider"] = preferences.parse(raw.get("provider"))
    except InvalidPreferences as error:
        raise InvalidRules(f"{where}.{error.message}") from None
    if isinstance(parameters := preset.get("parameters"), dict):
        _check_parameters(f"{where}.parameters", parameters)
    return preset


def _refuse_prompts(where: str, fields: dict[str, Any]) -> None:
    for name in fields:
        if name in PROMPTS:
            raise InvalidRules(f"{where}.{name}: holds a prompt; a preset holds settings only, send prompts with each request.")


def _check_parameters(where: str, parameters: dict[str, Any]) -> None:
    _refuse_prompts(where, parameters)
    for name in parameters:
        if name not in SETTINGS:
            raise InvalidRules(f"{where}.{name}: cannot stand in a preset; use {', '.join(sorted(SETTINGS))}.")
    level: list[Any] = [parameters]
    for _ in range(DEPTH_MAX):
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each) if isinstance(child, dict | list)]
    if level:
        raise InvalidRules(f"{where}: is nested deeper than {DEPTH_MAX} levels.")

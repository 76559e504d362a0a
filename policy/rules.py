"""What an account's owner has set for all its requests: who may be used, at which price, under which privacy, and named presets.

Pure: how the document is stored and cached is the caller's affair. A request can narrow these rules, never widen them.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from policy import preferences, presets
from policy.errors import InvalidPreferences, InvalidRules
from policy.narrowing import narrowed
from policy.preferences import NOTHING, MaxPrice, Name, Preferences, covers
from policy.presets import MODELS_MAX, Preset

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
MODEL: Final = re.compile(r"[^/*\s]+/([^*\s]+|\*)\Z")
NAMED_MAX: Final = 100

Listed = Annotated[tuple[Name, ...], msgspec.Meta(max_length=1000)]
Weight = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
Kind = TypeVar("Kind", bound=msgspec.Struct)
Source = tuple[str, Preferences]


class ModelPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Models under one name: "weighted" draws the first by weight, "fallback" tries them as listed."""

    kind: Literal["weighted", "fallback"]
    models: Annotated[tuple[tuple[Name, Weight], ...], msgspec.Meta(min_length=1, max_length=MODELS_MAX)]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Models as exact ids or `company/*`, providers as slugs or endpoint ids. None = nothing set.

    `provider` are preferences for requests that say nothing themselves. `resumable_streams`: a stream whose request asks for it goes on
    without its client, and what it says is kept, encrypted, for five minutes (see `tapes`).
    """

    allowed_models: Listed | None = None
    ignored_models: Listed | None = None
    allowed_providers: Listed | None = None
    ignored_providers: Listed | None = None
    max_price: MaxPrice | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    region: tuple[Name, ...] | None = None
    provider: Preferences = NOTHING
    presets: dict[str, Preset] = {}
    policies: dict[str, ModelPolicy] = {}
    resumable_streams: bool | None = None

    @property
    def preferences(self) -> Preferences:
        """All that binds a request, as far as preferences can say it; here the account's rules alone (`key_policy` adds to them)."""
        return self.account

    @cached_property
    def account(self) -> Preferences:
        """The rules as far as preferences can say them."""
        rules = Preferences(
            only=self.allowed_providers, ignore=self.ignored_providers, max_price=self.max_price,
            data_collection=self.data_collection, zdr=self.zdr, region=self.region,
        )  # fmt: skip
        return narrowed(self.provider, NOTHING if rules == NOTHING else rules)

    def sources(self, own: Preferences) -> tuple[Source, ...]:
        """Everything that narrows a request which itself says `own`, and whose each is; the request's is without a name."""
        return (("", own), ("the account's rules", self.account))

    def refuses(self, model: str) -> str | None:
        """The rule that rules this model out, in words; None if it may be used."""
        if self.allowed_models is not None and not _matches(model, self.allowed_models):
            return f"the account's rules (allowed_models) do not allow the model {model}"
        if self.ignored_models is not None and _matches(model, self.ignored_models):
            return f"the account's rules (ignored_models) rule out the model {model}"
        return None


NO: Final = Rules()


def effective(asked: Preferences, rules: Rules) -> Preferences:
    """What holds for a request: its own preferences, narrowed by the account's rules, with the account's defaults where it says nothing."""
    return narrowed(asked, rules.preferences)


def parse(raw: object) -> Rules:
    """A decoded JSON object -> Rules. InvalidRules names the field; null and an empty list count as absent."""
    if not isinstance(raw, dict):
        raise InvalidRules("rules: write an object.")
    given = {name: value for name, value in raw.items() if value is not None and value != []}
    document = {**given, **_as_preferences(given)}
    document["provider"] = _provider(given.get("provider"), "provider")
    document["presets"] = {name: _preset(name, raw) for name, raw in _named(given, "presets")}
    document["policies"] = {name: _policy(name, raw) for name, raw in _named(given, "policies")}
    rules = _converted(document, Rules, "")
    _check(rules)
    return rules


def _as_preferences(given: Mapping[str, Any]) -> dict[str, Any]:
    """The rules that are preferences too, checked and normalised as such."""
    own = {name: given[name] for name in ("max_price", "data_collection", "zdr", "region") if name in given}
    wanted = _provider(own, "")
    return {name: getattr(wanted, name) for name in own}


def _provider(raw: object, where: str) -> Preferences:
    try:
        return preferences.parse(raw)
    except InvalidPreferences as error:
        message = error.message.removeprefix("provider").removeprefix("." if not where else "")
        raise InvalidRules(f"{where}{message}") from None


def _named(given: Mapping[str, Any], field: str) -> list[tuple[str, Any]]:
    table = given.get(field, {})
    if not isinstance(table, dict) or len(table) > NAMED_MAX:
        raise InvalidRules(f"{field}: write an object with at most {NAMED_MAX} names.")
    for name in table:
        if not isinstance(name, str) or not NAME.match(name):
            raise InvalidRules(f"{field}: a name has up to 64 letters, digits, '.', '_' and '-', and begins with a letter or digit.")
    return list(table.items())


def _preset(name: str, raw: object) -> Preset:
    return _converted(presets.checked(name, raw), Preset, f"presets.{name}.")


def _policy(name: str, raw: object) -> ModelPolicy:
    """A model alone stands for a model with weight 1."""
    if not isinstance(raw, dict):
        raise InvalidRules(f'policies.{name}: write {{"kind": "weighted" or "fallback", "models": [["company/model", 1]]}}.')
    listed = raw.get("models")
    models = [(model, 1) if isinstance(model, str) else model for model in (listed if isinstance(listed, list) else ())]
    for model in models:
        if isinstance(model, tuple | list) and model and isinstance(model[0], str) and model[0].startswith(("policy/", "@preset/")):
            raise InvalidRules(f"policies.{name}.models: a policy names models, not other policies or presets.")
    return _converted({**raw, "models": models}, ModelPolicy, f"policies.{name}.")


def _check(rules: Rules) -> None:
    for kind, ruled_out in (("models", _matches_one), ("providers", covers)):
        for name in getattr(rules, f"allowed_{kind}") or ():
            if any(ruled_out(ignored, name) for ignored in getattr(rules, f"ignored_{kind}") or ()):
                raise InvalidRules(f"allowed_{kind} and ignored_{kind} both name {name[:100]!r}; take it out of one of the two.")
    for field in ("allowed_models", "ignored_models"):
        for pattern in getattr(rules, field) or ():
            if not MODEL.match(pattern):
                raise InvalidRules(f"{field}: {pattern[:100]!r} is no model; write company/model, or company/* for all of a company's.")


def _matches_one(pattern: str, model: str) -> bool:
    return _matches(model, (pattern,))


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return model in patterns or f"{model.partition('/')[0]}/*" in patterns


def _converted(document: dict[str, Any], kind: type[Kind], where: str) -> Kind:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidRules(_explain(str(error), kind, where)) from None


def _explain(problem: str, kind: type[msgspec.Struct], where: str) -> str:
    """msgspec's 'Expected `array`, got `str` - at `$.models`' as 'presets.fast.models: expected array, got str.'"""
    what, _, place = problem.partition(" - at `$")
    path = where + place.rstrip("`").lstrip(".")
    what = what.replace("`", "")
    if unknown := re.search(r"unknown field (.*)", what, re.DOTALL):
        return f"{path}{unknown[1]}: is not a known field; use {', '.join(kind.__struct_fields__)}."
    return f"{path.rstrip('.') or 'rules'}: {what[:1].lower()}{what[1:]}."

"""What a price list would change in a catalog: compares its offers with the endpoints, and makes the rows that take the changes over.

An endpoint is the list's where provider and upstream model agree. Its row keeps what a list does not say (capabilities, data policy,
priority), and a rate that the list does not name stays.
"""

import datetime
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from metering.price import Price
from providers.catalog import Catalog, per_million
from providers.catalog_rows import EndpointRow, Sourced
from providers.price_list_openrouter import SLUG as OPENROUTER
from providers.price_offer import Offer, Skipped
from providers.provider import Endpoint

Row = dict[str, Any]
Kind = Literal["new", "changed", "same", "gone"]
RESELLERS: Final[dict[str, Row]] = {
    OPENROUTER: {
        "slug": OPENROUTER,
        "name": "OpenRouter",
        "dialect": "openai",
        "base_url": "https://openrouter.ai/api/v1",
        "api_key_env": "OPENROUTER_API_KEY",
    }
}
"""Providers that a list is about, and which a catalog need not have."""
PICO_EACH: Final = 10**12


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """`words` say what changes, each a few words; `rows` are the catalog rows that say it, by table."""

    kind: Kind
    endpoint: str
    words: tuple[str, ...] = ()
    rows: tuple[tuple[str, Row], ...] = ()


class Origin(msgspec.Struct, frozen=True):
    """What the rows name as their source, and the day on which it was read."""

    source: str
    date: datetime.date


def compare(catalog: Catalog, offers: Iterable[Offer], origin: Origin, *, only: frozenset[str]) -> tuple[list[Change], list[Skipped]]:
    """Every offer of the providers `only` (empty: of all that the catalog has) as a change, and the offers that cannot be one.

    An offer whose upstream model is not there, but its model is, is that model's under another name.
    """
    there = {(each.provider.slug, each.upstream_model): each for each in catalog.every_endpoint()}
    changes, skipped, others, listed = [], [], [], set()
    for offer in offers:
        if offer.provider not in catalog.providers and offer.provider not in RESELLERS:
            reason = f"the catalog has no provider {offer.provider!r}; add a [[provider]] for it"
            skipped.append(Skipped(offer.name, offer.provider, reason, elsewhere=True))
        elif not only or offer.provider in only:
            listed.add(offer.provider)
            endpoint = there.pop((offer.provider, offer.upstream_model), None)
            if endpoint is None:
                others.append(offer)
            else:
                changes.append(_changed(endpoint, offer, catalog, origin))
    left = {each.id: each for each in there.values()}
    models = _models(others)
    taken = {change.endpoint for change in changes}
    for offer in others:
        id = f"{offer.provider}/{offer.model}"
        endpoint = left.pop(id, None)
        if endpoint is None and (id in taken or offer.context_length is None):
            reason = f"the catalog has {id} under another name" if id in taken else "it has no context length"
            skipped.append(Skipped(offer.name, offer.provider, reason, elsewhere=id in taken))
            continue
        taken.add(id)
        changes.append(_new(id, offer, models, catalog, origin) if endpoint is None else _changed(endpoint, offer, catalog, origin))
    return [*changes, *(Change(kind="gone", endpoint=id) for id, each in left.items() if each.provider.slug in listed)], skipped


def _changed(endpoint: Endpoint, offer: Offer, catalog: Catalog, origin: Origin) -> Change:
    sourced: Sourced = catalog.rows["endpoint", endpoint.id]
    assert isinstance(sourced.row, EndpointRow)
    before = _rates(endpoint.price)
    words = [f"{unit} {_step(before.get(unit), after)}" for unit, after in offer.rates.items() if _differs(before.get(unit), after)]
    row: Row = {"model": endpoint.model.id, "provider": endpoint.provider.slug, **_kept(sourced.row)}
    row |= {"upstream_model": endpoint.upstream_model, "context_length": endpoint.context_length}
    if offer.context_length is not None and offer.context_length != endpoint.context_length:
        words.append(f"context_length {_step(str(endpoint.context_length), str(offer.context_length))}")
        row["context_length"] = offer.context_length
    most = _output(offer.max_output_tokens or endpoint.max_output_tokens, row["context_length"])
    if most != endpoint.max_output_tokens:
        words.append(f"max_output_tokens {_step(_text(endpoint.max_output_tokens), _text(most))}")
    if most is not None:
        row["max_output_tokens"] = most
    row |= {"price": {**before, **offer.rates}, "source": origin.source, "date": origin.date}
    if not words:
        return Change(kind="same", endpoint=endpoint.id)
    return Change(kind="changed", endpoint=endpoint.id, words=tuple(words), rows=(("endpoint", row),))


def _new(id: str, offer: Offer, models: dict[str, Row], catalog: Catalog, origin: Origin) -> Change:
    said = {"source": origin.source, "date": origin.date}
    rows: list[tuple[str, Row]] = []
    if offer.provider not in catalog.providers:
        rows.append(("provider", {**RESELLERS[offer.provider], **said}))
    capabilities = list(offer.capabilities)
    known = catalog.models.get(offer.model)
    if known is None:
        rows.append(("model", {**models[offer.model], **said}))
    elif "image" not in known.input_modalities:
        capabilities = [each for each in capabilities if each != "images"]
    row: Row = {"model": offer.model, "provider": offer.provider, "upstream_model": offer.upstream_model}
    row["context_length"] = offer.context_length
    most = _output(offer.max_output_tokens, row["context_length"])
    if most is not None:
        row["max_output_tokens"] = most
    rows.append(("endpoint", {**row, "capabilities": capabilities, "price": offer.rates, **said}))
    words = [f"{unit} {rate}" for unit, rate in offer.rates.items()]
    return Change(kind="new", endpoint=id, words=(*words, f"context_length {offer.context_length}"), rows=tuple(rows))


def _models(offers: Iterable[Offer]) -> dict[str, Row]:
    """A model of several providers takes what any of them takes, and holds what the largest holds."""
    rows: dict[str, Row] = {}
    for offer in offers:
        row = rows.setdefault(
            offer.model, {"id": offer.model, "name": offer.title or offer.model, "context_length": 0, "tokenizer": "estimate"}
        )
        row["context_length"] = max(row["context_length"], offer.context_length or 0)
        if "image" in offer.input_modalities:
            row["input_modalities"] = list(offer.input_modalities)
        if offer.output_modalities != ("text",):
            row["output_modalities"] = list(offer.output_modalities)
        if offer.deprecated is not None:
            row["deprecated"] = max(row.get("deprecated", offer.deprecated), offer.deprecated)
    return rows


def _kept(row: EndpointRow) -> Row:
    """What a list says nothing about, as it stands."""
    kept: Row = {}
    if row.priority:
        kept["priority"] = row.priority
    for field in ("capabilities", "parameters", "region"):
        names = getattr(row, field)
        if names is not None:
            kept[field] = list(names)
    if row.quantization is not None:
        kept["quantization"] = row.quantization
    if row.data_policy is not None:
        policy = {"trains": row.data_policy.trains, "retention_days": row.data_policy.retention_days}
        kept["data_policy"] = {field: value for field, value in policy.items() if value is not None}
    return kept


def _rates(price: Price) -> dict[str, str]:
    """The rates of a price as a row writes them."""
    units = [unit for unit in Price.__struct_fields__ if unit not in ("request", "share_bps")]
    found = {unit: text for unit in units if (text := per_million(getattr(price, unit))) is not None}
    return {**found, "request": f"{(Decimal(price.request) / PICO_EACH).normalize():f}"} if price.request else found


def _output(most: int | None, context: int) -> int | None:
    """A limit that is the context says nothing."""
    return None if most is None or most >= context else most


def _differs(before: str | None, after: str) -> bool:
    return before is None or Decimal(before) != Decimal(after)


def _step(before: str | None, after: str) -> str:
    """`2.5 -> 2 (-20%)`."""
    if before is None or before == "-" or after == "-":
        return f"{before or '-'} -> {after}"
    old, new = Decimal(before), Decimal(after)
    if not old:
        return f"{before} -> {after}"
    percent = ((new - old) / old * 100).quantize(Decimal("0.1")).normalize()
    return f"{before} -> {after} ({percent:+f}%)" if percent else f"{before} -> {after}"


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)

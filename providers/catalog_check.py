"""What is impossible or suspicious in a catalog that loads, one line each, for `tollway catalog check`."""

import datetime
import difflib
from collections.abc import Iterator
from typing import Final

from metering.price import Price, unpriced
from providers.catalog import Catalog, per_million
from providers.catalog_rows import EndpointRow, Sourced
from providers.provider import Endpoint, Model

DEAREST: Final = 1000 * 10**6
"""1,000 USD per million tokens in pico-USD per token: above any price seen so far, so a slip of the decimal point."""
DEAREST_WRITE: Final = 10
"""Times the prompt's rate: the dearest cache seen so far costs twice as much to write."""
LIKENESS: Final = 0.8


def check(catalog: Catalog, today: datetime.date) -> list[str]:
    """An empty list is a clean catalog."""
    findings = [f"{sourced}: {finding}" for sourced in catalog.rows.values() for finding in _row(sourced, today)]
    served = {endpoint.model.id for endpoint in catalog.every_endpoint()}
    for model in catalog.models.values():
        sourced = catalog.rows["model", model.id]
        findings += [f"{sourced}: {finding}" for finding in _model(model, sourced, catalog)]
        if model.id not in served:
            findings.append(f"{sourced}: no endpoint serves this model; add an [[endpoint]] or remove the model")
    names: dict[tuple[str, str], str] = {}
    for endpoint in catalog.every_endpoint():
        sourced = catalog.rows["endpoint", endpoint.id]
        findings += [f"{sourced}: {finding}" for finding in (*_price(endpoint.price), *_endpoint(endpoint, sourced))]
        first = names.setdefault((endpoint.provider.slug, endpoint.upstream_model), endpoint.id)
        if first != endpoint.id:
            findings.append(f"{sourced}: upstream_model: {endpoint.upstream_model!r} is what {first} asks for too; correct one of the two")
    return findings


def _row(sourced: Sourced, today: datetime.date) -> Iterator[str]:
    # A company's name is no claim about the market: it needs no source.
    if sourced.built_in and sourced.key[0] != "company":
        for field in ("source", "date"):
            if not getattr(sourced.row, field):
                yield f"{field}: is missing in a built-in row; add it"
    if sourced.row.date and sourced.row.date > today:
        yield f"date: {sourced.row.date} is in the future; write the day on which the source was read"


def _model(model: Model, sourced: Sourced, catalog: Catalog) -> Iterator[str]:
    if model.context_length <= 0:
        yield f"context_length: {model.context_length} tokens hold no prompt; correct it"
    if ("company", model.company) not in catalog.rows:
        known = [slug for table, slug in catalog.rows if table == "company"]
        close = difflib.get_close_matches(model.company, known, n=1, cutoff=LIKENESS)
        if close or sourced.built_in:
            hint = f"; did you mean {close[0]!r}?" if close else ""
            yield f"company: there is no [[company]] {model.company!r}; add it{hint}"
    yield from _retirement(model, catalog)


def _retirement(model: Model, catalog: Catalog) -> Iterator[str]:
    if model.successor is None:
        return
    successor = catalog.models.get(model.successor)
    if model.deprecated is None:
        yield "successor: the model has no end that it could follow; add deprecated, its last day, or remove it"
    elif successor is None:
        yield f"successor: there is no model {model.successor!r}; add it or name another"
    elif successor.retired(model.deprecated + datetime.timedelta(days=1)):
        yield f"successor: {model.successor} is not offered any more when this model ends; name another"


def _price(price: Price) -> Iterator[str]:
    if missing := unpriced(price, frozenset()):
        yield f"price: no rate for {' and '.join(missing)}, so it is not offered; add it"
    for unit in ("prompt", "completion"):
        rate = price.rate(unit)
        if rate is not None and rate > DEAREST:
            yield f"price.{unit}: {per_million(rate)} USD per million tokens is above 1000; check the decimal point"
    if price.prompt is not None:
        if price.cached_prompt is not None and price.cached_prompt > price.prompt:
            yield "price.cached_prompt: a cached token costs more than a fresh one; check both"
        if price.cache_write is not None and price.cache_write > DEAREST_WRITE * price.prompt:
            yield f"price.cache_write: it is more than {DEAREST_WRITE} times the price of the prompt; check the decimal point"
    if price.prompt == 0 and price.completion == 0 and not price.request:
        yield "price: prompt and completion are 0, so it is free; is that meant?"


def _endpoint(endpoint: Endpoint, sourced: Sourced) -> Iterator[str]:
    model = endpoint.model
    if endpoint.context_length <= 0 and endpoint.context_length != model.context_length:
        yield f"context_length: {endpoint.context_length} tokens hold no prompt; correct it"
    if not isinstance(sourced.row, EndpointRow) or sourced.row.capabilities is None:
        return
    if "images" in endpoint.capabilities and "image" not in model.input_modalities:
        yield f"capabilities: it takes images, but the input_modalities of {model.id} have no image; correct one of the two"
    only = endpoint.capabilities == {"embeddings"}
    if only and endpoint.price.completion:
        yield 'price.completion: embeddings have no answer that could be priced; write "0"'
    if only != (model.output_modalities == ("embeddings",)):
        what = "nothing but embeddings" if only else "more than embeddings"
        yield f"capabilities: it gives {what}, but the output_modalities of {model.id} say otherwise; correct one of the two"

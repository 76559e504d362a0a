"""The catalog: who made which model, who serves it, and at what price; data rows in, one immutable `Catalog` out.

Rows come from the files in `catalog/` and from one file of the operator's, which is read last. A row of the operator's replaces the
built-in row of the same table and id (an endpoint's id is its provider and its model) and nothing else: the endpoints of a
replaced model or provider stay and use the new row.
"""

import datetime
import difflib
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final, TypeVar, get_args

import msgspec

from metering.price import Price, unpriced
from providers.catalog_rows import (
    CAPABILITIES,
    CatalogError,
    CompanyRow,
    DataPolicyRow,
    DialectName,
    EndpointRow,
    ModelRow,
    ProviderRow,
    Sourced,
    check_base_url,
    price_of,
    read,
)
from providers.provider import Company, DataPolicy, Endpoint, Model, Provider

__all__ = ["DIALECTS", "Catalog", "CatalogError", "bare_names", "load", "per_million", "show"]

DIALECTS: Final = frozenset(get_args(DialectName))

BUILT_IN: Final = Path(__file__).parent / "catalog"

Rows = dict[tuple[str, str], Sourced]
Named = TypeVar("Named", Model, Provider)


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot, each table by id. `rows` says where each row is from.

    `endpoints` has an entry, perhaps empty, for every model, in file order; whether their price and key will do is the route's to judge.
    `bare` is of `bare_names`.
    """

    companies: dict[str, Company]
    models: dict[str, Model]
    providers: dict[str, Provider]
    endpoints: dict[str, tuple[Endpoint, ...]]
    bare: dict[str, str] = {}
    rows: Rows = {}

    def id_of(self, name: str) -> str | None:
        """The id of the one model that goes by this name, with its company or without; None if there is none, or more than one."""
        return name if name in self.models else self.bare.get(name)

    def close_names(self, model_id: str, n: int = 3) -> list[str]:
        """Ids of offered models that look like `model_id`, best first, for the message about an unknown one."""
        if len(model_id) > 100:  # difflib is quadratic and the name is the client's
            return []
        offered = [known for known, endpoints in self.endpoints.items() if endpoints]
        names = {known.partition("/")[2].lower(): known for known in offered} | {known.lower(): known for known in offered}
        matches = difflib.get_close_matches(model_id.lower(), names, n=2 * n)
        return list(dict.fromkeys(names[match] for match in matches))[:n]

    def prices(self) -> dict[str, Price]:
        """Every price by its id, for the table of price versions."""
        return {endpoint.price_id: endpoint.price for endpoint in self.every_endpoint()}

    def every_endpoint(self) -> list[Endpoint]:
        return [endpoint for endpoints in self.endpoints.values() for endpoint in endpoints]


def load(path: str | None) -> Catalog:
    """The built-in catalog plus the operator's file at `path`, if there is one. CatalogError if a file cannot be used."""
    built_in = _rows_of(BUILT_IN)
    own = _unique(read(Path(path), name=path, built_in=False)) if path else {}
    rows = built_in | own
    models = {row.id: _model(row) for sourced in rows.values() if isinstance(row := sourced.row, ModelRow)}
    providers = {row.slug: _provider(sourced, row) for sourced in rows.values() if isinstance(row := sourced.row, ProviderRow)}
    companies = {model.company: Company(slug=model.company, name=model.company) for model in models.values()}
    companies |= {
        row.slug: Company(slug=row.slug, name=row.name) for sourced in rows.values() if isinstance(row := sourced.row, CompanyRow)
    }
    endpoints = [
        _endpoint(sourced, row, models=models, providers=providers, rows=rows)
        for sourced in rows.values()
        if isinstance(row := sourced.row, EndpointRow)
    ]
    return Catalog(
        companies=companies,
        models=models,
        providers=providers,
        endpoints={id: tuple(e for e in endpoints if e.model.id == id) for id in models},
        bare=bare_names(models, endpoints),
        rows=rows,
    )


def bare_names(models: Iterable[str], endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """Names without a company -> the id of the only model that each can mean, because many clients know models by no other name.

    That is the part of an id after the slash; a name that is no such part may be what providers call the model.
    """
    ours: defaultdict[str, set[str]] = defaultdict(set)
    theirs: defaultdict[str, set[str]] = defaultdict(set)
    for id in models:
        ours[id.partition("/")[2]].add(id)
    for endpoint in endpoints:
        theirs[endpoint.upstream_model].add(endpoint.model.id)
    return {name: next(iter(ids)) for name, ids in (theirs | ours).items() if len(ids) == 1 and "/" not in name}


def show(catalog: Catalog) -> list[dict[str, str | int | None]]:
    """One row for each endpoint, as `tollway catalog show` prints it; prices in USD per million tokens."""
    return [
        {
            "model": endpoint.model.id,
            "provider": endpoint.provider.slug,
            "upstream_model": endpoint.upstream_model,
            "dialect": endpoint.provider.dialect,
            "api_key_env": endpoint.provider.api_key_env,
            "context_length": endpoint.context_length,
            "max_output_tokens": endpoint.max_output_tokens,
            "prompt": per_million(endpoint.price.prompt),
            "completion": per_million(endpoint.price.completion),
            "cached_prompt": per_million(endpoint.price.rate("cached_prompt")),
            "state": _state(endpoint),
        }
        for endpoint in catalog.every_endpoint()
    ]


@cache
def _rows_of(folder: Path) -> Rows:
    """The built-in rows, read once: they are part of the program."""
    return _unique(row for file in sorted(folder.glob("*.toml")) for row in read(file, name=f"catalog/{file.name}", built_in=True))


def _unique(rows: Iterable[Sourced]) -> Rows:
    unique: Rows = {}
    for sourced in rows:
        if earlier := unique.get(sourced.key):
            raise CatalogError(f"{sourced}: stands twice (first in {earlier.file}); keep one of the two")
        unique[sourced.key] = sourced
    return unique


def _model(row: ModelRow) -> Model:
    midnight = datetime.time(tzinfo=datetime.UTC)
    return Model(
        id=row.id,
        name=row.name or row.id,
        company=row.company or row.id.partition("/")[0],
        context_length=row.context_length,
        created=row.created if isinstance(row.created, int) else int(datetime.datetime.combine(row.created, midnight).timestamp()),
        description=row.description,
        tokenizer=row.tokenizer,
        input_modalities=row.input_modalities,
        output_modalities=row.output_modalities,
        deprecated=row.deprecated,
        successor=row.successor,
    )


def _policy(row: DataPolicyRow) -> DataPolicy:
    return DataPolicy(trains=row.trains, retention_days=row.retention_days)


def _provider(sourced: Sourced, row: ProviderRow) -> Provider:
    check_base_url(sourced, row)
    return Provider(
        slug=row.slug,
        name=row.name or row.slug,
        dialect=row.dialect,
        base_url=row.base_url.rstrip("/"),
        api_key_env=row.api_key_env,
        max_tokens_field=row.max_tokens_field,
        key_header=row.key_header or "",
        query=row.query or "",
        data_policy=_policy(row.data_policy),
        region=frozenset(row.region or ()),
        privacy_policy_url=row.privacy_policy_url,
        terms_of_service_url=row.terms_of_service_url,
        status_page_url=row.status_page_url,
        headquarters=row.headquarters or "",
        datacenters=row.datacenters,
    )


def _endpoint(sourced: Sourced, row: EndpointRow, *, models: dict[str, Model], providers: dict[str, Provider], rows: Rows) -> Endpoint:
    model = _named(row.model, models, sourced=sourced, field="model")
    provider = _named(row.provider, providers, sourced=sourced, field="provider")
    context_length = model.context_length if row.context_length is None else row.context_length
    max_output_tokens = row.max_output_tokens
    if max_output_tokens is not None and max_output_tokens > context_length:
        if not sourced.built_in or rows["model", model.id].built_in:
            sourced.refuse("max_output_tokens", f"{max_output_tokens} is above the context_length {context_length}; lower it")
        max_output_tokens = context_length  # the operator made the model smaller than the built-in endpoint knew it
    price = price_of(sourced, row)
    return Endpoint(
        id=sourced.key[1],
        model=model,
        provider=provider,
        upstream_model=row.upstream_model or model.id.partition("/")[2],
        price=price,
        price_id=price.id,
        context_length=context_length,
        max_output_tokens=max_output_tokens,
        priority=row.priority,
        quantization=row.quantization,
        capabilities=frozenset(CAPABILITIES if row.capabilities is None else row.capabilities),
        parameters=None if row.parameters is None else frozenset(row.parameters),
        region=frozenset(row.region or ()) or provider.region,
        own_data_policy=None if row.data_policy is None else _policy(row.data_policy),
    )


def _named(name: str, known: dict[str, Named], *, sourced: Sourced, field: str) -> Named:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f", or did you mean {close[0]!r}?" if close else ""
        sourced.refuse(field, f"there is no {field} {name!r}; add a [[{field}]] for it{hint}")
    return known[name]


def _state(endpoint: Endpoint) -> str:
    if missing := unpriced(endpoint.price, frozenset()):
        return f"blocked: no price for {' and '.join(missing)}"
    return f"offered until {endpoint.model.deprecated}" if endpoint.model.deprecated else "offered"


def per_million(pico_per_token: int | None) -> str | None:
    """Pico-USD per token -> USD per million tokens as decimal text."""
    return None if pico_per_token is None else f"{Decimal(pico_per_token) / 10**6:f}"

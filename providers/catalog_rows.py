"""Reads one catalog file (TOML) into typed rows, and says file, row, field and remedy when it cannot.

A row is checked here as far as it can be on its own; what rows say about each other is checked in `catalog`.
"""

import datetime
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn, get_args
from urllib.parse import urlsplit

import msgspec

from metering.money import parse_rate, parse_rate_each
from metering.price import Price

DialectName = Literal["openai", "anthropic", "gemini", "bedrock", "echo"]
Tokenizer = Literal["o200k_base", "cl100k_base", "o200k_harmony", "estimate"]
Capability = Literal["text", "images", "tools", "json_schema", "embeddings"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
Modality = Literal["text", "image", "file", "audio", "video", "embeddings"]

SLUG: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z"
MODEL_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._:@+-]+(/[A-Za-z0-9._:@+-]+)*\Z"
Slug = Annotated[str, msgspec.Meta(pattern=SLUG)]
ModelId = Annotated[str, msgspec.Meta(pattern=MODEL_ID)]
EnvironmentName = Annotated[str, msgspec.Meta(pattern=r"^[A-Z_][A-Z0-9_]*\Z")]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]*\Z", max_length=32)]
Regions = Annotated[tuple[Region, ...], msgspec.Meta(min_length=1, max_length=32)]
"""Where a request may be processed; of several the client cannot choose, so a region rule must allow them all.

A single name is made a list before it is read: msgspec 0.22 frees memory that is not its own when a union has both a text with a
pattern and a list.
"""
Url = Annotated[str, msgspec.Meta(pattern=r"^(https://[^\s\"<>]+)?\Z", max_length=500)]
HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]*\Z", max_length=64)]
Query = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~%-]*(&[A-Za-z0-9_.~-]+=[A-Za-z0-9_.~%-]*)*\Z", max_length=500)]
Country = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")]
Parameter = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*\Z", max_length=64)]

ADVICE: Final = {
    "id": 'write it as company/model, for example "acme/fast-1"',
    "model": 'write a model\'s id, company/model, for example "acme/fast-1"',
    "slug": "use letters, digits, '.', '_' and '-'",
    "dialect": f"use one of: {', '.join(get_args(DialectName))}",
    "tokenizer": f"use one of: {', '.join(get_args(Tokenizer))}",
    "capabilities": f"use a list of: {', '.join(get_args(Capability))}",
    "key_header": 'write a header\'s name in small letters, such as "api-key"',
    "query": 'write name=value, several joined by &, such as "api-version=2024-10-21"',
    "max_tokens_field": f"use one of: {', '.join(get_args(MaxTokensField))}",
    "input_modalities": f"use a list of: {', '.join(get_args(Modality))}",
    "output_modalities": f"use a list of: {', '.join(get_args(Modality))}",
    "parameters": 'write a list of request fields such as ["temperature", "top_p", "top_k"]',
    "region": 'write a name in small letters such as "eu", or a list of every region in which a request may be processed',
    "api_key_env": "give the name of an environment variable such as ACME_API_KEY, never a key itself",
    "data_policy": "write { trains = true or false, retention_days = days }, or leave out what is unknown",
    "privacy_policy_url": 'write an https URL such as "https://example.com/privacy"',
    "terms_of_service_url": 'write an https URL such as "https://example.com/terms"',
    "status_page_url": 'write an https URL such as "https://status.example.com"',
    "headquarters": 'write a country as its two ISO 3166 letters, such as "US"',
    "datacenters": 'write a list of countries as their two ISO 3166 letters, such as ["US", "DE"]',
    "deprecated": "write the last day on which the model is offered, such as 2027-03-01",
    "successor": 'write the id of the model to use then, company/model, for example "acme/fast-2"',
    "created": "write Unix seconds or a date such as 2026-11-22",
    "date": "write a date such as 2026-11-22",
    "price": 'write { prompt = "0.15", completion = "0.60" }: USD per million tokens, in quotes',
}
"""What to do about a bad field."""


MODEL_PLACE: Final = "{model}"
OUR_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "te", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent"),
    }
)


class CatalogError(ValueError):
    """A catalog file cannot be used. The message names file, row and field and says what to do; it never quotes a key or URL."""


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the facts of a row come from and when they were read; an operator's row needs neither."""

    source: str | None = None
    date: datetime.date | None = None


class CompanyRow(Row, frozen=True, kw_only=True):
    slug: Slug
    name: Text


class ModelRow(Row, frozen=True, kw_only=True):
    id: ModelId
    name: Text | None = None
    company: Slug | None = None
    context_length: int
    created: int | datetime.date = 0
    description: str = ""
    tokenizer: Tokenizer = "o200k_base"
    input_modalities: tuple[Modality, ...] = ("text",)
    output_modalities: tuple[Modality, ...] = ("text",)
    deprecated: datetime.date | None = None
    successor: ModelId | None = None


class DataPolicyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    trains: bool | None = None
    retention_days: Annotated[int, msgspec.Meta(ge=0)] | None = None


class ProviderRow(Row, frozen=True, kw_only=True):
    slug: Slug
    name: Text | None = None
    dialect: DialectName
    base_url: str = ""
    api_key_env: EnvironmentName | None = None
    max_tokens_field: MaxTokensField = "max_tokens"
    key_header: HeaderName | None = None
    query: Query | None = None
    data_policy: DataPolicyRow = DataPolicyRow()
    region: Regions | None = None
    privacy_policy_url: Url = ""
    terms_of_service_url: Url = ""
    status_page_url: Url = ""
    headquarters: Country | None = None
    datacenters: Annotated[tuple[Country, ...], msgspec.Meta(max_length=100)] = ()


class EndpointRow(Row, frozen=True, kw_only=True):
    model: ModelId
    provider: Slug
    upstream_model: Text | None = None
    context_length: int | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    priority: int = 0
    capabilities: tuple[Capability, ...] | None = None
    parameters: Annotated[tuple[Parameter, ...], msgspec.Meta(max_length=200)] | None = None
    region: Regions | None = None
    data_policy: DataPolicyRow | None = None
    quantization: str | None = None
    price: dict[str, str | int | float | bool] = {}


CAPABILITIES: Final[tuple[str, ...]] = get_args(Capability)
"""What an endpoint can do that does not say what it can do."""
TABLES: Final[dict[str, type[Row]]] = {"company": CompanyRow, "model": ModelRow, "provider": ProviderRow, "endpoint": EndpointRow}


class Sourced(msgspec.Struct, frozen=True):
    """A row and where it was read. `key` is its table and id; an endpoint's id is `provider/model-id`."""

    row: Row
    key: tuple[str, str]
    file: str
    built_in: bool

    def __str__(self) -> str:
        return f"{self.file}: [[{self.key[0]}]] {self.key[1]}"

    def refuse(self, field: str, problem: str) -> NoReturn:
        raise CatalogError(f"{self}: {field}: {problem}")


def read(path: Path, *, name: str, built_in: bool) -> list[Sourced]:
    """The rows of the file at `path`, which messages call `name`."""
    try:
        tables = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise CatalogError(f"{name}: cannot be read ({error.strerror}); name a TOML file that exists and is readable") from None
    except ValueError as error:
        raise CatalogError(f"{name}: is not TOML in UTF-8 ({error}); correct it there") from None
    for table, rows in tables.items():
        if table not in TABLES:
            raise CatalogError(f"{name}: unknown table or key {table!r}; use [[{']], [['.join(TABLES)}]]")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise CatalogError(f"{name}: {table} is not a list of tables; write [[{table}]] with two brackets")
    return [
        _sourced(raw, table=table, number=number, name=name, built_in=built_in)
        for table, rows in tables.items()
        for number, raw in enumerate(rows, start=1)
    ]


def price_of(endpoint: Sourced, row: EndpointRow) -> Price:
    """The price of an endpoint; rates that are absent stay None. CatalogError for a rate that is not exact decimal text."""
    rates: dict[str, int] = {}
    for unit, text in row.price.items():
        field = f"price.{unit}"
        if unit not in Price.__struct_fields__:
            endpoint.refuse(field, f"unknown key; use one of: {', '.join(Price.__struct_fields__)}")
        if not isinstance(text, str):
            endpoint.refuse(field, 'prices are exact decimal text: put it in quotes, for example "0.15"')
        try:
            rates[unit] = parse_rate_each(text) if unit == "request" else parse_rate(text)
        except ValueError as error:
            endpoint.refuse(field, f'{error}; write USD per million tokens (request: USD each) such as "0.15"')
    return Price(**rates)


def check_base_url(provider: Sourced, row: ProviderRow) -> None:
    """CatalogError unless `base_url` is one that paths can be appended to."""
    if not row.base_url and row.dialect == "echo":
        return
    try:
        url = urlsplit(row.base_url)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port or an address that is no such thing
        usable = False
    if not usable or re.search(r"\s", row.base_url):
        provider.refuse("base_url", 'write an http or https URL, for example "https://api.example.com/v1"')
    if url.query or url.fragment or url.username is not None or url.password is not None:
        provider.refuse("base_url", "leave out user, password, query and fragment; the key comes from api_key_env")
    if row.dialect != "openai" and (row.key_header or row.query or "{" in row.base_url):
        provider.refuse("key_header" if row.key_header else "query" if row.query else "base_url", "only the openai dialect knows it")
    if row.key_header in OUR_HEADERS:
        provider.refuse("key_header", 'is a header that every call has; write the one that carries the key, such as "api-key"')
    if re.search("[{}]", row.base_url.replace(MODEL_PLACE, "")) or "{" in url.netloc:
        provider.refuse("base_url", f"the only part that can be filled in is {MODEL_PLACE}, in the path")


def _sourced(raw: dict[str, object], *, table: str, number: int, name: str, built_in: bool) -> Sourced:
    key = (table, _row_id(raw, table=table) or f"number {number}")
    # TOML has dates of its own; msgspec reads them as ISO text, whether they were quoted or not.
    plain = {field: value.isoformat() if isinstance(value, datetime.date) else value for field, value in raw.items()}
    if isinstance(plain.get("region"), str):
        plain["region"] = [plain["region"]]
    try:
        row = msgspec.convert(plain, TABLES[table])
    except msgspec.ValidationError as error:
        raise CatalogError(f"{name}: [[{table}]] {key[1]}: {_explain(str(error), TABLES[table])}") from None
    return Sourced(row, key, name, built_in)


def _row_id(raw: dict[str, object], *, table: str) -> str:
    if table == "endpoint":
        return _one_line(f"{raw.get('provider', '?')}/{raw.get('model', '?')}")
    return _one_line(raw.get("id" if table == "model" else "slug", ""))


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:200]


def _explain(message: str, row: type[Row]) -> str:
    """msgspec's message with the field in front and the remedy behind: `name: Expected `str`, got `int`; ...`."""
    problem, _, path = message.partition(" - at `$")
    path = path.removesuffix("`").removeprefix(".")
    if named := re.search(r"(unknown|required) field `(.*)`", problem):
        if named[1] == "unknown" and not path:
            return f"{named[2]}: unknown key; use one of: {', '.join(row.__struct_fields__)}"
        path = f"{path}.{named[2]}".removeprefix(".")
        problem = "unknown key" if named[1] == "unknown" else "is missing"
    advice = ADVICE.get(re.split(r"[.\[]", path)[0], "correct it" if problem != "is missing" else "add it")
    return f"{path}: {problem}; {advice}"

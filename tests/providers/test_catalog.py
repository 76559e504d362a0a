"""The catalog: what a file may say, what it means, and what is said about a file that cannot be used."""

import datetime
from pathlib import Path

import pytest

from metering.price import Price, unpriced
from providers import catalog, registry
from providers.catalog import CatalogError, load, show
from providers.catalog_check import check
from providers.provider import DataPolicy

TODAY = datetime.date(2026, 11, 22)

EXAMPLE = """
[[model]]
id = "acme/fast-1"            # public id, company/model
name = "Acme Fast 1"
company = "acme"
context_length = 128000
[[provider]]
slug = "acme-cloud"
name = "Acme Cloud"
dialect = "openai"            # openai | anthropic | gemini | bedrock | echo
base_url = "http://127.0.0.1:9100/v1"
api_key_env = "ACME_API_KEY"  # optional
data_policy = { trains = false, retention_days = 0 }   # absent = unknown = assume the worst
[[endpoint]]
model = "acme/fast-1"
provider = "acme-cloud"
upstream_model = "fast-1"     # optional, default: the part after the slash
max_output_tokens = 8192
price = { prompt = "0.15", completion = "0.60", cached_prompt = "0.075", cache_write = "0.1875", reasoning = "0.60", request = "0" }
"""

MODEL = '[[model]]\nid = "acme/fast-1"\ncontext_length = 1000\n'
PROVIDER = '[[provider]]\nslug = "acme-cloud"\ndialect = "openai"\nbase_url = "http://127.0.0.1:9100/v1"\n'
ENDPOINT = '[[endpoint]]\nmodel = "acme/fast-1"\nprovider = "acme-cloud"\n'
PRICE = 'price = { prompt = "1", completion = "2" }\n'


def write(folder: Path, text: str) -> str:
    file = folder / "own.toml"
    file.write_text(text, "utf-8")
    return str(file)


def read_text(folder: Path, text: str) -> catalog.Catalog:
    return load(write(folder, text))


def own(findings: list[str]) -> list[str]:
    return [finding.partition("own.toml: ")[2] for finding in findings if "own.toml" in finding]


def test_the_module_wins_over_the_data_directory_of_the_same_name() -> None:
    assert catalog.__file__ is not None
    assert catalog.__file__.endswith("catalog.py")


def test_the_built_in_catalog_loads_and_check_finds_nothing() -> None:
    built_in = load(None)
    assert check(built_in, TODAY) == []
    assert all(built_in.endpoints[model] for model in built_in.models)


def test_the_built_in_catalog_is_wide() -> None:
    built_in = load(None)
    assert len(built_in.providers) >= 20
    assert len(built_in.models) >= 80
    assert {provider.dialect for provider in built_in.providers.values()} == catalog.DIALECTS
    assert sum(model.output_modalities == ("embeddings",) for model in built_in.models.values()) >= 10


def test_no_built_in_model_was_over_when_its_row_was_written() -> None:
    built_in = load(None)
    assert not [model.id for model in built_in.models.values() if model.retired(built_in.rows["model", model.id].row.date or TODAY)]
    assert sum(model.deprecated is not None for model in built_in.models.values()) >= 5


def test_the_echo_model_needs_no_key_and_has_a_price() -> None:
    (echo,) = load(None).endpoints["tollway/echo"]
    assert (echo.id, echo.upstream_model) == ("tollway/tollway/echo", "echo")
    assert (echo.context_length, echo.max_output_tokens) == (131072, 8192)
    assert echo.price == Price(prompt=100_000, completion=400_000, cached_prompt=50_000)
    assert (echo.provider.dialect, echo.provider.base_url, echo.provider.api_key_env) == ("echo", "", None)
    assert echo.provider.data_policy == DataPolicy(trains=False, retention_days=0)


def test_built_in_providers_have_https_and_a_key_of_their_own() -> None:
    providers = [provider for provider in load(None).providers.values() if provider.dialect != "echo"]
    assert all(provider.base_url.startswith("https://") for provider in providers)
    assert len({provider.api_key_env for provider in providers}) == len(providers)


def test_open_models_have_several_endpoints_to_fall_back_on() -> None:
    endpoints = load(None).endpoints
    assert len(endpoints["openai/gpt-oss-120b"]) >= 3
    assert sum(len(of_one) > 1 for of_one in endpoints.values()) >= 8


def test_every_built_in_endpoint_is_priced_for_text() -> None:
    assert [endpoint.id for endpoint in load(None).every_endpoint() if unpriced(endpoint.price, frozenset())] == []


def test_the_documented_example_loads_with_exact_prices(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, EXAMPLE)
    (endpoint,) = loaded.endpoints["acme/fast-1"]
    assert endpoint.id == "acme-cloud/acme/fast-1"
    assert endpoint.price == Price(
        prompt=150_000, completion=600_000, cached_prompt=75_000, cache_write=187_500, reasoning=600_000, request=0
    )
    assert loaded.prices()[endpoint.price_id] == endpoint.price
    assert (endpoint.upstream_model, endpoint.context_length, endpoint.max_output_tokens) == ("fast-1", 128000, 8192)
    assert endpoint.provider.base_url == "http://127.0.0.1:9100/v1"
    assert endpoint.provider.api_key_env == "ACME_API_KEY"
    assert endpoint.provider.data_policy == DataPolicy(trains=False, retention_days=0)
    assert endpoint.capabilities == {"text", "images", "tools", "json_schema", "embeddings"}
    assert loaded.companies["acme"].name == "acme"
    assert check(loaded, TODAY) == []


def test_a_file_of_the_operator_adds_to_the_built_in_catalog(tmp_path: Path) -> None:
    assert set(load(None).models) < set(read_text(tmp_path, EXAMPLE).models)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + PRICE)
    (endpoint,) = loaded.endpoints["acme/fast-1"]
    assert (endpoint.model.name, endpoint.model.company, endpoint.model.tokenizer) == ("acme/fast-1", "acme", "o200k_base")
    assert (endpoint.model.created, endpoint.model.input_modalities) == (0, ("text",))
    assert (endpoint.provider.name, endpoint.provider.max_tokens_field) == ("acme-cloud", "max_tokens")
    assert endpoint.provider.data_policy == DataPolicy(trains=None, retention_days=None)
    assert (endpoint.upstream_model, endpoint.context_length, endpoint.max_output_tokens) == ("fast-1", 1000, None)
    assert (endpoint.priority, endpoint.quantization) == (0, None)


def test_every_optional_key_is_read(tmp_path: Path) -> None:
    text = (
        MODEL
        + 'created = 2026-01-02\ndescription = "d"\ntokenizer = "cl100k_base"\ninput_modalities = ["text", "image"]\n'
        + PROVIDER
        + 'max_tokens_field = "max_completion_tokens"\nsource = "s"\ndate = 2026-11-01\n'
        + ENDPOINT
        + 'priority = -1\ncontext_length = 900\ncapabilities = ["text", "tools"]\nquantization = "fp8"\n'
        + 'price = { prompt = "1", completion = "2", image = "3", audio = "4", audio_completion = "5", request = "0.005" }\n'
    )
    (endpoint,) = read_text(tmp_path, text).endpoints["acme/fast-1"]
    assert (endpoint.model.created, endpoint.model.tokenizer) == (1767312000, "cl100k_base")
    assert endpoint.provider.max_tokens_field == "max_completion_tokens"
    assert (endpoint.priority, endpoint.context_length, endpoint.quantization) == (-1, 900, "fp8")
    assert endpoint.capabilities == {"text", "tools"}
    assert (endpoint.price.image, endpoint.price.audio, endpoint.price.audio_completion) == (3_000_000, 4_000_000, 5_000_000)
    assert endpoint.price.request == 5 * 10**9


@pytest.mark.parametrize("created", ["1767312000", "2026-01-02", '"2026-01-02"'])
def test_created_is_unix_seconds_or_a_date(tmp_path: Path, created: str) -> None:
    assert read_text(tmp_path, f"{MODEL}created = {created}\n").models["acme/fast-1"].created == 1767312000


def test_upstream_model_defaults_to_what_follows_the_first_slash(tmp_path: Path) -> None:
    text = (MODEL + PROVIDER + ENDPOINT + PRICE).replace("acme/fast-1", "acme/line/fast-1")
    (endpoint,) = read_text(tmp_path, text).endpoints["acme/line/fast-1"]
    assert endpoint.upstream_model == "line/fast-1"


def test_a_slash_at_the_end_of_a_base_url_is_dropped(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, PROVIDER.replace('/v1"', '/prefix/v1/"'))
    assert loaded.providers["acme-cloud"].base_url == "http://127.0.0.1:9100/prefix/v1"


def test_an_endpoint_on_built_in_rows_needs_no_rows_of_its_own(tmp_path: Path) -> None:
    text = PROVIDER + '[[endpoint]]\nmodel = "openai/gpt-oss-120b"\nprovider = "acme-cloud"\n' + PRICE
    before = load(None).endpoints["openai/gpt-oss-120b"]
    assert [e.id for e in read_text(tmp_path, text).endpoints["openai/gpt-oss-120b"]] == [
        *(endpoint.id for endpoint in before),
        "acme-cloud/openai/gpt-oss-120b",
    ]


def test_a_replaced_provider_keeps_its_built_in_endpoints(tmp_path: Path) -> None:
    text = '[[provider]]\nslug = "groq"\nname = "Proxy"\ndialect = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
    before, after = load(None).endpoints, read_text(tmp_path, text).endpoints
    assert {model: [e.id for e in of_one] for model, of_one in after.items()} == {
        model: [e.id for e in of_one] for model, of_one in before.items()
    }
    replaced = {endpoint.provider.base_url for of_one in after.values() for endpoint in of_one if endpoint.provider.slug == "groq"}
    assert replaced == {"http://127.0.0.1:9/v1"}


def test_a_replaced_provider_row_inherits_nothing(tmp_path: Path) -> None:
    text = '[[provider]]\nslug = "openai"\ndialect = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
    provider = read_text(tmp_path, text).providers["openai"]
    assert (provider.api_key_env, provider.max_tokens_field, provider.data_policy) == (None, "max_tokens", DataPolicy())


def test_a_replaced_model_keeps_its_endpoints_even_when_it_is_smaller(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, '[[model]]\nid = "tollway/echo"\nname = "Mine"\ncontext_length = 4096\n')
    (echo,) = loaded.endpoints["tollway/echo"]
    assert (echo.model.name, echo.context_length, echo.max_output_tokens) == ("Mine", 4096, 4096)


def test_a_replaced_endpoint_leaves_the_others_alone(tmp_path: Path) -> None:
    before = load(None).endpoints["openai/gpt-oss-120b"]
    text = '[[endpoint]]\nmodel = "openai/gpt-oss-120b"\nprovider = "groq"\n' + PRICE
    after = read_text(tmp_path, text).endpoints["openai/gpt-oss-120b"]
    assert [endpoint.id for endpoint in after] == [endpoint.id for endpoint in before]
    changed = [new for new, old in zip(after, before, strict=True) if new != old]
    assert [endpoint.price for endpoint in changed] == [Price(prompt=1_000_000, completion=2_000_000)]


def test_a_company_can_be_named(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, MODEL + '[[company]]\nslug = "acme"\nname = "Acme Inc."\n')
    assert loaded.companies["acme"].name == "Acme Inc."


def test_every_known_dialect_can_be_spoken() -> None:
    assert registry.DIALECTS.keys() == catalog.DIALECTS


def test_a_name_without_its_company_is_a_model_where_it_can_be_only_one(tmp_path: Path) -> None:
    again = (MODEL + ENDPOINT + PRICE).replace("acme/fast-1", "zeta/fast-1")
    served = 'upstream_model = "fast-2025"\n'
    alone = read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + served + PRICE)
    assert [alone.id_of(name) for name in ("acme/fast-1", "fast-1", "fast-2025")] == ["acme/fast-1"] * 3
    assert [alone.id_of(name) for name in ("fast", "fast-20", "FAST-1", "acme/fast-2025", "")] == [None] * 5
    both = read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + served + PRICE + again)
    assert both.id_of("fast-1") is None, "two models are called that"
    assert both.id_of("fast-2025") == "acme/fast-1"


def test_a_models_own_name_comes_before_what_a_provider_calls_another(tmp_path: Path) -> None:
    other = 'upstream_model = "gpt-5.4"\n'
    assert read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + other + PRICE).id_of("gpt-5.4") == "openai/gpt-5.4"


def test_the_names_that_anthropics_clients_know_are_models_of_the_catalog() -> None:
    assert load(None).id_of("claude-haiku-4-5") == "anthropic/claude-haiku-4.5"


@pytest.mark.parametrize("price", ["", 'price = { prompt = "1" }\n', 'price = { completion = "1" }\n'])
def test_an_endpoint_without_its_two_prices_loads_and_is_reported(tmp_path: Path, price: str) -> None:
    loaded = read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + price)
    (endpoint,) = loaded.endpoints["acme/fast-1"]
    assert unpriced(endpoint.price, frozenset())
    (shown,) = (row for row in show(loaded) if row["model"] == "acme/fast-1")
    assert str(shown["state"]).startswith("blocked: no price for ")
    (finding,) = own(check(loaded, TODAY))
    assert finding.startswith("[[endpoint]] acme-cloud/acme/fast-1: price: no rate for ")


BAD = {
    "not TOML": ("[[model]\n", "own.toml: is not TOML"),
    "unknown table": ('[[modle]]\nid = "a/b"\n', "unknown table or key 'modle'; use [[company]], [[model]], [[provider]], [[endpoint]]"),
    "one bracket": ('[model]\nid = "a/b"\n', "write [[model]] with two brackets"),
    "unknown key": (MODEL + "contextlength = 5\n", "[[model]] acme/fast-1: contextlength: unknown key; use one of: source, date, id, name"),
    "unknown policy key": (
        PROVIDER + "data_policy = { train = false }\n",
        "[[provider]] acme-cloud: data_policy.train: unknown key; write {",
    ),
    "missing key": ('[[model]]\nid = "a/b"\n', "[[model]] a/b: context_length: is missing; add it"),
    "missing id": ("[[model]]\ncontext_length = 5\n", "[[model]] number 1: id: is missing; write it as company/model"),
    "wrong type": (MODEL.replace("1000", '"1000"'), "[[model]] acme/fast-1: context_length: Expected `int`, got `str`"),
    "id without a slash": (MODEL.replace("acme/fast-1", "fast-1"), "[[model]] fast-1: id: "),
    "id with a newline": (MODEL.replace("acme/fast-1", "acme/fast-1\\n"), ": id: "),
    "slug with a slash": (PROVIDER.replace("acme-cloud", "acme/cloud"), "[[provider]] acme/cloud: slug: "),
    "unknown dialect": (PROVIDER.replace('"openai"', '"opanai"'), "dialect: Invalid enum value 'opanai'; use one of: openai, anthropic"),
    "unknown tokenizer": (MODEL + 'tokenizer = "bert"\n', "tokenizer: Invalid enum value 'bert'; use one of: o200k_base"),
    "unknown capability": (
        ENDPOINT + 'capabilities = ["vision"]\n',
        "capabilities[0]: Invalid enum value 'vision'; use a list of: text, images",
    ),
    "bad max_tokens_field": (
        PROVIDER + 'max_tokens_field = "limit"\n',
        "max_tokens_field: Invalid enum value 'limit'; use one of: max_tokens, ",
    ),
    "bad created": (MODEL + 'created = "last year"\n', "[[model]] acme/fast-1: created: "),
    "bad date": (MODEL + 'date = "last year"\n', "write a date such as 2026-11-22"),
    "no base_url": (PROVIDER.replace('base_url = "http://127.0.0.1:9100/v1"', ""), "base_url: write an http or https URL"),
    "ftp base_url": (PROVIDER.replace("http://", "ftp://"), "base_url: write an http or https URL"),
    "base_url without a host": (PROVIDER.replace("127.0.0.1:9100", ""), "base_url: write an http or https URL"),
    "base_url with a bad port": (PROVIDER.replace("9100", "99999"), "base_url: write an http or https URL"),
    "base_url with a blank": (PROVIDER.replace("/v1", "/v 1"), "base_url: write an http or https URL"),
    "base_url with a query": (PROVIDER.replace("/v1", "/v1?a=b"), "base_url: leave out user, password, query"),
    "http privacy page": (
        PROVIDER + 'privacy_policy_url = "http://acme.test/privacy"\n',
        "privacy_policy_url: Expected `str` matching regex",
    ),
    "country in words": (PROVIDER + 'headquarters = "Germany"\n', "headquarters: Expected `str` matching regex"),
    "datacenter in words": (PROVIDER + 'datacenters = ["Paris"]\n', "write a list of countries as their two ISO 3166 letters"),
    "deprecated in words": (MODEL + 'deprecated = "soon"\n', "write the last day on which the model is offered, such as 2027-03-01"),
    "successor without a slash": (MODEL + 'successor = "fast-2"\n', "successor: Expected `str` matching regex"),
    "endpoint policy key": (ENDPOINT + "data_policy = { train = false }\n", "data_policy.train: unknown key; write {"),
    "negative retention": (PROVIDER + "data_policy = { retention_days = -1 }\n", "data_policy.retention_days: Expected `int` >= 0"),
    "unknown model": (
        PROVIDER + ENDPOINT,
        "endpoint]] acme-cloud/acme/fast-1: model: there is no model 'acme/fast-1'; add a [[model]] for it",
    ),
    "unknown provider": (MODEL + ENDPOINT, "provider: there is no provider 'acme-cloud'; add a [[provider]] for it"),
    "misspelt provider": (MODEL + ENDPOINT.replace("acme-cloud", "groqq"), "did you mean 'groq'?"),
    "output above context": (
        MODEL + PROVIDER + ENDPOINT + "max_output_tokens = 1001\n",
        "[[endpoint]] acme-cloud/acme/fast-1: max_output_tokens: 1001 is above the context_length 1000; lower it",
    ),
    "no output": (MODEL + PROVIDER + ENDPOINT + "max_output_tokens = 0\n", "max_output_tokens: Expected `int` >= 1"),
    "two models": (MODEL + MODEL, "[[model]] acme/fast-1: stands twice (first in "),
    "two providers": (PROVIDER + PROVIDER, "[[provider]] acme-cloud: stands twice"),
    "two endpoints": (MODEL + PROVIDER + ENDPOINT + ENDPOINT, "[[endpoint]] acme-cloud/acme/fast-1: stands twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_with_its_file_field_and_remedy(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(CatalogError) as error:
        read_text(tmp_path, text)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "own.toml"))


BAD_PRICES = {
    "prompt = 0.15": 'price.prompt: prices are exact decimal text: put it in quotes, for example "0.15"',
    "prompt = 1": "put it in quotes",
    "prompt = true": "put it in quotes",
    "prompt = 2026-11-22": "[[endpoint]] acme-cloud/acme/fast-1: price",
    'prompt = "-1"': "price.prompt: '-1' is negative",
    'prompt = "0.0000001"': "price.prompt: '0.0000001' is finer than 6 decimals per million",
    'prompt = "cheap"': "price.prompt: 'cheap' is not a decimal number",
    'prompt = "NaN"': "price.prompt: 'NaN' is not a usable amount",
    'prompt = "1e40"': "price.prompt: '1e40' is not a usable amount",
    'promt = "1"': "price.promt: unknown key; use one of: prompt, completion, cached_prompt",
    'request = "0.0000000000001"': "price.request: '0.0000000000001' is finer than 12 decimals",
}


@pytest.mark.parametrize("price", BAD_PRICES)
def test_a_bad_price_is_named(tmp_path: Path, price: str) -> None:
    with pytest.raises(CatalogError, match=r"own\.toml: \[\[endpoint\]\] acme-cloud/acme/fast-1: ") as error:
        read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + f"price = {{ {price} }}\n")
    assert BAD_PRICES[price] in str(error.value)


def test_a_key_written_where_its_name_belongs_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"api_key_env: .*never a key itself") as error:
        read_text(tmp_path, PROVIDER + 'api_key_env = "sk-secret"\n')
    assert "sk-secret" not in str(error.value)


def test_a_password_in_a_base_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="base_url: leave out user, password") as error:
        read_text(tmp_path, PROVIDER.replace("http://", "http://me:hunter2@"))
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        load(str(tmp_path / "none.toml"))


def test_a_file_in_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MODEL.encode())
    assert "acme/fast-1" in load(str(file)).models
    file.write_bytes(MODEL.encode("utf-16"))
    with pytest.raises(CatalogError, match="is not TOML in UTF-8"):
        load(str(file))

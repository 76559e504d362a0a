"""What `catalog check` and `catalog show` say, and the names that are offered for a wrong one."""

from pathlib import Path

import msgspec
import pytest

from providers import catalog
from providers.catalog import CatalogError, load, show
from providers.catalog_check import check
from tests.providers.test_catalog import ENDPOINT, EXAMPLE, MODEL, PRICE, PROVIDER, TODAY, own, read_text, write

SUSPICIOUS = {
    'price = { prompt = "1", completion = "1000.000001" }\n': "price.completion: 1000.000001 USD per million tokens is above 1000",
    'price = { prompt = "1", completion = "2", cached_prompt = "1.5" }\n': "price.cached_prompt: a cached token costs more",
    'price = { prompt = "0", completion = "0" }\n': "price: prompt and completion are 0, so it is free",
    'price = { prompt = "1000.000001", completion = "1" }\n': "price.prompt: 1000.000001 USD per million tokens is above 1000",
    'price = { prompt = "1", completion = "2", cache_write = "10.000001" }\n': "price.cache_write: it is more than 10 times the price",
    PRICE + 'capabilities = ["text", "images"]\n': "capabilities: it takes images, but the input_modalities of acme/fast-1 have no image",
    PRICE + 'capabilities = ["embeddings"]\n': 'price.completion: embeddings have no answer that could be priced; write "0"',
    'price = { prompt = "1", completion = "0" }\ncapabilities = ["embeddings"]\n': "capabilities: it gives nothing but embeddings, but",
    "": "price: no rate for prompt and completion, so it is not offered",
    PRICE + "context_length = 0\n": "context_length: 0 tokens hold no prompt",
    PRICE + "date = 2026-11-23\n": "date: 2026-11-23 is in the future",
}


@pytest.mark.parametrize("keys", SUSPICIOUS)
def test_check_finds_a_suspicious_endpoint(tmp_path: Path, keys: str) -> None:
    findings = own(check(read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + keys), TODAY))
    assert findings[0].startswith(f"[[endpoint]] acme-cloud/acme/fast-1: {SUSPICIOUS[keys]}")
    assert len(findings) == 1 + (PRICE in keys and '"embeddings"' in keys)


@pytest.mark.parametrize(
    "keys",
    [
        'price = { prompt = "1000", completion = "1000", cached_prompt = "1000", cache_write = "10000" }\n',
        PRICE + 'capabilities = ["text", "tools"]\n',
        PRICE + "date = 2026-11-22\n",
        PRICE,
    ],
)
def test_check_finds_nothing_in_a_sound_endpoint(tmp_path: Path, keys: str) -> None:
    assert own(check(read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + keys), TODAY)) == []


def test_check_finds_two_names_for_one_upstream_model(tmp_path: Path) -> None:
    second = MODEL.replace("fast-1", "swift-1") + ENDPOINT.replace("fast-1", "swift-1") + PRICE + 'upstream_model = "fast-1"\n'
    (finding,) = own(check(read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + PRICE + second), TODAY))
    assert finding.startswith("[[endpoint]] acme-cloud/acme/swift-1: upstream_model: 'fast-1' is what acme-cloud/acme/fast-1 asks for too")


def test_check_finds_an_embeddings_model_that_is_offered_for_chat(tmp_path: Path) -> None:
    text = MODEL + 'output_modalities = ["embeddings"]\n' + PROVIDER + ENDPOINT + PRICE + 'capabilities = ["text"]\n'
    (finding,) = own(check(read_text(tmp_path, text), TODAY))
    assert "capabilities: it gives more than embeddings, but the output_modalities of acme/fast-1 say otherwise" in finding


def test_check_finds_a_company_that_is_misspelt_and_lets_a_new_one_be(tmp_path: Path) -> None:
    text = (MODEL + PROVIDER + ENDPOINT + PRICE).replace("acme/fast-1", "opanai/fast-1")
    (finding,) = own(check(read_text(tmp_path, text), TODAY))
    assert finding == "[[model]] opanai/fast-1: company: there is no [[company]] 'opanai'; add it; did you mean 'openai'?"
    assert own(check(read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + PRICE), TODAY)) == []


NEXT = MODEL.replace("fast-1", "fast-2") + ENDPOINT.replace("fast-1", "fast-2") + PRICE
SUCCESSORS = {
    'successor = "acme/fast-2"\n': "successor: the model has no end that it could follow",
    'deprecated = 2027-03-01\nsuccessor = "acme/fast-3"\n': "successor: there is no model 'acme/fast-3'",
    'deprecated = 2027-03-01\nsuccessor = "acme/fast-1"\n': "successor: acme/fast-1 is not offered any more when this model ends",
    'deprecated = 2027-03-01\nsuccessor = "acme/fast-2"\n': None,
    "deprecated = 2027-03-01\n": None,
    "deprecated = 2020-03-01\n": None,
}


@pytest.mark.parametrize("keys", SUCCESSORS)
def test_check_finds_a_successor_that_cannot_follow(tmp_path: Path, keys: str) -> None:
    findings = own(check(read_text(tmp_path, MODEL + keys + PROVIDER + ENDPOINT + PRICE + NEXT), TODAY))
    expected = SUCCESSORS[keys]
    assert len(findings) == (expected is not None)
    assert all(finding.startswith(f"[[model]] acme/fast-1: {expected}") for finding in findings)


def test_check_finds_a_model_that_nobody_serves(tmp_path: Path) -> None:
    (finding,) = own(check(read_text(tmp_path, MODEL), TODAY))
    assert finding == "[[model]] acme/fast-1: no endpoint serves this model; add an [[endpoint]] or remove the model"


def test_check_finds_a_model_without_context(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, MODEL.replace("1000", "0") + PROVIDER + ENDPOINT + PRICE)
    (finding,) = own(check(loaded, TODAY))
    assert finding.startswith("[[model]] acme/fast-1: context_length: 0 tokens hold no prompt")


def test_check_finds_a_built_in_row_without_source_or_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MODEL + PROVIDER + 'source = "s"\ndate = 2026-11-22\n' + ENDPOINT + PRICE)
    monkeypatch.setattr(catalog, "BUILT_IN", tmp_path)
    assert [finding.partition(": [[")[2].partition("; ")[0] for finding in check(load(None), TODAY)] == [
        "model]] acme/fast-1: source: is missing in a built-in row",
        "model]] acme/fast-1: date: is missing in a built-in row",
        "endpoint]] acme-cloud/acme/fast-1: source: is missing in a built-in row",
        "endpoint]] acme-cloud/acme/fast-1: date: is missing in a built-in row",
        "model]] acme/fast-1: company: there is no [[company]] 'acme'",
    ]


def test_a_row_that_stands_in_two_built_in_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).write_text(MODEL)
    monkeypatch.setattr(catalog, "BUILT_IN", tmp_path)
    with pytest.raises(CatalogError, match=r"catalog/two\.toml: .* stands twice \(first in catalog/one\.toml\)"):
        load(None)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("openai/gpt-4o-mni", "openai/gpt-4o-mini"), ("gpt-4o-mini", "openai/gpt-4o-mini"), ("ECHO", "tollway/echo")],
)
def test_close_names_puts_the_likeliest_first(wrong: str, right: str) -> None:
    names = load(None).close_names(wrong)
    assert names[0] == right
    assert len(names) == len(set(names)) <= 3


@pytest.mark.parametrize("name", ["", "zzzz", "openai/gpt-4o" * 100_000])
def test_close_names_has_nothing_to_say_about_a_name_like_no_other(name: str) -> None:
    assert load(None).close_names(name) == []


def test_show_prints_prices_per_million_as_text(tmp_path: Path) -> None:
    row = next(row for row in show(read_text(tmp_path, EXAMPLE)) if row["model"] == "acme/fast-1")
    assert (row["prompt"], row["completion"], row["cached_prompt"]) == ("0.15", "0.6", "0.075")
    assert (row["provider"], row["upstream_model"], row["state"]) == ("acme-cloud", "fast-1", "offered")


def test_a_catalog_cannot_be_changed_and_two_loads_agree() -> None:
    first, second = load(None), load(None)
    assert first == second
    with pytest.raises(AttributeError):
        first.models = {}  # type: ignore[misc]
    assert msgspec.json.encode(list(first.prices())) == msgspec.json.encode(list(second.prices()))

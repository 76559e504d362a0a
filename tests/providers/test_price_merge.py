"""What an import would change in a catalog, and the file that it writes: exact, complete, and a catalog again."""

import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.price import Price
from providers.catalog import BUILT_IN, Catalog, load
from providers.catalog_rows import read
from providers.catalog_text import merged, toml
from providers.price_merge import Change, Origin, compare
from providers.price_offer import Offer, Skipped
from tests.providers.test_catalog import MODEL, PROVIDER, read_text

TODAY = datetime.date(2026, 11, 22)
ORIGIN = Origin("a list", TODAY)
ENDPOINT = """
[[endpoint]]
model = "acme/fast-1"
provider = "acme-cloud"
upstream_model = "FAST"
max_output_tokens = 900
priority = 3
quantization = "fp8"
capabilities = ["text", "tools"]
parameters = ["seed"]
region = "eu"
data_policy = { trains = false }
price = { prompt = "2.5", completion = "10", audio = "7", request = "0.005" }
"""


def offer(**fields: Any) -> Offer:
    return Offer(
        **{
            "name": "acme/FAST", "provider": "acme-cloud", "upstream_model": "FAST", "model": "acme/fast-1", "context_length": 1000,
            "max_output_tokens": 900, "rates": {"prompt": "2.5", "completion": "10"}, "capabilities": ("text",), **fields,
        }
    )  # fmt: skip


def of(catalog: Catalog, *offers: Offer, only: str = "acme-cloud") -> tuple[list[Change], list[Skipped]]:
    return compare(catalog, offers, ORIGIN, only=frozenset({only}))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return read_text(tmp_path, MODEL + PROVIDER + ENDPOINT)


def taken_over(folder: Path, changes: list[Change], own: str = MODEL + PROVIDER + ENDPOINT) -> Catalog:
    rows = [row for change in changes for row in change.rows]
    return read_text(folder, "\n".join(toml(merged(tomllib.loads(own), rows))))


def test_an_endpoint_that_agrees_changes_nothing(catalog: Catalog) -> None:
    (same,), skipped = of(catalog, offer(rates={"prompt": "2.50", "completion": "10.0", "audio": "7"}))
    assert (same.kind, same.rows, skipped) == ("same", (), [])


def test_a_change_says_old_and_new_with_percent(catalog: Catalog) -> None:
    (changed,), _ = of(catalog, offer(rates={"prompt": "2", "completion": "12.5", "cached_prompt": "0.2"}, context_length=1500))
    assert changed.kind == "changed"
    assert changed.words == (
        "prompt 2.5 -> 2 (-20%)", "completion 10 -> 12.5 (+25%)", "cached_prompt - -> 0.2", "context_length 1000 -> 1500 (+50%)",
    )  # fmt: skip


def test_a_changed_row_keeps_what_the_list_does_not_say(catalog: Catalog, tmp_path: Path) -> None:
    changes, _ = of(catalog, offer(rates={"prompt": "2", "completion": "12.5"}, context_length=1500, max_output_tokens=None))
    before, after = catalog.endpoints["acme/fast-1"][0], taken_over(tmp_path, changes).endpoints["acme/fast-1"][0]
    assert after.price == Price(prompt=2_000_000, completion=12_500_000, audio=7_000_000, request=5 * 10**9)
    assert (after.context_length, after.max_output_tokens) == (1500, 900)
    for field in ("id", "upstream_model", "priority", "quantization", "capabilities", "parameters", "region", "data_policy", "provider"):
        assert getattr(after, field) == getattr(before, field), field


def test_an_output_limit_that_is_the_context_says_nothing(catalog: Catalog, tmp_path: Path) -> None:
    changes, _ = of(catalog, offer(context_length=800, max_output_tokens=1000))
    assert changes[0].words == ("context_length 1000 -> 800 (-20%)", "max_output_tokens 900 -> -")
    assert taken_over(tmp_path, changes).endpoints["acme/fast-1"][0].max_output_tokens is None


def test_a_new_endpoint_brings_its_model_and_what_is_gone_is_named(catalog: Catalog, tmp_path: Path) -> None:
    new = offer(
        name="acme/X", upstream_model="X", model="acme/x", context_length=5000, max_output_tokens=None, capabilities=("text", "images"),
        input_modalities=("text", "image"), deprecated=datetime.date(2027, 3, 1), title='X "one" \\ two',
    )  # fmt: skip
    changes, _ = of(catalog, new)
    assert [(change.kind, change.endpoint) for change in changes] == [("new", "acme-cloud/acme/x"), ("gone", "acme-cloud/acme/fast-1")]
    assert changes[0].words == ("prompt 2.5", "completion 10", "context_length 5000")
    loaded = taken_over(tmp_path, changes)
    assert len(loaded.endpoints["acme/fast-1"]) == 1, "what is gone from a list stays in the catalog"
    (endpoint,) = loaded.endpoints["acme/x"]
    assert (endpoint.upstream_model, endpoint.context_length, endpoint.capabilities) == ("X", 5000, {"text", "images"})
    assert (endpoint.model.name, endpoint.model.deprecated) == ('X "one" \\ two', datetime.date(2027, 3, 1))
    assert endpoint.model.input_modalities == ("text", "image")


def test_a_model_of_several_new_endpoints_takes_what_any_of_them_takes(catalog: Catalog, tmp_path: Path) -> None:
    eyes = {"capabilities": ("text", "images"), "input_modalities": ("text", "image")}
    one = offer(name="1", upstream_model="X", model="acme/x", context_length=5000, **eyes)
    two = offer(name="2", upstream_model="X", model="acme/x", context_length=9000, provider="groq")
    changes, _ = compare(catalog, (one, two), ORIGIN, only=frozenset())
    model = taken_over(tmp_path, changes).models["acme/x"]
    assert (model.context_length, model.input_modalities) == (9000, ("text", "image"))


def test_a_known_model_is_not_given_eyes(catalog: Catalog) -> None:
    (change, *_), _ = of(catalog, offer(provider="groq", upstream_model="Y", capabilities=("text", "images", "tools")), only="groq")
    (row,) = (row for table, row in change.rows if table == "endpoint")
    assert row["capabilities"] == ["text", "tools"]


def test_the_same_model_under_another_upstream_name_is_the_same_endpoint(catalog: Catalog) -> None:
    (changed,), skipped = of(catalog, offer(upstream_model="org/FAST", rates={"prompt": "3", "completion": "10"}))
    assert (changed.kind, changed.endpoint, skipped) == ("changed", "acme-cloud/acme/fast-1", [])
    assert changed.rows[0][1]["upstream_model"] == "FAST"
    changes, skipped = of(catalog, offer(), offer(name="twin", upstream_model="org/FAST"))
    assert [change.kind for change in changes] == ["same"]
    assert [(each.name, each.elsewhere) for each in skipped] == [("twin", True)]


def test_what_has_no_provider_here_or_no_context_is_skipped(catalog: Catalog) -> None:
    _, (skipped,) = of(catalog, offer(provider="nobody"))
    assert skipped.elsewhere
    assert "the catalog has no provider 'nobody'; add a [[provider]] for it" in skipped.reason
    _, (skipped,) = of(catalog, offer(upstream_model="X", model="acme/x", context_length=None))
    assert (skipped.elsewhere, skipped.reason) == (False, "it has no context length")
    (same,), _ = of(catalog, offer(context_length=None))
    assert same.kind == "same"


def test_openrouter_becomes_a_provider_of_its_own(catalog: Catalog, tmp_path: Path) -> None:
    changes, _ = of(catalog, offer(provider="openrouter", upstream_model="acme/fast-1"), only="openrouter")
    provider = taken_over(tmp_path, changes).providers["openrouter"]
    assert (provider.base_url, provider.api_key_env) == ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY")


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, name: str, description: str) -> None:
    file = tmp_path_factory.mktemp("text") / "own.toml"
    row = {"id": "acme/x", "name": f"n{name}", "description": description, "context_length": 5, "created": TODAY}
    file.write_text("\n".join(toml({"model": [row]})), "utf-8", newline="")
    (sourced,) = read(file, name="own.toml", built_in=False)
    assert (sourced.row.name, sourced.row.description) == (f"n{name}", description)  # type: ignore[attr-defined]


def test_the_built_in_catalog_survives_being_written(tmp_path: Path) -> None:
    tables: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(BUILT_IN.glob("*.toml")):
        for table, rows in tomllib.loads(file.read_text()).items():
            tables.setdefault(table, []).extend(rows)
    before, after = load(None), read_text(tmp_path, "\n".join(toml(merged(tables, []))))
    assert (after.models, after.providers, after.companies) == (before.models, before.providers, before.companies)
    assert {each.id: each for each in after.every_endpoint()} == {each.id: each for each in before.every_endpoint()}

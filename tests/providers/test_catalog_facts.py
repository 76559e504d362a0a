"""What rows say beside prices: regions, parameters, data policies, where a provider is, and when a model ends."""

import datetime
from pathlib import Path

import pytest

from providers.catalog import CatalogError, load, show
from providers.provider import DataPolicy
from tests.providers.test_catalog import ENDPOINT, MODEL, PRICE, PROVIDER, read_text

# Regions and parameters


@pytest.mark.parametrize(
    ("provider", "endpoint", "regions"),
    [
        ("", "", set()),
        ('region = "eu"\n', "", {"eu"}),
        ('region = "eu"\n', 'region = ["us", "eu"]\n', {"eu", "us"}),
        ("", 'region = "eu-central"\n', {"eu-central"}),
    ],
)
def test_an_endpoint_is_in_its_own_regions_or_its_providers_and_else_unknown(
    tmp_path: Path, provider: str, endpoint: str, regions: set[str]
) -> None:
    known = read_text(tmp_path, MODEL + PROVIDER + provider + ENDPOINT + PRICE + endpoint)
    assert known.endpoints["acme/fast-1"][0].region == regions


def test_only_a_provider_that_says_so_has_a_region() -> None:
    regions = {endpoint.provider.slug: endpoint.region for endpoint in load(None).every_endpoint() if endpoint.region}
    assert regions == {"amazon-bedrock": {"us"}, "scaleway": {"eu"}}


@pytest.mark.parametrize(
    ("line", "parameters"), [("", None), ("parameters = []\n", set()), ('parameters = ["top_k", "seed"]\n', {"top_k", "seed"})]
)
def test_an_endpoint_without_a_list_of_parameters_is_not_one_with_an_empty_list(
    tmp_path: Path, line: str, parameters: set[str] | None
) -> None:
    assert read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + PRICE + line).endpoints["acme/fast-1"][0].parameters == parameters


@pytest.mark.parametrize(
    ("line", "field"),
    [
        *(
            ('region = "EU"\n', "region"),
            ("region = []\n", "region: "),
            ('region = ["eu", ""]\n', "region"),
            ("region = 1\n", "region: "),
        ),
        *(('parameters = "top_k"\n', "parameters: "), ('parameters = ["Top K"]\n', "parameters")),
    ],
)
def test_a_wrong_region_or_list_of_parameters_is_refused_with_what_to_write(tmp_path: Path, line: str, field: str) -> None:
    with pytest.raises(CatalogError, match=rf"\[\[endpoint\]\] acme-cloud/acme/fast-1: {field}.*write a"):
        read_text(tmp_path, MODEL + PROVIDER + ENDPOINT + PRICE + line)


# Data policies and where a provider is


def test_an_endpoint_has_its_providers_data_policy_or_one_of_its_own_as_a_whole(tmp_path: Path) -> None:
    provider = PROVIDER + "data_policy = { trains = false, retention_days = 0 }\n"
    (endpoint,) = read_text(tmp_path, MODEL + provider + ENDPOINT + PRICE).endpoints["acme/fast-1"]
    assert endpoint.data_policy == endpoint.provider.data_policy == DataPolicy(trains=False, retention_days=0)
    (endpoint,) = read_text(tmp_path, MODEL + provider + ENDPOINT + PRICE + "data_policy = { trains = false }\n").endpoints["acme/fast-1"]
    assert endpoint.data_policy == DataPolicy(trains=False)
    assert not endpoint.data_policy.zdr


@pytest.mark.parametrize(
    ("trains", "days", "zdr"), [(False, 0, True), (False, 1, False), (False, None, False), (None, 0, False), (True, 0, False)]
)
def test_zero_data_retention_is_only_what_is_known_to_keep_and_learn_nothing(trains: bool | None, days: int | None, zdr: bool) -> None:
    assert DataPolicy(trains=trains, retention_days=days).zdr is zdr


def test_bedrock_says_of_each_model_whether_it_keeps_prompts() -> None:
    policies = {each.model.id: each.data_policy for each in load(None).every_endpoint() if each.provider.slug == "amazon-bedrock"}
    assert policies["anthropic/claude-haiku-4.5"].zdr
    assert policies["anthropic/claude-fable-5.1"].retention_days == 30
    assert policies["anthropic/claude-opus-5.5"].retention_days is None


def test_a_provider_names_its_pages_and_countries_or_nothing(tmp_path: Path) -> None:
    bare = read_text(tmp_path, PROVIDER).providers["acme-cloud"]
    assert (bare.privacy_policy_url, bare.terms_of_service_url, bare.status_page_url) == ("", "", "")
    assert (bare.headquarters, bare.datacenters) == ("", ())
    text = PROVIDER + (
        'privacy_policy_url = "https://acme.test/privacy"\nterms_of_service_url = "https://acme.test/terms"\n'
        'status_page_url = "https://status.acme.test"\nheadquarters = "DE"\ndatacenters = ["DE", "FR"]\n'
    )
    full = read_text(tmp_path, text).providers["acme-cloud"]
    assert full.privacy_policy_url == "https://acme.test/privacy"
    assert (full.terms_of_service_url, full.status_page_url) == ("https://acme.test/terms", "https://status.acme.test")
    assert (full.headquarters, full.datacenters) == ("DE", ("DE", "FR"))


# Models that end


def test_a_model_is_offered_through_its_last_day(tmp_path: Path) -> None:
    model = read_text(tmp_path, MODEL + 'deprecated = 2027-03-01\nsuccessor = "tollway/echo"\n').models["acme/fast-1"]
    assert (model.deprecated, model.successor) == (datetime.date(2027, 3, 1), "tollway/echo")
    assert not model.retired(datetime.date(2027, 3, 1))
    assert model.retired(datetime.date(2027, 3, 2))


def test_show_says_until_when_an_endpoint_is_offered(tmp_path: Path) -> None:
    loaded = read_text(tmp_path, MODEL + "deprecated = 2027-03-01\n" + PROVIDER + ENDPOINT + PRICE)
    assert [row["state"] for row in show(loaded) if row["model"] == "acme/fast-1"] == ["offered until 2027-03-01"]

"""Endpoints and providers over HTTP with their policies and health, and the models that one account may use."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.process import Fake
from tests.path.client import ask
from tests.path.shelf import MINE, PREFIXES, Here, rule, shelf


@pytest.fixture(scope="module")
def here(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with shelf(fake, tmp_path_factory.mktemp("catalog-api")) as running:
        yield running


# Endpoints and providers


def test_an_endpoint_has_its_price_policy_and_region(here: Here) -> None:
    found = here.data("models/zeta/count/endpoints")
    assert found.keys() == {"id", "name", "created", "description", "architecture", "endpoints"}
    cheap, none = found["endpoints"]
    assert (cheap["id"], cheap["tag"], cheap["provider_name"]) == ("keeps-all/zeta/count", "keeps-all", "keeps-all")
    assert cheap["data_policy"] == {"trains": True, "retention_days": 30, "zdr": False, "source": None, "date": None}
    assert (cheap["region"], cheap["quantization"], cheap["max_completion_tokens"]) == (["eu", "us"], None, None)
    assert none["data_policy"] == {
        "trains": False, "retention_days": 0, "zdr": True, "source": "https://none.example/policy", "date": "2026-05-04",
    }  # fmt: skip
    assert (none["quantization"], none["max_completion_tokens"], none["region"]) == ("fp8", 500, ["eu"])
    prices = {"prompt": "0.0000005", "completion": "0.000001", "input_cache_read": "0.0000001", "request": "0", "discount": 0}
    assert prices.items() <= none["pricing"].items()
    assert none["supported_parameters"] == ["max_completion_tokens", "max_tokens", "temperature", "top_k"]
    assert none["supports_tool_choice"] == dict.fromkeys(("auto", "function", "none", "required"), False)
    assert none["supports_implicit_caching"] is True


def test_an_endpoint_s_own_policy_counts_and_names_its_own_source(here: Here) -> None:
    (deep,) = here.data("models/zeta/deep/endpoints/endpoints")["endpoints"]
    assert deep["data_policy"] == {
        "trains": False, "retention_days": 0, "zdr": True, "source": "https://all.example/zero", "date": "2026-06-07",
    }  # fmt: skip


def test_the_zdr_list_has_only_what_is_known_to_keep_nothing(here: Here) -> None:
    found = here.data("endpoints/zdr")
    assert all(each["data_policy"]["zdr"] for each in found)
    assert {each["id"] for each in found if each["model_id"].startswith(("zeta/", "acme/"))} == {
        "keeps-none/zeta/count", "keeps-all/zeta/deep/endpoints", "keeps-none/zeta/vectors", "keeps-none/acme/dear",
    }  # fmt: skip


def test_health_is_what_this_process_has_seen_and_null_before(here: Here, fake: Fake) -> None:
    def seen() -> dict[str, Any]:
        (found,) = here.get("models/acme/dear/endpoints").json()["data"]["endpoints"]
        return dict(found)

    unknown = dict.fromkeys(("uptime_last_5m", "uptime_last_30m", "uptime_last_1d", "latency_last_30m", "throughput_last_30m"))
    before = seen()
    assert {**unknown, "status": 0}.items() <= before.items()
    fake.fault("dear", fault="slow-first-token", ms=300)
    for _ in range(3):
        assert ask(here.tollway.port, here.account.key, "acme/dear", max_tokens=5).status == 200
    time.sleep(0.3)  # its figures are computed anew at most four times a second
    after = seen()
    assert after["latency_last_30m"].keys() == after["throughput_last_30m"].keys() == {"p50", "p75", "p90", "p99"}
    fake.reset()
    assert 280 < after["latency_last_30m"]["p50"] <= after["latency_last_30m"]["p99"] < 30_000, "milliseconds"
    assert after["throughput_last_30m"]["p50"] >= after["throughput_last_30m"]["p99"] > 0
    assert (after["uptime_last_5m"], after["status"]) == (None, 0), "three answers are no uptime"


def test_providers_have_what_is_known_of_them_and_null_for_the_rest(here: Here) -> None:
    found = {provider["slug"]: provider for provider in here.data("providers")}
    assert found["keeps-none"] == {
        "name": "Keeps None", "slug": "keeps-none", "privacy_policy_url": "https://none.example/privacy", "terms_of_service_url": None,
        "status_page_url": "https://none.example/status", "headquarters": "DE", "datacenters": ["DE", "FR"], "region": ["eu"],
        "data_policy": {"trains": False, "retention_days": 0, "zdr": True, "source": "https://none.example/policy", "date": "2026-05-04"},
    }  # fmt: skip
    assert found["keyed"] == {
        "name": "keyed", "slug": "keyed", "privacy_policy_url": None, "terms_of_service_url": None, "status_page_url": None,
        "headquarters": None, "datacenters": None, "region": None,
        "data_policy": {"trains": None, "retention_days": None, "zdr": False, "source": None, "date": None},
    }  # fmt: skip
    assert list(found) == sorted(found)


# What one account may use


@pytest.mark.parametrize(("rules", "ids"), [
    ({}, MINE),
    ({"zdr": True}, ["zeta/count", "zeta/deep/endpoints", "acme/dear"]),
    ({"data_collection": "deny", "ignored_providers": ["keeps-none"]}, ["zeta/deep/endpoints"]),
    ({"ignored_models": ["zeta/*"]}, ["acme/dear"]),
    ({"allowed_models": ["zeta/count"]}, ["zeta/count"]),
    ({"allowed_providers": ["keeps-all"]}, ["zeta/count", "zeta/deep/endpoints"]),
    ({"region": "eu"}, ["zeta/count", "acme/dear"]),
    ({"max_price": {"prompt": 1}}, ["zeta/count", "zeta/deep/endpoints"]),
    ({"provider": {"quantizations": ["fp8"]}}, ["zeta/count"]),
    ({"provider": {"only": ["nobody"]}}, []),
])  # fmt: skip
def test_models_for_a_key_are_those_a_plain_chat_would_be_offered(here: Here, rules: dict[str, Any], ids: list[str]) -> None:
    owner = here.tollway.account()
    rule(here, owner, rules)
    assert here.ids(path="models/user", key=owner.key) == ids
    for id in MINE:
        status = ask(here.tollway.port, owner.key, id, max_tokens=2).status
        assert (status == 200) == (id in ids), (id, status)


def test_models_for_a_key_show_the_price_of_what_is_left_and_take_the_filters(here: Here) -> None:
    owner = here.tollway.account()
    rule(here, owner, {"zdr": True})
    (count,) = [model for model in here.data("models/user", owner.key) if model["id"] == "zeta/count"]
    assert count["pricing"]["prompt"] == "0.0000005"
    assert here.get("models/zeta/count").json()["pricing"]["prompt"] == "0.0000002"
    assert here.ids("max_price=0.4", "models/user", owner.key) == ["zeta/deep/endpoints"]
    assert here.get("models/user?limit=1", key=owner.key).json()["links"]["next"].startswith("/v1/models/user?")


def test_an_own_provider_key_brings_the_models_that_need_one(here: Here) -> None:
    owner = here.tollway.account()
    assert "acme/keyed" not in here.ids(path="models/user", key=owner.key)
    bearer = {"authorization": f"Bearer {owner.key}"}
    added = httpx.post(
        f"{here.tollway.base_url}/account/provider-keys", json={"provider": "keyed", "key": "sk-mine-of-a-customer"}, headers=bearer
    )
    assert added.status_code == 201, added.text
    assert "acme/keyed" in here.ids(path="models/user", key=here.tollway.cli_json("key", "create", "--account", owner.account_id)["key"])
    assert here.get("models/acme/keyed").status_code == 404, "for others it still needs the operator's key"


@pytest.mark.parametrize("path", [
    "models", "models/count", "models/zeta/count", "models/zeta/count/endpoints", "model/zeta/count", "embeddings/models", "endpoints/zdr",
    "providers",
])  # fmt: skip
def test_the_catalog_is_public_and_a_bad_key_does_not_matter(here: Here, path: str) -> None:
    for key in ("", "sk-tw-v1-no", here.account.key):
        assert here.get(path, key=key).status_code == 200
    document = here.get("../openapi.json").json()
    generic = path.replace("zeta/count/endpoints", "{author}/{slug}/endpoints").replace("zeta/count", "{id}")
    assert {f"{prefix}/{generic}" for prefix in PREFIXES} <= {known.rstrip("/") for known in document["paths"]}

"""Models over HTTP: by filters and in pages, by ids with slashes and variants, and none that has ended."""

from collections.abc import Iterator

import httpx
import pytest

from tests.fakes.process import Fake
from tests.path.shelf import MINE, Here, shelf


@pytest.fixture(scope="module")
def here(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with shelf(fake, tmp_path_factory.mktemp("catalog-api")) as running:
        yield running


@pytest.mark.parametrize(("query", "ids"), [
    ("", MINE),
    ("output_modalities=all", ["zeta/count", "zeta/deep/endpoints", "zeta/vectors", "acme/dear"]),
    ("output_modalities=embeddings", ["zeta/vectors"]),
    ("output_modalities=text,embeddings", []),
    ("input_modalities=text,file", ["zeta/deep/endpoints"]),
    ("input_modalities=image", MINE),
    ("q=COUNT", ["zeta/count"]),
    ("q=acme/d", ["acme/dear"]),
    ("q=nothing-like-it", []),
    ("supported_parameters=top_k", ["zeta/count"]),
    ("supported_parameters=tools,temperature", MINE),
    ("supported_parameters=tools,top_a", []),
    ("context=64000", ["zeta/deep/endpoints", "acme/dear"]),
    ("min_price=0.2&max_price=30", ["zeta/count", "acme/dear"]),
    ("max_price=0.199999", ["zeta/deep/endpoints"]),
    ("min_price=30", ["acme/dear"]),
    ("min_output_price=0.4&max_output_price=0.4", ["zeta/count"]),
    ("min_age_days=365", ["zeta/deep/endpoints"]),
    ("max_age_days=99999", ["zeta/count", "zeta/deep/endpoints"]),
    ("providers=Keeps%20None", ["zeta/count", "acme/dear"]),
    ("providers=keeps-all,keyed", ["zeta/count", "zeta/deep/endpoints"]),
    ("model_authors=acme", ["acme/dear"]),
    ("model_authors=ACME,zeta", MINE),
    ("zdr=true", MINE),
    ("zdr=false", MINE),
    ("zdr=true&providers=keeps-all", ["zeta/deep/endpoints"]),
    ("region=eu", ["zeta/count", "acme/dear"]),
    ("region=us", []),
    ("region=eu&providers=keeps-all", []),
    ("sort=context-high-to-low", ["acme/dear", "zeta/deep/endpoints", "zeta/count"]),
    ("sort=pricing-low-to-high", ["zeta/deep/endpoints", "zeta/count", "acme/dear"]),
    ("sort=pricing-high-to-low", ["acme/dear", "zeta/count", "zeta/deep/endpoints"]),
    ("sort=newest", ["zeta/count", "zeta/deep/endpoints", "acme/dear"]),
    ("sort=latency-low-to-high&q=zeta", ["zeta/count", "zeta/deep/endpoints"]),
    ("sort=throughput-high-to-low&q=acme", ["acme/dear"]),
])  # fmt: skip
def test_each_filter_keeps_what_it_says(here: Here, query: str, ids: list[str]) -> None:
    assert here.ids(query) == ids
    assert here.data(f"models/count?{query}") == {"count": len(here.data(f"models?{query}"))}


WRONG = [
    ("offset=-1", "offset"), ("offset=x", "offset"), ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=", "limit"),
    ("category=programming", "category"), ("arch=GPT", "arch"), ("use_rss=true", "use_rss"), ("distillable=true", "distillable"),
    ("min_intelligence_index=1", "min_intelligence_index"), ("sort=top-weekly", "sort"), ("sort=", "sort"),
    ("supported_parameters=colour", "supported_parameters"), ("supported_parameters=", "supported_parameters"),
    ("input_modalities=smell", "input_modalities"), ("output_modalities=smell", "output_modalities"), ("q=", "q"),
    (f"q={'x' * 201}", "q"), ("context=0", "context"), ("context=1.5", "context"), ("min_price=x", "min_price"),
    ("max_price=-1", "max_price"), ("max_price=NaN", "max_price"), ("max_price=0.0000001", "max_price"),
    (f"max_price={'9' * 5000}", "max_price"), ("min_output_price=", "min_output_price"), ("max_output_price=1e99", "max_output_price"),
    ("min_age_days=-1", "min_age_days"), ("max_age_days=x", "max_age_days"), ("providers=nobody", "providers"),
    ("providers=keeps-all,,", "providers"), ("model_authors=nobody", "model_authors"), ("zdr=yes", "zdr"), ("region=mars", "region"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "param"), WRONG, ids=[f"{number}-{param}" for number, (_, param) in enumerate(WRONG)])
def test_a_filter_that_cannot_be_kept_is_400_and_named(here: Here, query: str, param: str) -> None:
    paging = param in ("offset", "limit")
    for path in ("models", *(() if paging else ("models/count",)), *(("embeddings/models",) if paging else ())):
        refused = here.get(f"{path}?{query}")
        error = refused.json()["error"]
        assert (refused.status_code, error["param"], error["metadata"]["error_type"]) == (400, param, "invalid_request")
        assert error["message"].startswith(param)
    refused = here.get(f"models/user?{query}", key=here.account.key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_pages_follow_each_other_to_the_last_one(here: Here) -> None:
    whole = here.get("models?output_modalities=all", "/api/v1").json()
    assert (whole["total_count"], whole["links"]) == (len(whole["data"]), {"next": None})
    path, found = "/api/v1/models?output_modalities=all&limit=2&sort=context-high-to-low", []
    while path:
        page = httpx.get(f"http://127.0.0.1:{here.tollway.port}{path}", timeout=30).json()
        assert (page["total_count"], len(page["data"]) <= 2) == (whole["total_count"], True)
        found += [model["id"] for model in page["data"]]
        path = page["links"]["next"]
    assert sorted(found) == sorted(model["id"] for model in whole["data"])
    assert here.get("models?offset=100000").json()["data"] == []
    total = here.get("models").json()["total_count"]
    for limit, more in ((total - 1, True), (total, False)):
        assert (here.get(f"models?limit={limit}").json()["links"]["next"] is not None) == more


def test_a_model_that_ends_says_when_and_one_that_has_ended_is_not_offered(here: Here) -> None:
    dear = here.get("models/acme/dear").json()
    assert (dear["expiration_date"], dear["successor"]) == ("2999-03-01", "zeta/count")
    assert here.get("models/zeta/count").json()["expiration_date"] is None
    for path in ("models/acme/retired", "models/acme/retired/endpoints", "model/acme/retired"):
        assert here.get(path).status_code == 404


def test_a_model_says_what_its_providers_do_with_prompts(here: Here) -> None:
    """What nobody knows of an endpoint counts for neither; where it may process does, whatever else it does."""
    policies = {model["id"]: model["data_policy"] for model in here.data("models")}
    assert policies["zeta/count"] == {"endpoints": 2, "not_training": 1, "zdr": 1, "regions": ["eu", "us"]}
    assert policies["zeta/deep/endpoints"] == {"endpoints": 1, "not_training": 1, "zdr": 1, "regions": ["eu", "us"]}
    assert policies["acme/dear"] == here.get("models/acme/dear").json()["data_policy"]


def test_no_route_shadows_another_though_ids_contain_slashes(here: Here) -> None:
    assert here.data("models/count").keys() == {"count"}
    assert here.get("models/user").status_code == 401
    deep = here.get("models/zeta/deep/endpoints").json()
    assert (deep["id"], deep["object"]) == ("zeta/deep/endpoints", "model")
    assert [each["id"] for each in here.data("models/zeta/deep/endpoints/endpoints")["endpoints"]] == ["keeps-all/zeta/deep/endpoints"]
    assert here.data("models/zeta%2Fcount/endpoints")["id"] == here.data("models/zeta/count/endpoints")["id"] == "zeta/count"
    assert here.data("model/zeta/count") == here.get("models/zeta/count").json()
    for path in ("models/endpoints", "models/zeta/endpoints", "models/nothing/at/all", "model/nothing", "model/"):
        assert here.get(path).status_code == 404, path


@pytest.mark.parametrize(("id", "status"), [
    ("zeta/count:nitro", 200), ("zeta/count:floor", 200), ("zeta/count:free", 404), ("zeta/deep/endpoints:free", 200),
    ("zeta/count:nonsense", 404), (":free", 404),
])  # fmt: skip
def test_a_variant_is_its_model_and_free_only_what_is_free(here: Here, id: str, status: int) -> None:
    answer = here.get(f"model/{id}")
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["data"]["id"] == id.rpartition(":")[0]


def test_embeddings_models_are_those_that_answer_with_embeddings(here: Here) -> None:
    assert here.ids(path="embeddings/models") == ["zeta/vectors"]
    (vectors,) = [model for model in here.data("embeddings/models") if model["id"] == "zeta/vectors"]
    assert vectors["architecture"]["modality"] == "text->embeddings"
    page = here.get("embeddings/models?limit=1").json()
    assert (len(page["data"]), page["total_count"]) == (1, len(here.data("embeddings/models")))


def test_a_model_is_found_without_its_company(here: Here) -> None:
    for name in ("count", "count:nitro", "zeta/count"):
        assert here.data(f"model/{name}")["id"] == "zeta/count"
    assert here.data("models/dear/endpoints")["id"] == "acme/dear"
    assert here.get("models/coun").status_code == 404

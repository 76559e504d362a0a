"""A model that will end says so on every answer and in GET models; after its last day it is refused and its successor named."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.running import Tollway, tollway

ENDPOINT = '[[endpoint]]\nmodel = "acme/{id}"\nprovider = "acme"\nprice = {{ prompt = "1", completion = "2" }}\n'
MODEL = '[[model]]\nid = "acme/{id}"\ncontext_length = 8192\n{more}\n' + ENDPOINT
ENDS = 'deprecated = 2999-01-01\nsuccessor = "acme/next"'
CATALOG = (
    '[[provider]]\nslug = "acme"\ndialect = "echo"\n'
    + MODEL.format(id="ends", more=ENDS)
    + MODEL.format(id="ends-alone", more="deprecated = 2999-01-01")
    + MODEL.format(id="next", more="")
    + MODEL.format(id="over", more='deprecated = 2020-01-01\nsuccessor = "acme/next"')
    + MODEL.format(id="over-alone", more="deprecated = 2020-01-01")
)
HEADER = "x-tollway-deprecated"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tollway, httpx.Client]]:
    folder = tmp_path_factory.mktemp("deprecated")
    (folder / "catalog.toml").write_text(CATALOG)
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/tollway.db", "TOLLWAY_CATALOG": str(folder / "catalog.toml")}
    with tollway(settings, folder) as here:
        bearer = {"authorization": f"Bearer {here.account().key}"}
        with httpx.Client(base_url=here.base_url, headers=bearer, timeout=30) as client:
            yield here, client


@pytest.fixture
def http(running: tuple[Tollway, httpx.Client]) -> httpx.Client:
    return running[1]


def ask(http: httpx.Client, model: str, **more: Any) -> httpx.Response:
    return http.post("/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "one two"}], **more})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "header"),
    [("acme/ends", "2999-01-01; successor=acme/next"), ("acme/ends-alone", "2999-01-01"), ("acme/next", None), ("tollway/echo", None)],
)
def test_every_answer_of_a_model_that_will_end_says_when(http: httpx.Client, model: str, header: str | None, stream: bool) -> None:
    answer = ask(http, model, stream=stream)
    assert answer.status_code == 200
    assert answer.headers.get(HEADER) == header


def test_the_header_is_that_of_the_model_which_answers(http: httpx.Client) -> None:
    assert HEADER not in ask(http, "acme/over", models=["acme/over-alone", "acme/next"]).headers
    assert ask(http, "acme/over", models=["acme/ends"]).headers[HEADER].startswith("2999-01-01")


@pytest.mark.parametrize(("model", "successor"), [("acme/over", "acme/next"), ("acme/over-alone", None), ("acme/over:nitro", "acme/next")])
def test_after_its_last_day_a_model_is_refused_with_its_successor(http: httpx.Client, model: str, successor: str | None) -> None:
    answer = ask(http, model)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, 404, "model")
    assert error["metadata"] == {"error_type": "model_deprecated", "deprecated": "2020-01-01", "successor": successor}
    assert error["message"].startswith(f"{model.removesuffix(':nitro')} was offered until 2020-01-01. ")
    assert (f"Use {successor} instead." if successor else "GET /v1/models lists what can be used.") in error["message"]


def test_a_fallback_that_is_over_is_left_out_of_the_list(http: httpx.Client) -> None:
    for models in (["acme/over", "acme/next"], ["acme/next", "acme/over"]):
        answer = ask(http, models[0], models=models[1:])
        assert (answer.status_code, answer.json()["model"]) == (200, "acme/next")


def test_models_that_are_over_are_not_listed_and_those_that_will_end_say_when(http: httpx.Client) -> None:
    listed = {model["id"]: model["expiration_date"] for model in http.get("/models").json()["data"] if model["id"].startswith("acme/")}
    assert listed == {"acme/ends": "2999-01-01", "acme/ends-alone": "2999-01-01", "acme/next": None}
    assert http.get("/models/acme/over").status_code == 404


def test_a_route_that_nobody_takes_explains_the_same(running: tuple[Tollway, httpx.Client], http: httpx.Client) -> None:
    here, _ = running
    answer = http.post("/route/explain", json={"model": "acme/over"})
    assert (answer.status_code, answer.json()["error"]["metadata"]["error_type"]) == (404, "model_deprecated")
    done = here.cli("route", "explain", "--model", "acme/over")
    assert (done.returncode, done.stderr) == (1, "tollway: acme/over was offered until 2020-01-01. Use acme/next instead.\n")
    shown = here.cli("catalog", "show").stdout
    assert "offered until 2999-01-01" in shown


def test_nothing_is_charged_for_a_model_that_is_over(http: httpx.Client) -> None:
    before = http.get("/credits").json()["data"]["total_usage"]
    ask(http, "acme/over")
    assert http.get("/credits").json()["data"]["total_usage"] == before

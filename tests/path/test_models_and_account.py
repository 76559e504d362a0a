"""GET models, key, credits, generation, health and the API document, and the JSON of what does not exist, over a real socket."""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from jsonschema import Draft202012Validator
from openai.types import Model

from tests.path.sdk_fixtures import ECHO, FAST, Account, Place, exact, place, price_of
from tests.running import SECRET

PREFIXES = ("/v1", "/api/v1")
ROUTES = ("chat/completions", "models", "models/{id}", "key", "auth/key", "credits", "generation", "generation/content")
USD_PER_TOKEN = re.compile(r"0|0\.\d{1,12}|\d+")
KEY_FIELDS = {
    "label", "limit", "limit_remaining", "limit_reset", "include_byok_in_limit", "usage", "usage_daily", "usage_weekly", "usage_monthly",
    "byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly", "is_free_tier", "is_management_key",
    "is_provisioning_key", "creator_user_id", "rate_limit", "free_model_daily_requests", "allowed_data_regions", "organization_id",
    "workspace_id", "budgets", "effective_budget", "data_policy",
}  # fmt: skip
"""The 24 that OpenRouter's own SDK requires, and our `data_policy`; `expires_at` may stand beside them."""
MODEL_FIELDS = {
    "architecture", "canonical_slug", "context_length", "created", "default_parameters", "id", "links", "name", "per_request_limits",
    "pricing", "supported_parameters", "supported_voices", "top_provider",
}  # fmt: skip
"""What OpenRouter's own SDK requires, null or not."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("account")) as running:
        yield running


@pytest.fixture(scope="module")
def http(here: Place) -> Iterator[httpx.Client]:
    """With the owner's key. Whatever is asked through it, the response has a new request id and does not name its server."""
    ids: set[str] = set()

    def check(response: httpx.Response) -> None:
        (id,) = response.headers.get_list("x-request-id")
        assert re.fullmatch(r"req_\w{16,64}", id)
        assert id not in ids
        ids.add(id)
        assert "server" not in response.headers

    bearer = {"authorization": f"Bearer {here.account.key}"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{here.tollway.port}", headers=bearer, event_hooks={"response": [check]}, timeout=30
    ) as client:
        yield client


def data(http: httpx.Client, path: str, key: str | None = None) -> Any:
    response = http.get(path, headers={"authorization": f"Bearer {key}"} if key else {})
    assert response.status_code == 200, response.text
    return exact(response.text)["data"]


def ask(here: Place, account: Account, model: str = ECHO, **more: Any) -> openai.types.chat.ChatCompletion:
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=account.key, max_retries=0) as client:
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "one two three"}], **more)


def test_models_are_public_and_have_every_field_that_clients_require(http: httpx.Client) -> None:
    pages = [http.get(f"{prefix}/models", headers={"authorization": ""}) for prefix in PREFIXES]
    assert pages[0].json() == pages[1].json()
    page = pages[0].json()
    assert (page["object"], page["total_count"], page["links"]) == ("list", len(page["data"]), {"next": None})
    assert {ECHO, FAST} <= {model["id"] for model in page["data"]}
    for model in page["data"]:
        Model.model_validate(model, strict=True)
        assert model.keys() >= MODEL_FIELDS
        assert all(USD_PER_TOKEN.fullmatch(rate) for rate in model["pricing"].values())
        assert model["architecture"].keys() >= {"modality", "input_modalities", "output_modalities", "tokenizer", "instruct_type"}
        assert model["top_provider"].keys() >= {"context_length", "max_completion_tokens", "is_moderated"}
        assert model["links"]["details"]
    fast = next(model for model in page["data"] if model["id"] == FAST)
    assert (fast["pricing"]["prompt"], fast["pricing"]["completion"]) == ("0.0000001537", "0.0000006179")
    assert {"tools", "response_format", "structured_outputs", "max_tokens"} <= set(fast["supported_parameters"])
    assert not [model for model in page["data"] if model["id"].startswith("openai/")], "a model whose provider has no key is not offered"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_model_is_found_with_its_slash_plain_or_escaped(http: httpx.Client, prefix: str) -> None:
    listed = {model["id"]: model for model in http.get(f"{prefix}/models").json()["data"]}
    for id in (ECHO, ECHO.replace("/", "%2F"), ECHO.replace("/", "%2f")):
        assert http.get(f"{prefix}/models/{id}").json() == listed[ECHO]
    for unknown in ("tollway/ecko", "tollway%2Fecko", "nothing", "openai/gpt-4o"):
        error = refused(http.get(f"{prefix}/models/{unknown}"), 404)
        assert error["metadata"]["error_type"] == "not_found"
    assert ECHO in refused(http.get(f"{prefix}/models/tollway/ecko"), 404)["message"]


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error object of a refusal, in the one shape there is."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code", "metadata"}
    assert error["code"] == status
    return error


def test_a_key_tells_its_limit_and_what_it_has_used(http: httpx.Client, here: Place) -> None:
    made = here.new_key(limit="0.5", reset="weekly", expires="2099-01-31T12:00:00Z", requests_per_minute=90, name="ci")
    limited = Account(here.account.account_id, made)
    used = Decimal(str(ask(here, limited).usage.cost))  # type: ignore[union-attr]
    found = [data(http, f"{prefix}/{path}", made) for prefix in PREFIXES for path in ("key", "auth/key")]
    assert all(key == found[0] for key in found)
    key = found[0]
    assert key.keys() == KEY_FIELDS | {"expires_at"}
    assert (key["limit"], key["limit_remaining"], key["limit_reset"]) == (Decimal("0.5"), Decimal("0.5") - used, "weekly")
    assert [key[name] for name in ("usage", "usage_daily", "usage_weekly", "usage_monthly")] == [used] * 4
    assert key["expires_at"] == "2099-01-31T12:00:00.000Z"
    assert key["rate_limit"]["requests"] == 90
    assert made not in str(key)
    assert (key["label"][:12], key["label"][-4:]) == (made[:12], made[-4:])
    owner = data(http, "/v1/key")
    assert (owner["limit"], owner["limit_remaining"], owner["expires_at"], owner["rate_limit"]["requests"]) == (None, None, None, -1)
    (own,) = key["budgets"]
    assert own == key["effective_budget"]
    assert (own["scope"], own["limit_usd"], own["spend_usd"], own["remaining_usd"]) == (
        "key_limit",
        key["limit"],
        used,
        key["limit_remaining"],
    )
    assert (own["reset_interval"], own["resets_at"] > "2026", own["include_byok"]) == ("weekly", True, False)
    assert (owner["budgets"], owner["effective_budget"], owner["is_free_tier"]) == ([], None, False)
    assert data(http, "/v1/key", here.new_account("0").key)["is_free_tier"] is True
    manager = data(http, "/v1/key", here.new_key(management=True))
    assert manager["is_management_key"] is manager["is_provisioning_key"] is True


def test_credits_are_what_was_deposited_and_what_was_charged(http: httpx.Client, here: Place) -> None:
    account = here.new_account("0.123456789")
    assert data(http, "/v1/credits", account.key) == {"total_credits": Decimal("0.123456789"), "total_usage": 0}
    used = sum(Decimal(str(ask(here, account, model).usage.cost)) for model in (ECHO, FAST))  # type: ignore[union-attr]
    for prefix in PREFIXES:
        assert data(http, f"{prefix}/credits", account.key) == {"total_credits": Decimal("0.123456789"), "total_usage": used}


@pytest.mark.parametrize("model", [ECHO, FAST])
def test_a_generation_recomputes_to_its_cost(http: httpx.Client, here: Place, model: str) -> None:
    answer = ask(here, here.account, model)
    found = data(http, f"/v1/generation?id={answer.id}")
    assert found == data(http, f"/api/v1/generation?id={answer.id}")
    assert answer.usage
    assert (found["id"], found["model"], found["streamed"], found["finish_reason"]) == (answer.id, model, False, "stop")
    assert (found["tokens_prompt"], found["tokens_completion"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    arithmetic = found["cost_arithmetic"]
    total = sum(line["units"] * Decimal(line["usd_per_unit"]) for line in arithmetic["lines"])
    assert total == Decimal(arithmetic["total_usd"]) == found["total_cost"] + Decimal(arithmetic["remainder_usd"])
    assert 0 <= Decimal(arithmetic["remainder_usd"]) < Decimal("0.000000001")
    assert found["total_cost"] == price_of(model, answer.usage.model_dump()) <= found["hold"]
    assert found["latency"] <= found["generation_time"]
    assert datetime.fromisoformat(found["created_at"]).timestamp() == pytest.approx(answer.created, abs=1)
    (attempt,) = found["provider_responses"]
    assert (attempt["status"], attempt["endpoint_id"]) == (200, f"{found['provider_name']}/{model}")


def test_a_generation_of_another_account_does_not_exist(http: httpx.Client, here: Place) -> None:
    stranger = here.new_account("0")
    id = ask(here, here.account).id
    unknown = refused(http.get("/v1/generation?id=gen-1-abc"), 404)
    assert refused(http.get(f"/v1/generation?id={id}", headers={"authorization": f"Bearer {stranger.key}"}), 404) == unknown
    assert refused(http.get("/v1/generation"), 400)["param"] == "id"


def test_no_content_of_a_generation_is_kept_and_the_answer_says_why(http: httpx.Client, here: Place) -> None:
    stranger = here.new_account("0")
    id = ask(here, here.account).id
    for prefix in PREFIXES:
        kept = refused(http.get(f"{prefix}/generation/content?id={id}"), 404)
        assert (kept["param"], kept["metadata"]["error_type"]) == ("id", "not_found")
        assert "off for this account" in kept["message"]
        unknown = refused(http.get(f"{prefix}/generation/content?id=gen-1-abc"), 404)
        assert unknown["message"] != kept["message"]
        theirs = http.get(f"{prefix}/generation/content?id={id}", headers={"authorization": f"Bearer {stranger.key}"})
        assert refused(theirs, 404) == unknown
        for query in ("", "?id="):
            assert refused(http.get(f"{prefix}/generation/content{query}"), 400)["param"] == "id"
        assert refused(http.get(f"{prefix}/generation/content?id=%00"), 404) == unknown


@pytest.mark.parametrize("path", ["key", "auth/key", "credits", "generation?id=gen-1-abc", "generation/content?id=gen-1-abc"])
def test_account_routes_want_a_key(http: httpx.Client, path: str) -> None:
    for authorization in ("", "Bearer", "Bearer sk-tw-v1-x", "Basic dXNlcjpwYXNz", "Bearer ключ".encode()):
        error = refused(http.get(f"/v1/{path}", headers={b"authorization": authorization}), 401)  # type: ignore[dict-item]
        assert error["type"] == "authentication_error"
    refused(http.post("/v1/chat/completions", content=b"{}", headers={b"authorization": "Bearer ключ".encode()}), 401)


def test_health_answers_without_a_key(http: httpx.Client) -> None:
    for path, status in (("/health/live", "live"), ("/health/ready", "ready")):
        assert http.get(path, headers={"authorization": ""}).json() == {"status": status}


def test_what_does_not_exist_is_refused_in_json(http: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404), ("POST", "/v1/nothing", 404), ("GET", "/v2/models", 404), ("GET", "/v1/models/a/b/c", 404),
        ("GET", "/v1/chat/completions", 405), ("DELETE", "/api/v1/chat/completions", 405), ("POST", "/v1/models", 405),
        ("PUT", "/api/v1/key", 405), ("POST", "/health/live", 405),
    ):  # fmt: skip
        response = http.request(method, path)
        error = refused(response, status)
        assert error["metadata"]["error_type"] == ("not_found" if status == 404 else "invalid_request")
        assert status == 404 or ("POST" if path.endswith("completions") else "GET") in response.headers["allow"]


def test_the_api_document_is_valid_and_lists_every_route(http: httpx.Client) -> None:
    document = http.get("/openapi.json", headers={"authorization": ""}).json()
    assert document["openapi"].startswith("3.1")
    assert document["info"].keys() >= {"title", "version"}
    wanted = {f"{prefix}/{route}" for prefix in PREFIXES for route in ROUTES}
    assert {path.rstrip("/") for path in document["paths"]} >= wanted | {"/health/live", "/health/ready"}
    operations = [(path, operation) for path, item in document["paths"].items() for operation in item.values()]
    assert all(operation["responses"] and operation["summary"] for _, operation in operations)
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids)), "operation ids are unique"
    for path, operation in operations:
        declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in re.findall(r"#/components/schemas/([^\"']+)", str(document)):
        assert reference in document["components"]["schemas"]
    assert SECRET not in str(document)

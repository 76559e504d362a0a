"""The one table from errors to HTTP: no error is forgotten, none says too much."""

import datetime
import json
from collections.abc import Iterator

import msgspec
import pytest

import metering.errors
import policy.errors
import providers.errors
from gateway.errors import TYPES, BadRequest, Busy, Problem, problem, provider_problem
from gateway.oidc import Unreachable
from metering.errors import DatabaseUnavailable, InsufficientCredits, LedgerBusy, MeteringError, UnknownAccount
from policy.errors import (
    AlreadyAsked,
    Forbidden,
    InvalidField,
    InvalidKey,
    InvalidOwnKey,
    InvalidPreferences,
    InvalidPrivacy,
    InvalidRules,
    KeyReused,
    LimitExceeded,
    ModelDeprecated,
    NoEndpoint,
    PolicyError,
    SealBroken,
    SignInRefused,
    TooManyAttempts,
    Unauthenticated,
    UnknownModel,
    UnknownPreset,
    WrongState,
)
from policy.sign_in import Unconfirmed
from providers.content import Content
from providers.errors import (
    ConnectFailed,
    Inexpressible,
    ProviderInvalidAnswer,
    ProviderOverloaded,
    ProviderRefusedKey,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRefused,
    from_status,
)
from providers.sse import EventTooLarge

SECRET = "sk-operator-secret at https://10.0.0.1/v1 of org-operator"
EXAMPLES: dict[type[Exception], tuple[Exception, int]] = {
    Unauthenticated: (Unauthenticated("no"), 401),
    Forbidden: (Forbidden("no"), 403),
    UnknownModel: (UnknownModel("x", ["acme/y"]), 400),
    ModelDeprecated: (ModelDeprecated("acme/x", datetime.date(2027, 3, 1), "acme/y"), 404),
    NoEndpoint: (NoEndpoint("none", [{"step": "s", "endpoint_count": 0}], "s"), 404),
    InvalidRules: (InvalidRules("zdr: no"), 400),
    InvalidOwnKey: (InvalidOwnKey("key", "no"), 400),
    InvalidKey: (InvalidKey("name", "no"), 400),
    InvalidField: (InvalidField("password", "no"), 400),
    SignInRefused: (SignInRefused("no"), 401),
    Unconfirmed: (Unconfirmed(None), 401),
    Unreachable: (Unreachable("no JSON"), 401),
    TooManyAttempts: (TooManyAttempts(7), 429),
    InvalidPrivacy: (InvalidPrivacy("logging: no"), 400),
    WrongState: (WrongState("closing", "no"), 409),
    SealBroken: (SealBroken("provider_key"), 500),
    UnknownPreset: (UnknownPreset("preset", "cheep", ["cheap"]), 400),
    InvalidPreferences: (InvalidPreferences("provider: no"), 400),
    LimitExceeded: (LimitExceeded("requests per minute", 3, 7), 429),
    AlreadyAsked: (AlreadyAsked("gen-1", 262_650), 409),
    KeyReused: (KeyReused("gen-1"), 422),
    UnknownAccount: (UnknownAccount("no account"), 404),
    DatabaseUnavailable: (DatabaseUnavailable("SQLite: locked"), 503),
    LedgerBusy: (LedgerBusy("full"), 503),
    InsufficientCredits: (InsufficientCredits(scope=None, required=5, least=4, available=3, held=0), 402),
    ConnectFailed: (ConnectFailed("x"), 502),
    ProviderTimeout: (ProviderTimeout("x"), 504),
    ProviderOverloaded: (ProviderOverloaded("x", status=429, retry_after_seconds=9), 429),
    ProviderUnavailable: (ProviderUnavailable("x", status=500), 502),
    ProviderInvalidAnswer: (ProviderInvalidAnswer("x"), 502),
    EventTooLarge: (EventTooLarge("x", before=[]), 502),
    ProviderRefusedKey: (ProviderRefusedKey("x", status=401), 502),
    RequestRefused: (RequestRefused("x", status=422), 422),
    Inexpressible: (Inexpressible("messages[0].content[1]", "x"), 400),
    BadRequest: (BadRequest("x", param="n"), 400),
    Busy: (Busy("x"), 503),
}


def leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from leaves(child)


def test_every_error_of_the_packages_has_its_row() -> None:
    trees = (policy.errors.PolicyError, providers.errors.ProviderError, metering.errors.MeteringError)
    assert {error for tree in trees for error in leaves(tree)} <= EXAMPLES.keys()


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_an_error_becomes_its_status_in_the_one_shape(kind: type[Exception]) -> None:
    error, status = EXAMPLES[kind]
    found = problem(error)
    body = json.loads(msgspec.json.encode(found.body()))["error"]
    assert found.status == status == body["code"]
    assert body.keys() == {"message", "type", "param", "code", "metadata"}
    assert body["message"]
    assert body["type"] == TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    assert body["metadata"]["error_type"]
    assert all(isinstance(value, str) for value in found.headers.values())


@pytest.mark.parametrize(
    "error",
    [Exception(SECRET), ValueError(SECRET), KeyError(SECRET), PolicyError(SECRET), MeteringError(SECRET), MemoryError(), SystemExit(1)],
)
def test_an_error_that_nobody_foresaw_is_a_500_that_says_nothing(error: BaseException) -> None:
    found = problem(error)
    assert found.status == 500
    assert SECRET not in str(found.body())


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_provider_that_refuses_our_key_is_a_502_without_its_words(status: int) -> None:
    error = from_status(status, code=SECRET, detail=Content(SECRET), retry_after_seconds=5)
    found = provider_problem(error, "Acme")
    assert found.status == 502
    assert SECRET not in str(found)


@pytest.mark.parametrize("status", [404, 408, 409, 425, 429, 500, 502, 503, 504, 524, 529])
def test_the_words_of_a_provider_that_failed_stay_here(status: int) -> None:
    found = provider_problem(from_status(status, detail=Content(SECRET)), "Acme")
    assert found.status in (429, 502, 503, 504)
    assert SECRET not in str(found)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_shows_the_provider_s_words_to_its_client(status: int) -> None:
    found = provider_problem(from_status(status, code="context_length_exceeded", detail=Content("maximum context length is 5")), "Acme")
    assert (found.status, found.message) == (status, "maximum context length is 5")
    assert found.metadata["error_type"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("error", "seconds"), [(LimitExceeded("tokens per minute", 5, 42), "42"), (from_status(429, retry_after_seconds=7), "7")]
)
def test_who_must_wait_is_told_how_long(error: Exception, seconds: str) -> None:
    found = problem(error)
    assert found.headers["retry-after"] == seconds
    assert found.metadata["retry_after_seconds"] == int(seconds)


@pytest.mark.parametrize(
    ("scope", "source", "word"),
    [
        (None, "tollway_credits", "balance"),
        ("key", "tollway_key_limit", "this key's limit"),
        ("member", "tollway_member_budget", "this member's budget"),
        ("project", "tollway_project_budget", "this project's budget"),
        ("account", "tollway_account_budget", "the account's budget"),
    ],
)
@pytest.mark.parametrize("available", [-5, 0, 7])
def test_a_402_says_what_is_needed_what_is_there_and_whose_it_is(scope: str | None, source: str, word: str, available: int) -> None:
    found = problem(InsufficientCredits(scope=scope, required=1_000_000_000, least=50, available=available, held=49))
    waits = available > 0 and scope is None
    assert found.metadata["limit_source"] == ("tollway_in_flight_budget" if waits else source)
    assert (found.metadata["required_nano"], found.metadata["available_nano"]) == (1_000_000_000, max(0, available))
    assert found.metadata["affordable_output_tokens"] == 0
    assert word in found.message
    assert "up to 1 USD" in found.message
    assert "-" not in found.message
    passes = available > 0
    assert found.metadata["reason"] == ("in_flight_budget_exhausted" if passes else "weight_exceeds_budget")
    assert ("retry-after" in found.headers) == passes


def test_a_model_of_any_length_is_quoted_in_part() -> None:
    assert len(problem(UnknownModel("x" * 100_000, [])).message) < 400


def test_a_problem_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Problem(400, "x").status = 200  # type: ignore[misc]


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refusal_of_the_customers_own_key_names_that_key(status: int) -> None:
    found = provider_problem(from_status(status, detail=Content(SECRET)), "Acme", "pk_1")
    assert found.status == 502
    assert "own key pk_1" in found.message
    assert (found.metadata["is_byok"], found.metadata["own_key_id"]) == (True, "pk_1")
    assert SECRET not in str(found.body())


def test_another_failure_with_the_customers_own_key_blames_no_key() -> None:
    found = provider_problem(from_status(500), "Acme", "pk_1")
    assert "own key" not in found.message
    assert found.metadata["is_byok"]
    assert "is_byok" not in provider_problem(from_status(500), "Acme").metadata

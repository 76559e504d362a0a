"""The one table from an error to HTTP: status, type, message, metadata and headers. No other file decides a status.

BadRequest, ClientGone and Busy are the gateway's own; everything else is raised in the words of the package that knows it.
Bodies are OpenAI's `{"error": {...}}`; `code` is the status, `metadata.error_type` OpenRouter's vocabulary, a provider's own code
stands in `metadata.provider_code`. A provider's 401, 402 or 403 is our 502: it says nothing about the client's key.
"""

import logging
from typing import Any, Final

import msgspec

from gateway.logs import frames
from metering.errors import DatabaseUnavailable, InsufficientCredits, LedgerBusy, UnknownAccount
from metering.money import format_usd, json_usd
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
    SignInRefused,
    TooManyAttempts,
    Unauthenticated,
    UnknownModel,
    UnknownPreset,
    WrongState,
)
from providers.errors import ProviderError, ProviderOverloaded, ProviderRefusedKey, ProviderTimeout, RequestRefused

_log = logging.getLogger("tollway.errors")

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class BadRequest(Exception):
    """The request cannot be understood; `param` names the field, the message says what to do."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400, error_type: str = "invalid_request") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.error_type = error_type


class Busy(Exception):
    """This process takes no more work at the moment; the text says why."""


class ClientGone(Exception):
    """The client left before its request was complete; there is nobody to answer."""


class Problem(msgspec.Struct, frozen=True):
    """An error as the client sees it."""

    status: int
    message: str
    metadata: dict[str, Any] = {}
    param: str | None = None
    headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.status, "metadata": self.metadata}
        return {"error": error}


def problem(error: BaseException) -> Problem:
    """What to tell the client about any error. An unknown one is a 500 that says nothing about its cause."""
    if isinstance(error, BadRequest):
        return Problem(error.status, error.message, {"error_type": error.error_type}, error.param)
    if isinstance(error, ProviderError):
        return provider_problem(error)
    if isinstance(error, InsufficientCredits):
        return _insufficient(error)
    if isinstance(error, LimitExceeded):
        return _limited(error)
    if isinstance(error, AlreadyAsked):
        return _already_asked(error)
    if isinstance(error, KeyReused):
        return _key_reused(error)
    if isinstance(error, NoEndpoint):
        metadata = {"error_type": "not_found", "routing_funnel": error.funnel, "failed_routing_step": error.failed_step}
        return Problem(404, error.message, metadata, "model")
    if isinstance(error, UnknownModel):
        return _unknown_model(error)
    if isinstance(error, ModelDeprecated):
        facts = {"error_type": "model_deprecated", "deprecated": error.ended.isoformat(), "successor": error.successor}
        return Problem(404, error.message, facts, "model")
    if isinstance(error, UnknownPreset):
        return _unknown_preset(error)
    if isinstance(error, InvalidRules):
        return Problem(400, error.message, {"error_type": "invalid_request"}, "rules")
    if isinstance(error, InvalidPrivacy):
        return Problem(400, error.message, {"error_type": "invalid_request"}, error.message.partition(":")[0])
    if isinstance(error, InvalidOwnKey | InvalidKey | InvalidField):
        return Problem(400, error.message, {"error_type": "invalid_request"}, error.param)
    if isinstance(error, InvalidPreferences):
        return Problem(400, error.message, {"error_type": "invalid_request"}, "provider")
    if isinstance(error, TooManyAttempts):
        limited = {"error_type": "rate_limit_exceeded", "retry_after_seconds": error.retry_after_seconds}
        return Problem(429, error.message, limited, headers={"retry-after": str(error.retry_after_seconds)})
    for kind, status, error_type in _PLAIN:
        if isinstance(error, kind):
            return Problem(
                status, getattr(error, "message", None) or str(error), {"error_type": error_type}, headers=_RETRY.get(status, {})
            )
    return Problem(500, "Internal error; nothing was charged for what was not delivered.", {"error_type": "server"})


def log_unforeseen(found: Problem, error: BaseException, where: str) -> None:
    """The class and the lines of our code for a 5xx of our own; never the message, which may quote a prompt."""
    if found.status >= 500:
        name, place = type(error).__name__, "generation_id" if where.startswith("gen-") else "route"
        _log.error("%s: %s", where, name, extra={place: where, "error_class": name, "traceback": frames(error.__traceback__)})


_PLAIN: Final[list[tuple[type[Exception], int, str]]] = [
    (Unauthenticated, 401, "authentication"),
    (SignInRefused, 401, "authentication"),
    (Forbidden, 403, "permission_denied"),
    (UnknownAccount, 404, "not_found"),
    (WrongState, 409, "conflict"),
    (Busy, 503, "provider_overloaded"),
    (LedgerBusy, 503, "provider_overloaded"),
    (DatabaseUnavailable, 503, "server"),
]
_RETRY: Final = {503: {"retry-after": "2"}}


def provider_problem(error: ProviderError, provider_name: str | None = None, own_key_id: str | None = None) -> Problem:
    """Pre-stream: the HTTP answer. Mid-stream: the error chunk. The provider's text is shown only where the request is at fault.

    `own_key_id` is the customer's own key that was used: a refusal of it is theirs to mend, so it is named.
    """
    metadata: dict[str, Any] = {"error_type": error.error_type, "provider_name": provider_name}
    if own_key_id is not None:
        metadata |= {"is_byok": True, "own_key_id": own_key_id}
    headers = {}
    if error.code and not isinstance(error, ProviderRefusedKey):
        metadata["provider_code"] = error.code
    if error.retry_after_seconds is not None and isinstance(error, ProviderOverloaded):
        metadata["retry_after_seconds"] = error.retry_after_seconds
        headers["retry-after"] = str(error.retry_after_seconds)
    if isinstance(error, RequestRefused):
        if error.code in ("context_length_exceeded", "content_filter"):
            metadata["error_type"] = {"content_filter": "content_policy_violation"}.get(error.code, error.code)
        message = error.detail.reveal() if error.detail else f"The provider refused this request ({error.summary})."
        return Problem(error.status or 400, message, metadata, error.param, headers)
    message = f"Provider failed: {error.summary}."
    if own_key_id is not None and isinstance(error, ProviderRefusedKey):
        message = f"{message} Your own key {own_key_id} was used there: check it with the provider, or replace it."
    return Problem(_provider_status(error), message, metadata, headers=headers)


def _provider_status(error: ProviderError) -> int:
    if isinstance(error, ProviderOverloaded):
        return 429 if error.status == 429 else 503
    return 504 if isinstance(error, ProviderTimeout) else 502


def _insufficient(error: InsufficientCredits) -> Problem:
    """Three kinds, by `reason` and `limit_source`: wait for running generations; add credits; raise a key's limit or another budget."""
    what, remedy, source = _BUDGETS[error.scope]
    reason, first = "weight_exceeds_budget", "shorten the prompt"
    if error.passes:
        reason, first = "in_flight_budget_exhausted", "wait for the requests that are running"
        source = "tollway_in_flight_budget" if error.scope is None else source
    message = (
        f"This request requires more credits: it needs up to {format_usd(error.required)} USD, at least {format_usd(error.least)}, but "
        f"{what} has {format_usd(max(0, error.available))} USD available, which affords 0 completion tokens after the prompt; "
        f"{format_usd(error.held)} USD are held by requests that are running. {first.capitalize()} or {remedy}."
    )
    metadata = {
        "error_type": "payment_required",
        "reason": reason,
        "limit_source": source,
        "affordable_output_tokens": 0,
        "required_nano": error.required,
        "least_nano": error.least,
        "available_nano": max(0, error.available),
        "held_nano": error.held,
        "remedy_hint": f"{first} or {remedy}",
    }
    return Problem(402, message, metadata, headers={"retry-after": IN_FLIGHT_SECONDS} if error.passes else {})


IN_FLIGHT_SECONDS: Final = "2"
"""By then an average generation has ended and freed what it held."""
_BUDGETS: Final = {
    None: ("the balance", "add credits", "tollway_credits"),
    "key": ("this key's limit", "raise the key's limit", "tollway_key_limit"),
    "member": ("this member's budget", "raise the member's budget", "tollway_member_budget"),
    "project": ("this project's budget", "raise the project's budget", "tollway_project_budget"),
    "account": ("the account's budget", "raise the account's budget", "tollway_account_budget"),
}


def credits_exhausted() -> Problem:
    """The end of a stream whose hold could not be extended."""
    message = "The credits ran out in the middle of the answer; what was delivered is charged. Add credits to get longer answers."
    metadata = {"error_type": "payment_required", "reason": "insufficient_credits", "remedy_hint": "add credits or raise the key's limit"}
    return Problem(402, message, metadata)


def _limited(error: LimitExceeded) -> Problem:
    seconds, (words, source) = error.retry_after_seconds, _LIMITED[error.whose]
    metadata = {"error_type": "rate_limit_exceeded", "limit_source": source, "retry_after_seconds": seconds}
    message = f"Rate limit exceeded: more than {error.limit} {error.what} {words}. Try again in {seconds} s."
    return Problem(429, message, metadata, headers={"retry-after": str(seconds)})


_LIMITED: Final = {
    "key": ("with this key", "tollway_key_limit"),
    "account": ("with all keys of this account", "tollway_account_limit"),
    "free_tier": ("before an account has paid credit", "tollway_free_tier_limit"),
}


def _already_asked(error: AlreadyAsked) -> Problem:
    """OpenAI's SDKs repeat a 409 by themselves: while the first request runs they may, after its end it would never help."""
    id, found = error.generation_id, {"generation_id": error.generation_id}
    headers = {"x-generation-id": id}
    if error.charge is None:
        message = (
            f"A request with this Idempotency-Key and body is still running as generation {id}; this repetition was not sent and costs "
            f"nothing. Wait for the first one, or ask again: GET /v1/generation?id={id} shows it as soon as it has ended."
        )
        running = {"error_type": "idempotency_in_progress", "reason": "still_running", **found}
        return Problem(409, message, running, headers={**headers, "retry-after": "1"})
    message = (
        f"The request with this Idempotency-Key and body has already run as generation {id} and cost {format_usd(error.charge)} USD; "
        f"nothing was charged again. GET /v1/generation?id={id} shows how it ended. For a new answer, which is charged, send a new "
        "Idempotency-Key."
    )
    ended = {"error_type": "idempotency_completed", "reason": "already_ended", **found, "cost": json_usd(error.charge)}
    return Problem(409, message, ended, headers={**headers, "x-should-retry": "false"})


def _key_reused(error: KeyReused) -> Problem:
    message = (
        f"Idempotency-Key: was used for another request of this account in the last 24 hours (generation {error.generation_id}), with "
        "another body or on another route. Nothing was sent or charged. Send a new key for a new request, or repeat the first unchanged."
    )
    metadata = {"error_type": "idempotency_key_reused", "reason": "other_body", "generation_id": error.generation_id}
    return Problem(422, message, metadata, "Idempotency-Key", {"x-generation-id": error.generation_id, "x-should-retry": "false"})


def _unknown_model(error: UnknownModel) -> Problem:
    name = error.model.reveal()[:200]
    hint = f" Did you mean {' or '.join(error.close)}?" if error.close else " GET /v1/models lists what can be used."
    return Problem(400, f"{name} is not a valid model ID.{hint}", {"error_type": "invalid_request", "close": error.close}, "model")


def _unknown_preset(error: UnknownPreset) -> Problem:
    hint = f" Did you mean {' or '.join(error.close)}?" if error.close else " GET /v1/account/routing shows what it has."
    message = f"This account has no {error.kind} {error.name.reveal()[:100]!r}.{hint}"
    return Problem(400, message, {"error_type": "invalid_request", "close": error.close}, "model")

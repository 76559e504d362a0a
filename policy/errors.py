"""Why a request is refused before any provider is called, in words that the gateway turns into HTTP.

PolicyError                           the request may not go on
|-- Unauthenticated                   no key, or not a valid one
|-- Forbidden                         a valid key that may not do this
|-- UnknownModel                      no model of this name can be used
|-- ModelDeprecated                   the model was offered until a day that is over
|-- NoEndpoint                        the model is known, but the account's rules or the request leave no endpoint for it
|-- InvalidPreferences                the request's `provider` object has a field that is wrong, not known, or at odds with another
|-- InvalidRules                      the rules that an account's owner wants to set have such a field
|-- InvalidPrivacy                    the privacy choice, or the word of a request for it, cannot be that
|-- UnknownPreset                     the account has no preset or policy of this name
|-- InvalidOwnKey                     a key at a provider that its owner wants to add cannot be added
|-- InvalidKey                        an API key cannot be made or changed as its owner wants it
|-- InvalidField                      a field of a form cannot be that
|-- SignInRefused                     who wants to sign in is not let in: wrong, unknown, blocked or a link that is no longer good
|-- TooManyAttempts                   signing in failed too often lately; passes later
|-- SealBroken                        a sealed secret does not open: changed, moved, or sealed under another TOLLWAY_SECRET_KEY
|-- WrongState                        the account is not in a state from which this is possible
|-- LimitExceeded                     too many requests or tokens in this minute, or requests at once; passes later
|-- AlreadyAsked                      the same request came before with this Idempotency-Key; it runs, or has ended
`-- KeyReused                         another request came before with this Idempotency-Key
"""

import datetime
from typing import Any

from providers.content import Content


class PolicyError(Exception):
    """Its text names what is wrong, never what a client wrote: it may be logged and shown."""


class Unauthenticated(PolicyError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Forbidden(PolicyError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownModel(PolicyError):
    """`model` is what the client asked for, which is content until a catalog knows it; `close` are public ids that resemble it."""

    def __init__(self, model: str, close: list[str]) -> None:
        super().__init__("no such model")
        self.model = Content(model)
        self.close = close


class ModelDeprecated(PolicyError):
    """`model` is its public id, `ended` the last day on which it was offered, `successor` the id of what to use instead, if any."""

    def __init__(self, model: str, ended: datetime.date, successor: str | None) -> None:
        remedy = f"Use {successor} instead." if successor else "GET /v1/models lists what can be used."
        self.message = f"{model} was offered until {ended}. {remedy}"
        super().__init__(self.message)
        self.model = model
        self.ended = ended
        self.successor = successor


class NoEndpoint(PolicyError):
    """`funnel` has one object per step, with the endpoints it kept and removed; `failed_step` is the name of the one that kept none."""

    def __init__(self, message: str, funnel: list[dict[str, Any]], failed_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.funnel = funnel
        self.failed_step = failed_step


class InvalidPreferences(PolicyError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRules(PolicyError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidPrivacy(PolicyError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownPreset(PolicyError):
    """`kind` is "preset" or "policy", `name` what the client asked for; `close` are the account's own names that resemble it."""

    def __init__(self, kind: str, name: str, close: list[str]) -> None:
        super().__init__(f"no such {kind}")
        self.kind = kind
        self.name = Content(name)
        self.close = close


class InvalidOwnKey(PolicyError):
    """`param` is the field that is wrong; nothing of the key stands in the text."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param
        self.message = f"{param}: {problem}."


class InvalidKey(PolicyError, ValueError):
    """`param` is the field that is wrong."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param
        self.message = f"{param}: {problem}."


class SealBroken(PolicyError):
    def __init__(self, table: str) -> None:
        super().__init__(f"a sealed text of {table} does not open")


class WrongState(PolicyError, ValueError):
    """`state` is the account's, `message` says what it is and since when, or until when."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state
        self.message = f"{message}."


class LimitExceeded(PolicyError):
    """`what` is "requests per minute", "tokens per minute" or "requests at once", `limit` how many, `whose` "key", "account" or
    "free_tier"; in `retry_after_seconds` (1 or more) it can pass."""

    def __init__(self, what: str, limit: int, retry_after_seconds: int, whose: str = "key") -> None:
        super().__init__(f"more than {limit} {what}; try again in {retry_after_seconds} s")
        self.what = what
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds
        self.whose = whose


class AlreadyAsked(PolicyError):
    """`generation_id` is the first request's; `charge` in nano-USD once it has ended, None while it runs."""

    def __init__(self, generation_id: str, charge: int | None) -> None:
        super().__init__("this request was sent before")
        self.generation_id = generation_id
        self.charge = charge


class KeyReused(PolicyError):
    """`generation_id` is that of the other request."""

    def __init__(self, generation_id: str) -> None:
        super().__init__("this Idempotency-Key belongs to another request")
        self.generation_id = generation_id


class InvalidField(PolicyError, ValueError):
    """`param` is the field that is wrong; nothing of its value stands in the text."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param
        self.message = f"{param}: {problem}."


class SignInRefused(PolicyError):
    """`message` is the same for a wrong password and for a person who does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TooManyAttempts(PolicyError):
    """In `retry_after_seconds` (1 or more) the next attempt is looked at."""

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        self.message = f"Too many attempts. Try again in {retry_after_seconds} s."
        super().__init__(self.message)

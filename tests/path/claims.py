"""What must be true of an answer and of the books after it, whatever happened; failures show both sides."""

from decimal import Decimal

from metering.tokens import tokenizer
from tests.fakes.faults import Json
from tests.fakes.refusals import LEAKED_HOST, LEAKED_KEY
from tests.path.client import PROMPT, Answer
from tests.path.models import upstream
from tests.path.place import UPSTREAM_KEY, Place
from tests.running import Account

SECRETS = (UPSTREAM_KEY, LEAKED_KEY, LEAKED_HOST, "org-operator-secret", "openai-", "req_fake_", "elsewhere")
CLOSED_UNANSWERED = ("reset-before-headers", "close-before-headers")
COUNT = tokenizer("o200k_base").count
PROMPT_COUNTED = 3 + COUNT(PROMPT) + 3
"""OpenAI's published rule: three tokens around the message, three to open the answer."""


def assert_complete(answer: Answer, *, stream: bool, reason: str = "stop") -> None:
    """200, one finish reason, usage at the end, one [DONE], nothing of the operator's."""
    assert answer.status == 200, answer.body
    assert answer.streamed is stream
    assert answer.reasons() == [reason]
    assert not any(event.get("usage") for event in answer.events[:-1] if stream)
    assert answer.done == (1 if stream else 0)
    assert not stream or answer.data[-1] == "[DONE]"
    assert_nothing_leaks(answer)


def assert_error(answer: Answer, code: int, *, in_band: bool = False) -> None:
    """A refusal with its status or, `in_band`, the last event of a stream that has begun, be it only with a comment; never a [DONE]."""
    assert answer.status == (200 if in_band else code), answer.body
    assert answer.done == 0
    error = answer.error
    assert (type(error["code"]), error["code"]) == (int, code)
    assert error["message"]
    assert error["type"]
    assert error["metadata"]["error_type"]
    if in_band:
        assert [choice["finish_reason"] for choice in answer.events[-1]["choices"]] == ["error"]
    else:
        assert set(answer.json) == {"error"}
    assert_nothing_leaks(answer)


def assert_nothing_leaks(answer: Answer) -> None:
    everything = answer.body.decode() + repr(answer.headers)
    assert not [secret for secret in SECRETS if secret in everything]


def assert_attempts(place: Place, account: Account, answer: Answer, fault: str) -> list[dict[str, Json]]:
    """One attempt by our book and one request by the provider's. Gives the provider's records."""
    attempts = place.generation(account, answer)["provider_responses"]
    assert [attempt["provider_name"] for attempt in attempts] == ["fake-a"]
    return requests_served(place, fault)


def requests_served(place: Place, fault: str) -> list[dict[str, Json]]:
    """The provider's records of one attempt: one, or two where a kept connection was closed before a byte of an answer came."""
    rows = place.fake.settled(upstream(fault))
    assert len(rows) in ((1, 2) if fault in CLOSED_UNANSWERED else (1,))
    return rows


def assert_charged(place: Place, account: Account, answer: Answer, *, since: Decimal, expected: Decimal) -> None:
    """The client's usage, the generation and the balance all say `expected`, and nothing is held."""
    assert answer.usage["cost"] == expected
    assert answer.usage["hold"] == place.generation(account, answer)["hold"] >= expected
    assert_booked(place, account, answer, since=since, expected=expected)


def assert_booked(place: Place, account: Account, answer: Answer, *, since: Decimal, expected: Decimal) -> None:
    assert place.books(account).held == 0
    assert place.used(account) - since == expected
    assert place.generation(account, answer)["total_cost"] == expected


def tokens_of(answer: Answer) -> tuple[int, int]:
    return answer.usage["prompt_tokens"], answer.usage["completion_tokens"]

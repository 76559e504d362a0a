"""A value that a browser keeps for us is ours, for its purpose, in its time, and under a secret of ours."""

import pytest

from policy.signed import opened, signed

SECRET, OLD = "s" * 40, "o" * 40
NOW = 1_000


def made(purpose: str = "test", secret: str = SECRET, expires_at: int | None = NOW) -> str:
    return signed({"person": "per_1"}, purpose=purpose, secret=secret, expires_at=expires_at)


def test_a_value_opens_until_its_moment_and_under_an_older_secret() -> None:
    assert opened(made(), purpose="test", secrets=(SECRET,), now=NOW - 1) == {"person": "per_1"}
    assert opened(made(secret=OLD), purpose="test", secrets=(SECRET, OLD), now=0) == {"person": "per_1"}
    assert opened(made(expires_at=None), purpose="test", secrets=(SECRET,), now=2**60) == {"person": "per_1"}


@pytest.mark.parametrize(
    ("text", "now"),
    [
        (made(), NOW),
        (made(purpose="other"), 0),
        (made(secret=OLD), 0),
        (made()[:-1], 0),
        ("A" + made()[1:], 0),
        (made().partition(".")[0], 0),
        ("", 0),
        (".", 0),
        ("é.ü", 0),
        ("x" * 100_000, 0),
    ],
)
def test_a_value_that_is_changed_old_or_made_for_something_else_does_not_open(text: str, now: int) -> None:
    assert opened(text, purpose="test", secrets=(SECRET,), now=now) is None

"""The keys that wrap data keys: one wraps, all of them open, a wrapped key fits its place alone, and a bad setting quotes no key."""

import base64
import itertools
from pathlib import Path

import pytest

from policy.errors import SealBroken
from policy.keyring import Keyring, keyring

SECRET = "s" * 40
KEY = b"k" * 32
PLACE = b"account 1, day 2"
OLD = base64.b64encode(b"o" * 32).decode()
NEW = base64.b64encode(b"n" * 32).decode()
_numbers = itertools.count(1)


def numbered(size: int) -> bytes:
    """Never the same twice, as a nonce must be."""
    return next(_numbers).to_bytes(size)


def ring(setting: str = "", *secrets: str) -> Keyring:
    return keyring(setting, secrets or (SECRET,), numbered)


def test_a_wrapped_key_opens_at_its_place_and_nowhere_else() -> None:
    wrapped = ring().wrap(KEY, PLACE)
    assert ring().unwrap(wrapped, PLACE) == KEY
    assert KEY not in wrapped
    with pytest.raises(SealBroken):
        ring().unwrap(wrapped, PLACE + b"0")


def test_no_byte_of_a_wrapped_key_can_be_changed() -> None:
    wrapped = ring().wrap(KEY, PLACE)
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            ring().unwrap(bytes(changed), PLACE)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 20, 30, -1])
def test_a_torn_wrapped_key_is_a_broken_seal(cut: int) -> None:
    with pytest.raises(SealBroken):
        ring().unwrap(ring().wrap(KEY, PLACE)[:cut], PLACE)


def test_a_new_current_key_wraps_and_the_old_ones_still_open() -> None:
    before, after = ring(f"old:{OLD}"), ring(f"new:{NEW}, old:{OLD}")
    old, new = before.wrap(KEY, PLACE), after.wrap(KEY, PLACE)
    assert (after.unwrap(old, PLACE), after.unwrap(new, PLACE)) == (KEY, KEY)
    assert (after.is_current(old, PLACE), after.is_current(new, PLACE), before.is_current(old, PLACE)) == (False, True, True)
    with pytest.raises(SealBroken):
        before.unwrap(new, PLACE)


def test_a_lost_key_opens_nothing_that_it_wrapped() -> None:
    with pytest.raises(SealBroken):
        ring(f"new:{NEW}").unwrap(ring(f"old:{OLD}").wrap(KEY, PLACE), PLACE)
    with pytest.raises(SealBroken):
        ring("", "t" * 40).unwrap(ring().wrap(KEY, PLACE), PLACE)


def test_a_name_is_not_a_key() -> None:
    with pytest.raises(SealBroken):
        ring(f"one:{NEW}").unwrap(ring(f"one:{OLD}").wrap(KEY, PLACE), PLACE)


def test_what_the_derived_key_wrapped_opens_after_a_first_key_was_set() -> None:
    derived = ring().wrap(KEY, PLACE)
    after = ring(f"first:{NEW}")
    assert after.unwrap(derived, PLACE) == KEY
    assert not after.is_current(derived, PLACE)
    assert after.current == "first"


def test_a_derived_key_of_an_older_secret_still_opens_and_is_known_for_an_old_one() -> None:
    old, between, after = ring().wrap(KEY, PLACE), ring("", "n" * 40, SECRET), ring("", "n" * 40)
    assert between.unwrap(old, PLACE) == KEY
    assert not between.is_current(old, PLACE)
    new = between.wrap(KEY, PLACE)
    assert between.is_current(new, PLACE)
    assert after.unwrap(new, PLACE) == KEY
    assert not between.is_current(new, PLACE + b"0"), "what does not open here is not current here"
    with pytest.raises(SealBroken):
        after.unwrap(old, PLACE)


def test_a_key_may_stand_in_a_file_where_a_kms_puts_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{NEW}\n")
    assert ring(f"kms:file:{file},old:{OLD}").unwrap(ring(f"kms:{NEW}").wrap(KEY, PLACE), PLACE) == KEY
    file.write_text("no key at all")
    with pytest.raises(ValueError, match="TOLLWAY_CONTENT_KEYS must be name:key") as refused:
        ring(f"kms:file:{file}")
    assert "no key at all" not in str(refused.value)
    with pytest.raises(ValueError, match=r"TOLLWAY_CONTENT_KEYS must name a file that can be read: .*absent: No such file"):
        ring(f"kms:file:{tmp_path / 'absent'}")


@pytest.mark.parametrize(
    "setting",
    [
        "nokey", f":{NEW}", f"a b:{NEW}", f"é:{NEW}", "short:c2hvcnQ=", f"two:{NEW}{NEW}", "bad:%%%%", f"a:{NEW},a:{OLD}",
        f"a:{NEW},a:{NEW}", f"derived:{NEW}", f"ok:{NEW},bad",
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_without_quoting_a_key(setting: str) -> None:
    with pytest.raises(ValueError, match="TOLLWAY_CONTENT_KEYS must") as refused:
        ring(setting)
    assert NEW not in str(refused.value)
    assert OLD not in str(refused.value)

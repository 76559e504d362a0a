"""A sealed text opens in its own place, for its own account, under its own secret and unchanged, and nowhere else."""

import base64
import itertools

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import SealBroken
from policy.keys import derive
from policy.own_keys import Sealed, label
from policy.vault import NONCE_BYTES, Place, resealed, seal, unseal

SECRET = "s" * 32
TEXT = "sk-canary-5c1e-of-a-customer"
HOME = Place(table="provider_key", column="sealed", row_id="pk_1", account_id="acc_1")


def counted() -> "itertools.count[int]":
    return itertools.count(1)


def sealed(text: str = TEXT, place: Place = HOME, secret: str = SECRET, nonce: int = 1) -> str:
    return seal(text, place, secret=secret, random_bytes=lambda size: nonce.to_bytes(size))


@given(st.text(max_size=600), st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES))
def test_what_was_sealed_opens_again(text: str, nonce: bytes) -> None:
    assert unseal(seal(text, HOME, secret=SECRET, random_bytes=lambda size: nonce[:size]), HOME, secrets=(SECRET,)) == text


@pytest.mark.parametrize(
    "elsewhere",
    [{"table": "key"}, {"column": "label"}, {"row_id": "pk_2"}, {"account_id": "acc_2"}, {"row_id": "pk_1|acc_1", "account_id": ""}],
)
def test_it_opens_in_no_other_place(elsewhere: dict[str, str]) -> None:
    with pytest.raises(SealBroken):
        unseal(sealed(), msgspec.structs.replace(HOME, **elsewhere), secrets=(SECRET,))


def test_places_that_are_joined_alike_are_still_different() -> None:
    one = Place(table="a", column="b|c", row_id="d", account_id="acc")
    two = Place(table="a|b", column="c", row_id="d", account_id="acc")
    with pytest.raises(SealBroken):
        unseal(sealed(place=one), two, secrets=(SECRET,))


def test_it_opens_under_no_other_secret() -> None:
    with pytest.raises(SealBroken):
        unseal(sealed(), HOME, secrets=("t" * 32,))


def test_after_a_rotation_it_still_opens_and_is_sealed_again_once() -> None:
    new = "n" * 32
    assert unseal(sealed(), HOME, secrets=(new, "t" * 32, SECRET)) == TEXT
    again = resealed(sealed(), HOME, secrets=(new, SECRET), random_bytes=lambda size: bytes(size))
    assert again is not None
    assert unseal(again, HOME, secrets=(new,)) == TEXT
    assert resealed(again, HOME, secrets=(new, SECRET), random_bytes=lambda size: bytes(size)) is None
    with pytest.raises(SealBroken):
        unseal(again, HOME, secrets=(SECRET,))
    with pytest.raises(SealBroken):
        resealed(sealed(), HOME, secrets=(new, "t" * 32), random_bytes=lambda size: bytes(size))


@pytest.mark.parametrize("at", range(NONCE_BYTES + len(TEXT) + 16))
def test_a_changed_byte_anywhere_breaks_it(at: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(sealed()[3:]))
    raw[at] ^= 1
    with pytest.raises(SealBroken):
        unseal("v1:" + base64.urlsafe_b64encode(raw).decode(), HOME, secrets=(SECRET,))


@pytest.mark.parametrize("text", ["", "v1:", "v1:AAAA", "v1:é", "v1:====", "v2:" + "A" * 80, "plain", "v1:" + "A" * 80, "v1:\x00"])
def test_what_is_no_sealed_text_is_the_same_error(text: str) -> None:
    with pytest.raises(SealBroken):
        unseal(text, HOME, secrets=(SECRET,))


def test_the_version_is_part_of_what_must_be_right() -> None:
    with pytest.raises(SealBroken):
        unseal("v2:" + sealed()[3:], HOME, secrets=(SECRET,))


def test_neither_the_sealed_text_nor_an_error_shows_the_secret() -> None:
    assert TEXT not in sealed()
    assert TEXT.encode() not in base64.urlsafe_b64decode(sealed()[3:])
    for text in (sealed()[:-8] + "AAAAAAA=", sealed(TEXT + "x")):
        with pytest.raises(SealBroken) as caught:
            unseal(text, msgspec.structs.replace(HOME, row_id="pk_2"), secrets=(SECRET,))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert TEXT not in repr(caught.value) + str(caught.value)


def test_two_seals_of_one_text_differ() -> None:
    numbers = counted()
    assert len({sealed(nonce=next(numbers)) for _ in range(50)}) == 50


def test_the_keys_of_a_caller_hide_in_their_repr_and_open_by_id() -> None:
    keys = Sealed((("pk_1", sealed()),))
    assert repr(keys) == "Sealed(<1 keys>)"
    assert keys.open("pk_1", "acc_1", secrets=(SECRET,)) == TEXT
    for id, account in (("pk_2", "acc_1"), ("pk_1", "acc_2")):
        with pytest.raises(SealBroken):
            keys.open(id, account, secrets=(SECRET,))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("12345678", "1...8"),
        ("1234567890123456", "12...56"),
        ("sk-abcdefghijklmnopqrstuvwxyz123456", "sk-a...3456"),
        ("x" * 512, "xxxx...xxxx"),
    ],
)
def test_a_label_shows_the_ends_and_at_most_a_quarter(text: str, shown: str) -> None:
    assert label(text) == shown
    assert len(shown) - 3 <= len(text) // 4


def test_a_sealed_text_is_aes_256_gcm_under_the_accounts_own_key_bound_to_its_place() -> None:
    raw = base64.urlsafe_b64decode(sealed(nonce=7)[3:])
    cipher = AESGCM(derive(SECRET, "vault:acc_1"))
    assert raw[:12] == (7).to_bytes(12)
    assert cipher.decrypt(raw[:12], raw[12:], b'["provider_key","sealed","pk_1","acc_1"]').decode() == TEXT

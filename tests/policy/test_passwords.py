"""Which passwords are taken, how they are hashed, and that nobody's takes as long as somebody's."""

import asyncio
import time

import pytest

from policy import passwords
from policy.errors import InvalidField, TooManyAttempts
from policy.passwords import CHARACTERS_MAX, Passwords, check_rules

GOOD = "correct horse battery staple"


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("", "12 characters"),
        ("elevenchars", "12 characters"),
        ("x y" * 100, "200 characters or less"),
        ("ann.example@mail.example", "e-mail address"),
        ("Ann.Example@Mail.Example", "e-mail address"),
        ("password1234", "tried first"),
        ("!!!Password2026!!!", "tried first"),
        ("qwertyuiop123", "tried first"),
        ("passwordpassword", "tried first"),
        ("aaaaaaaaaaaa", "tried first"),
        ("123456789012", "tried first"),
        ("ababababababab", "tried first"),
        ("Tollway12345!", "tried first"),
        ("------------", "tried first"),
    ],
)
def test_a_weak_password_is_refused_with_the_field_and_the_reason(password: str, problem: str) -> None:
    with pytest.raises(InvalidField, match=problem) as refused:
        check_rules(password, email="ann.example@mail.example", field="new")
    assert refused.value.param == "new"
    assert not password or password not in refused.value.message


@pytest.mark.parametrize("password", [GOOD, "Tr0ub4dor&3 horse", "пароль из слов", "x" * 4 + "yzab" + "c" * 192, "🐎🔋📎 correct words"])
def test_a_good_password_is_taken(password: str) -> None:
    check_rules(password, email="ann@example.com")


def test_the_list_has_the_3000_commonest_with_its_source_and_licence_and_is_small() -> None:
    raw = (passwords.Path(passwords.__file__).parent / "common_passwords.txt").read_text()
    assert len(raw) < 40_000
    assert "MIT License" in raw
    assert "zxcvbn" in raw
    assert len(passwords.common()) >= 3000
    assert {"123456", "password", "qwerty"} <= passwords.common()


async def test_a_password_is_argon2id_with_the_floor_of_parameters_and_the_same_in_another_unicode_form() -> None:
    stored = await Passwords().hash("Ω é correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await Passwords().check("Ω e\u0301 correct horse", stored)).right
    assert not (await Passwords().check("Ω e correct horse", stored)).right


async def test_a_hash_of_other_parameters_is_made_anew_and_one_of_these_is_not() -> None:
    from argon2 import PasswordHasher

    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD)
    checked = await Passwords().check(GOOD, old)
    assert checked.right
    assert checked.renewed is not None
    assert (await Passwords().check(GOOD, checked.renewed)) == passwords.Checked(True)


@pytest.mark.parametrize("stored", [None, "", "nonsense", "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA"])
async def test_nobody_has_a_password_that_is_right(stored: str | None) -> None:
    for password in ("", "\x00" * 32, GOOD):
        assert not (await Passwords().check(password, stored)).right


async def test_nobodys_password_takes_as_long_as_somebodys() -> None:
    door, stored = Passwords(), await Passwords().hash(GOOD)

    async def best(stored: str | None) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            await door.check("wrong password", stored)
            times.append(time.perf_counter() - began)
        return min(times)

    known, unknown = await best(stored), await best(None)
    assert 0.5 < known / unknown < 2


async def test_hashing_is_bounded_in_what_runs_and_what_waits_and_a_long_password_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAITING_MAX", 5)
    door = Passwords()
    results = await asyncio.gather(*(door.hash("y" * 10_000_000) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(result, TooManyAttempts) for result in results) == 4
    assert len(str(results[0])) < 150
    assert CHARACTERS_MAX < 1000

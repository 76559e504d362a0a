"""Settings: read from the environment and `.env`, wrong ones refused by name, secrets never shown."""

from dataclasses import fields
from pathlib import Path

import pytest

from gateway.settings import DEVELOPMENT_SECRET, Settings, describe

SECRET = "s" * 32
NUMBERS = [item.name for item in fields(Settings) if item.type in (int, float) and item.metadata]


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` and no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable, _, _ in describe():
        monkeypatch.delenv(variable, raising=False)


def test_without_an_environment_the_defaults_hold() -> None:
    loaded = Settings.load()
    assert (loaded.env, loaded.host, loaded.port, loaded.workers, loaded.redis_url) == ("development", "127.0.0.1", 8080, 1, "")
    assert loaded.database_url.startswith("sqlite:///")
    assert (loaded.body_bytes_max, loaded.event_bytes_max, loaded.response_bytes_max) == (20 * 2**20, 2**20, 64 * 2**20)


def test_every_setting_describes_itself() -> None:
    described = describe()
    assert len(described) == len(fields(Settings)) - 1
    assert len({variable for variable, _, _ in described}) == len(described)
    for variable, default, text in described:
        assert variable.startswith("TOLLWAY_")
        assert len(text) > 10
        assert default == str(getattr(Settings(), variable.removeprefix("TOLLWAY_").lower()))


def test_no_default_limits_below_a_thousand_at_once() -> None:
    assert Settings().generations_max >= 1000
    assert Settings().upstream_connections_max >= 1000


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [("PORT", "0", 0), ("PORT", " 9000 ", 9000), ("IDLE_SECONDS", "0.5", 0.5), ("IDLE_SECONDS", "1e2", 100.0)],
)
def test_numbers_are_read(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: float) -> None:
    monkeypatch.setenv(f"TOLLWAY_{variable}", text)
    assert getattr(Settings.load(), variable.lower()) == value


@pytest.mark.parametrize("text", ["x", "-1", "1,5", "1_0x", "nan", "inf", "-inf", "1e999", "9" * 30, "0x10", "²", "true"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"TOLLWAY_{name.upper()}", text)
    with pytest.raises(ValueError, match=f"TOLLWAY_{name.upper()} must be"):
        Settings.load()


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"PORT": "65536"}, "TOLLWAY_PORT"),
        ({"PORT": "8080.5"}, "TOLLWAY_PORT"),
        ({"WORKERS": "0"}, "TOLLWAY_WORKERS"),
        ({"WORKERS": "2"}, "TOLLWAY_DATABASE_URL=postgresql://"),
        ({"SECRET_KEY": "s" * 31}, "TOLLWAY_SECRET_KEY"),
        ({"ENV": "production"}, "TOLLWAY_SECRET_KEY"),
        ({"ENV": "production", "SECRET_KEY": DEVELOPMENT_SECRET}, "TOLLWAY_SECRET_KEY"),
        ({"ENV": "prod"}, "TOLLWAY_ENV"),
        ({"BODY_BYTES_MAX": "0"}, "TOLLWAY_BODY_BYTES_MAX"),
        *(
            ({"BYOK_FEE_PERCENT": text}, "TOLLWAY_BYOK_FEE_PERCENT")
            for text in ("-1", "100.01", "101", "999", "1000", "5.125", "5.", ".5", "5%", "1e1", "+5", "5,5", "nan", "\u0665")
        ),
        ({"SHARING_DISCOUNT_PERCENT": "100.01"}, "TOLLWAY_SHARING_DISCOUNT_PERCENT"),
        ({"SHARING_DISCOUNT_PERCENT": "-1"}, "TOLLWAY_SHARING_DISCOUNT_PERCENT"),
        ({"SMTP_URL": "mail.example.com"}, "TOLLWAY_SMTP_URL"),
        ({"MAIL_FROM": "a@b.c\nBcc: d@e.f"}, "TOLLWAY_MAIL_FROM"),
        ({"MAIL_FROM": "Tollway"}, "TOLLWAY_MAIL_FROM"),
        ({"TRUSTED_PROXIES": "10.0.0.0/99"}, "TOLLWAY_TRUSTED_PROXIES"),
        ({"OIDC_ISSUER": "https://id.example.com"}, "TOLLWAY_OIDC_CLIENT_ID"),
        ({"OIDC_ISSUER": "http://id.example.com", "OIDC_CLIENT_ID": "a", "OIDC_CLIENT_SECRET": "b"}, "TOLLWAY_OIDC_ISSUER"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], word: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"TOLLWAY_{name}", value)
    with pytest.raises(ValueError, match=r".") as caught:
        Settings.load()
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert DEVELOPMENT_SECRET not in str(caught.value)


def test_production_starts_with_a_secret_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLWAY_ENV", "production")
    monkeypatch.setenv("TOLLWAY_SECRET_KEY", SECRET)
    assert Settings.load().secret_key == SECRET


def test_the_environment_wins_over_the_file_and_an_argument_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("TOLLWAY_PORT=1111\nTOLLWAY_HOST=0.0.0.0\nTOLLWAY_WORKERS\n# a comment\nACME_API_KEY='from file'\n")
    assert (Settings.load().port, Settings.load().host) == (1111, "0.0.0.0")
    monkeypatch.setenv("TOLLWAY_PORT", "2222")
    assert Settings.load().port == 2222
    assert Settings.load(port=3333).port == 3333
    assert Settings.load().provider_keys({"ACME_API_KEY"}) == {"ACME_API_KEY": "from file"}


def test_an_empty_variable_counts_as_absent_also_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("TOLLWAY_REDIS_URL=redis://x\n")
    monkeypatch.setenv("TOLLWAY_REDIS_URL", "")
    assert Settings.load().redis_url == ""


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("AKID", "secret", ""), "AKID:secret"),
        ((" AKID ", "secret", "token"), "AKID:secret:token"),
        (("AKID:secret", "", ""), "AKID:secret"),
        (("AKID", "", ""), None),
        (("AKID", "", "token"), None),
        (("", "secret", ""), None),
    ],
)
def test_awss_key_is_put_together_from_its_variables(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[str, str, str], expected: str | None
) -> None:
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), parts, strict=True):
        monkeypatch.setenv(name, value)
    assert Settings.load().provider_keys({"AWS_ACCESS_KEY_ID"}).get("AWS_ACCESS_KEY_ID") == expected


def test_provider_keys_are_trimmed_and_empty_ones_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_API_KEY", " k \n")
    monkeypatch.setenv("TWO_API_KEY", "  ")
    assert Settings.load().provider_keys({"ONE_API_KEY", "TWO_API_KEY", "THREE_API_KEY"}) == {"ONE_API_KEY": "k"}


def test_the_secrets_are_the_present_one_and_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load(secret_key=SECRET).secrets == (SECRET,)
    older = ["a" * 32, "b" * 32, "c" * 32]
    monkeypatch.setenv("TOLLWAY_SECRET_KEY_PREVIOUS", f" {older[0]} ,{older[1]},{older[2]},")
    assert Settings.load(secret_key=SECRET).secrets == (SECRET, *older)
    assert older[1] not in repr(Settings.load(secret_key=SECRET))


@pytest.mark.parametrize("previous", ["short", SECRET, f"{'a' * 32},{'a' * 32}", ",".join(letter * 32 for letter in "abcd")])
def test_secrets_that_cannot_be_the_ones_before_are_refused_without_quoting_one(monkeypatch: pytest.MonkeyPatch, previous: str) -> None:
    monkeypatch.setenv("TOLLWAY_SECRET_KEY_PREVIOUS", previous)
    with pytest.raises(ValueError, match="TOLLWAY_SECRET_KEY_PREVIOUS must") as refused:
        Settings.load(secret_key=SECRET)
    assert previous not in str(refused.value)


def test_no_secret_shows_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "provider-key")
    shown = repr(Settings.load(secret_key=SECRET, database_url="postgresql://u:password@h/d", redis_url="redis://:password@h/0"))
    assert "8080" in shown
    for secret in (SECRET, "password", "provider-key"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("text", "bps"),
    [("0", 0), ("5", 500), (" 5.2 ", 520), ("5.25", 525), ("0.01", 1), ("0.10", 10), ("05", 500), ("100", 10_000), ("100.00", 10_000)],
)
def test_the_fee_on_own_keys_and_the_discount_are_read_exactly(monkeypatch: pytest.MonkeyPatch, text: str, bps: int) -> None:
    monkeypatch.setenv("TOLLWAY_BYOK_FEE_PERCENT", text)
    monkeypatch.setenv("TOLLWAY_SHARING_DISCOUNT_PERCENT", text)
    assert (Settings.load().byok_fee_bps, Settings.load().sharing_discount_bps) == (bps, bps)

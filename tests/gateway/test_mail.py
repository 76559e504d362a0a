"""Mails: handed to a real server over TLS or not at all, written as files otherwise, never with a header that nobody meant, tried again."""

import asyncio
import email
import email.policy
import logging
from pathlib import Path

import pytest

from gateway import mail
from gateway.letters import news, unsubscriber, written
from gateway.mail import Folder, Mail, Post, Smtp, check_url, message
from policy.letters import Letter
from tests.fakes.smtp import certificate, smtp_server

SENDER = "Tollway <tollway@example.com>"
ORIGIN = "https://tollway.example"
HELLO = Mail(kind="verify", to="ann@example.com", subject="Hello", text="Line one\n.\nÜber\n")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("tls", [False, True])
async def test_a_mail_goes_out_encrypted_and_whole(trusted: Path, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with smtp_server(trusted, tls=tls) as server:
        scheme = "smtps" if tls else "smtp"
        await Smtp(f"{scheme}://us%40er:pass%2Fword@127.0.0.1:{server.port}", SENDER).send(HELLO)
    ((sender, receivers, raw),) = server.mails
    assert (sender, receivers, server.encrypted, server.logins) == (
        "tollway@example.com",
        ["ann@example.com"],
        [True],
        [("us@er", "pass/word")],
    )
    assert "Subject: Hello\r\n" in raw
    assert "..\r\n" in raw  # a lone point is not the end


@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(trusted: Path, tls: bool) -> None:
    with smtp_server(trusted, tls=tls) as server, pytest.raises(OSError, match="certificate"):
        await Smtp(f"{'smtps' if tls else 'smtp'}://u:p@127.0.0.1:{server.port}", SENDER).send(HELLO)
    assert (server.mails, server.logins) == ([], [])


async def test_without_encryption_mail_goes_only_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp_server() as server:
        await Smtp(f"smtp://127.0.0.1:{server.port}", SENDER).send(HELLO)
        monkeypatch.setattr(mail, "LOOPBACK", ())
        with pytest.raises(ConnectionError, match="STARTTLS"):
            await Smtp(f"smtp://u:p@127.0.0.1:{server.port}", SENDER).send(HELLO)
    assert (server.encrypted, server.logins) == ([False], [])


async def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "SECONDS_MAX", 0.2)
    with smtp_server() as server:
        server.silent_seconds = 1.0
        with pytest.raises(OSError, match="timed out"):
            await Smtp(f"smtp://127.0.0.1:{server.port}", SENDER).send(HELLO)


@pytest.mark.parametrize("wrong", ["ann@example.com\nBcc: eve@example.com", "ann@example.com\r\nX: y"])
def test_no_address_or_subject_becomes_another_header(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline|Header"):
        message(Mail(kind="verify", to=wrong, subject="Hello", text="text"), SENDER)
    with pytest.raises(ValueError, match=r"linefeed|newline|Header"):
        message(Mail(kind="verify", to="ann@example.com", subject=wrong, text="text"), SENDER)


async def test_a_mail_in_the_folder_can_be_read_and_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await Folder(str(tmp_path / "mail"), SENDER).send(HELLO)
    (file,) = (tmp_path / "mail").glob("*.eml")
    read = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert (read["To"], read["From"], read["Subject"], read["Auto-Submitted"]) == ("ann@example.com", SENDER, "Hello", "auto-generated")
    assert "Über" in read.get_content()
    assert capsys.readouterr().err.startswith("mail to ann@example.com: Hello")


class Failing:
    """Fails so often, then takes mails."""

    def __init__(self, failures: int) -> None:
        self.failures, self.taken = failures, 0

    async def send(self, mail: Mail) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError(mail.to)
        self.taken += 1


@pytest.mark.parametrize(("failures", "taken"), [(0, 1), (2, 1), (3, 0)])
async def test_a_mail_is_tried_three_times_and_its_failure_logged_without_address_or_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failures: int, taken: int
) -> None:
    monkeypatch.setattr(mail, "AGAIN_SECONDS", (0.0, 0.0, 0.0))
    mailer = Failing(failures)
    post = Post(mailer)
    post.send(HELLO)
    with caplog.at_level(logging.ERROR):
        await post.deliver()
    assert mailer.taken == taken
    assert bool(caplog.records) == (taken == 0)
    assert "ann@example.com" not in caplog.text
    assert "Hello" not in caplog.text


async def test_the_post_is_bounded_and_empties_at_the_end(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(mail, "WAITING_MAX", 3)
    mailer = Failing(0)
    post = Post(mailer)
    for _ in range(5):
        post.send(HELLO)
    assert sum("dropped" in record.message for record in caplog.records) == 2
    working = asyncio.ensure_future(_forever(post))
    await post.flush()
    working.cancel()
    assert mailer.taken == 3


async def _forever(post: Post) -> None:
    while True:
        await post.deliver()


@pytest.mark.parametrize("kind", ["verify", "known", "reset", "new_email"])
def test_a_letter_with_a_link_names_it_and_the_site(kind: str) -> None:
    made = written(Letter(kind=kind, to="ann@example.com", token="to-ken"), ORIGIN)  # type: ignore[arg-type]
    assert f"{ORIGIN}/link/" in made.text
    assert "?token=to-ken" in made.text
    assert made.subject
    assert "\n" not in made.subject


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("taken_email", {}),
        ("email_changed", {"email": "new@example.com"}),
        ("password_changed", {}),
        ("second_factor", {"state": "on"}),
        ("invite", {"inviter": "Ann", "account": "Acme <b>", "role": "viewer"}),
    ],
)
def test_every_letter_can_be_written_and_repeats_its_words_as_they_are(kind: str, words: dict[str, str]) -> None:
    made = written(Letter(kind=kind, to="ann@example.com", token="t", words=words), ORIGIN)  # type: ignore[arg-type]
    assert all(word in made.text + made.subject for word in words.values())
    assert ORIGIN in made.text


def test_a_mail_that_nobody_needs_says_how_to_end_that_in_one_click() -> None:
    made = news("news", "ann@example.com", person_id="per_1", origin=ORIGIN, secret="s" * 40, subject="New models", text="Many.")
    link = made.headers["List-Unsubscribe"].strip("<>")
    assert made.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert link in made.text
    token = link.partition("?token=")[2].replace("%3D", "=")
    assert unsubscriber(token, secrets=("n" * 40, "s" * 40)) == "per_1"
    assert unsubscriber(token[:-3], secrets=("s" * 40,)) is None


@pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://host:port", "smtp://u:topsecret@host:0"])
def test_a_wrong_address_of_a_mail_server_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="TOLLWAY_SMTP_URL must be") as refused:
        check_url(url)
    assert "topsecret" not in str(refused.value)

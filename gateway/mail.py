"""The mail port: by SMTP, or as files in a folder (development and demo). Sent later, in turn, so that no answer waits for a mail.

Two kinds: necessary (security, billing) ones always go out; others only to people whose newest word was yes, with a way to unsubscribe in
one click (RFC 8058). A mail that cannot be sent is tried three times and then logged, without its address or its words.
"""

import asyncio
import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import click
import msgspec

SECONDS_MAX: Final = 20
WAITING_MAX: Final = 1000
AGAIN_SECONDS: Final = (0.0, 2.0, 10.0)
FLUSH_SECONDS_MAX: Final = 5
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_PORTS: Final = {"smtp": 587, "smtps": 465}
_log = logging.getLogger("tollway.mail")


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is the name of its text, for the log. `headers` are beside From, To, Subject, Date and Message-ID."""

    kind: str
    to: str
    subject: str
    text: str
    headers: dict[str, str] = {}


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """OSError (smtplib's errors are) if it could not be handed over."""
        ...


class Smtp:
    """`smtp://user:password@host:587` with STARTTLS, `smtps://` with TLS from the start; unencrypted only to this machine itself."""

    def __init__(self, url: str, sender: str) -> None:
        found = urlsplit(url)
        self._tls = found.scheme == "smtps"
        self._host, self._port = found.hostname or "", found.port or _PORTS[found.scheme]
        self._user, self._password = unquote(found.username or ""), unquote(found.password or "")
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._send, message(mail, self._sender))

    def _send(self, written: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self._tls:
            with smtplib.SMTP_SSL(self._host, self._port, timeout=SECONDS_MAX, context=context) as server:
                self._hand_over(server, written)
            return
        with smtplib.SMTP(self._host, self._port, timeout=SECONDS_MAX) as server:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
            elif self._host not in LOOPBACK:
                raise ConnectionError("the mail server offers no STARTTLS")
            self._hand_over(server, written)

    def _hand_over(self, server: smtplib.SMTP, written: EmailMessage) -> None:
        if self._user:
            server.login(self._user, self._password)
        server.send_message(written)


class Folder:
    """Writes every mail as a file and says on standard error that it is there. For development: links can be read in it."""

    def __init__(self, path: str, sender: str) -> None:
        self._path = Path(path)
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._write, message(mail, self._sender))
        click.echo(f"mail to {mail.to}: {mail.subject} (in {self._path})", err=True)

    def _write(self, written: EmailMessage) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        name = str(written["Message-ID"]).strip("<>").partition("@")[0]
        (self._path / f"{name}.eml").write_bytes(bytes(written))


class Post:
    """The queue in front of a mailer, bounded: beyond `WAITING_MAX` a mail is dropped and the drop is logged."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._waiting: asyncio.Queue[Mail] = asyncio.Queue(WAITING_MAX)

    def send(self, mail: Mail) -> None:
        try:
            self._waiting.put_nowait(mail)
        except asyncio.QueueFull:
            _log.error("a mail (%s) was dropped: %d are waiting", mail.kind, WAITING_MAX)

    async def deliver(self) -> None:
        """The next mail, whenever it comes."""
        mail = await self._waiting.get()
        try:
            await self._try(mail)
        finally:
            self._waiting.task_done()

    async def flush(self) -> None:
        """Waits until all are sent, at most `FLUSH_SECONDS_MAX`."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS_MAX):
                await self._waiting.join()
        except TimeoutError:
            _log.error("%d mails were not sent before the end", self._waiting.qsize())

    async def _try(self, mail: Mail) -> None:
        for seconds in AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            try:
                await self._mailer.send(mail)
            except (OSError, ValueError) as error:
                reason = type(error).__name__
            else:
                return
        _log.error("a mail (%s) could not be sent: %s", mail.kind, reason, extra={"error_class": reason})


def message(mail: Mail, sender: str) -> EmailMessage:
    """ValueError for a header with a line break, which the standard library refuses."""
    written = EmailMessage(policy=SMTP)
    written["From"] = sender
    written["To"] = mail.to
    written["Subject"] = mail.subject
    written["Date"] = formatdate(usegmt=True)
    written["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip("> ") or "localhost")
    written["Auto-Submitted"] = "auto-generated"
    for name, value in mail.headers.items():
        written[name] = value
    written.set_content(mail.text)
    return written


def check_url(url: str) -> None:
    """ValueError names what is wrong with TOLLWAY_SMTP_URL, never its password."""
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        found, port = urlsplit(""), None
    if found.scheme not in _PORTS or not found.hostname or port == 0:
        raise ValueError("TOLLWAY_SMTP_URL must be smtp://user:password@host:587 or smtps://user:password@host:465")

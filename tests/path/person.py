"""Somebody with a browser, for tests of the pages: cookies, forms with their hidden fields, mail that is read in the folder."""

import contextlib
import email
import email.policy
import html
import http.client
import itertools
import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.running import Tollway

SESSION = "tollway_session"
PASSWORD = "correct horse battery staple"
_NETWORK = itertools.count(10)


@dataclass(frozen=True)
class Seen:
    """What came back. `problem` and `notice` are what the page says above everything else."""

    status: int
    headers: dict[str, str]
    cookies: dict[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def problem(self) -> str:
        return _said(self.text, 'role="alert"')

    @property
    def notice(self) -> str:
        return _said(self.text, 'role="status"')

    def hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found, self.text
        return html.unescape(found[1])

    def data(self, name: str) -> str:
        found = re.search(rf'data-{name}="([^"]*)"', self.text)
        assert found, self.text
        return html.unescape(found[1])


@dataclass
class Browser:
    """Every one has a network address of its own, as loopback has enough of them, so that nobody's failures delay another test."""

    tollway: Tollway
    mails: Path
    email: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = field(default_factory=lambda: f"127.0.{(number := next(_NETWORK)) // 250}.{number % 250 + 2}")

    @property
    def origin(self) -> str:
        return self.tollway.environment["TOLLWAY_PUBLIC_URL"]

    def get(self, path: str) -> Seen:
        return self.send("GET", path)

    def post(self, path: str, form: dict[str, str] | None = None, *, csrf: bool = True, **headers: str) -> Seen:
        """With the token of the session's pages, if there is a session."""
        fields = dict(form or {})
        if csrf and SESSION in self.cookies and "csrf" not in fields:
            fields["csrf"] = self.csrf()
        return self.send("POST", path, urlencode(fields).encode(), {"Origin": self.origin, **headers})

    def csrf(self) -> str:
        return self.get("/dashboard/settings").hidden("csrf")

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Seen:
        source = (self.address, 0)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.tollway.port, timeout=30, source_address=source)) as wire:
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
            if method == "POST":
                sent["Content-Type"] = "application/x-www-form-urlencoded"
            wire.request(method, path, body, {**sent, **(headers or {})})
            answer = wire.getresponse()
            text = answer.read().decode()
        fresh = {}
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                fresh |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        self.cookies = {name: value for name, value in {**self.cookies, **fresh}.items() if value}
        return Seen(answer.status, {name.lower(): value for name, value in answer.getheaders()}, fresh, text)

    def follow(self, seen: Seen) -> Seen:
        assert seen.status in (302, 303), (seen.status, seen.problem)
        return self.get(seen.location.removeprefix(self.origin))

    def letters(self, to: str = "") -> list[str]:
        """Texts of the mails to an address, newest last."""
        found = []
        for file in sorted(self.mails.glob("*.eml"), key=lambda each: each.stat().st_mtime_ns):
            mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            if mail["To"] == (to or self.email):
                found.append(str(mail["Subject"]) + "\n" + mail.get_content())
        return found

    def link(self, path: str, to: str = "") -> str:
        """The path and query of the newest link of a kind that was mailed."""
        for text in reversed(self.letters(to)):
            if found := re.search(rf"https?://\S+?({re.escape(path)}\?token=\S+)", text):
                return found[1]
        raise AssertionError(f"no link {path} in {self.letters(to)}")

    def sign_up(self) -> Seen:
        """Signs up, confirms the address, and is signed in."""
        assert self.post("/signup", {"email": self.email, "password": PASSWORD}).status == 303
        link = self.wait_for("/link/verify")
        return self.post("/link/verify", {"token": token(link), "password": PASSWORD})

    def sign_in(self, password: str = PASSWORD, **more: str) -> Seen:
        return self.post("/login", {"email": self.email, "password": password, **more}, csrf=False)

    def wait_for(self, path: str, to: str = "", *, beside: str = "") -> str:
        """A mailed link of a kind, another than `beside`: mail is sent a moment after the answer."""
        import time

        until = time.monotonic() + 5
        while True:
            with contextlib.suppress(AssertionError):
                if (found := self.link(path, to)) != beside:
                    return found
            assert time.monotonic() < until, self.letters(to)
            time.sleep(0.02)

    @property
    def is_in(self) -> bool:
        return self.get("/dashboard/settings").status == 200


def token(link: str) -> str:
    return urlsplit(link).query.removeprefix("token=")


def _said(text: str, role: str) -> str:
    found = re.search(rf"<p[^>]*{role}>([^<]+)</p>", text)
    return html.unescape(found[1]) if found else ""

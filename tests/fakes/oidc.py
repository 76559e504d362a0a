"""A provider of OpenID Connect in a thread: says yes at once, checks the client and PKCE strictly, and lies as a test wants it to."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "tollway", "secret/with+signs"
FAULTS = (
    *("nonce", "no nonce", "audience", "other party", "expired", "from the future", "no expiry", "none", "issuer", "shared secret"),
    *("stranger's key", "no subject", "no token", "not json", "huge", "redirect", "500"),
)


class Oidc:
    """`claims` are of the one who signs in; `fault` is one of FAULTS. `asked` counts requests by path; `codes` were given out."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.fault = ""
        self.asked: dict[str, int] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.says_it_is = ""
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self.url = ""

    def rotate(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": f"{self.key.kid}+", "use": "sig", "alg": "RS256"})

    def answer(self, path: str, query: dict[str, str], form: dict[str, str], authorization: str) -> tuple[int, dict[str, str], bytes]:
        self.asked[path] = self.asked.get(path, 0) + 1
        if path == "/.well-known/openid-configuration":
            return _json(self._configuration())
        if path == "/keys":
            return _json({"keys": [self.key.as_dict(private=False)]})
        if path == "/authorize":
            return self._authorize(query)
        if path == "/token":
            return self._token(form, authorization)
        return 404, {}, b""

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.says_it_is or self.url, "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys", "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }  # fmt: skip

    def _authorize(self, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        right = {"client_id": CLIENT_ID, "response_type": "code", "code_challenge_method": "S256"}
        if any(query.get(name) != value for name, value in right.items()) or "openid" not in query["scope"].split():
            return 400, {}, b"bad request"
        code = f"code{len(self.codes)}"
        self.codes[code] = query
        back = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        return 302, {"location": back}, b""

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, str], bytes]:
        asked = self.codes.pop(form.get("code", ""), None)
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        right = f"{CLIENT_ID}:{urlencode({'': CLIENT_SECRET})[1:]}"
        if asked is None or pair != right or form["redirect_uri"] != asked["redirect_uri"] or not _proves(form, asked):
            return 400, {}, b'{"error": "invalid_grant"}'
        odd = {"not json": (200, {}, b"<html>"), "huge": (200, {}, b" " * (2 << 20)), "500": (500, {}, b"{}"),
               "redirect": (302, {"location": f"{self.url}/keys"}, b""), "no token": _json({"access_token": "x"})}  # fmt: skip
        return odd.get(self.fault) or _json({"access_token": "x", "token_type": "Bearer", "id_token": self._id_token(asked["nonce"])})

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce, **self.claims}
        claims |= {
            "nonce": {"nonce": "other"}, "audience": {"aud": "other"}, "other party": {"aud": [CLIENT_ID, "other"], "azp": "other"},
            "expired": {"iat": now - 900, "exp": now - 600}, "from the future": {"iat": now + 900}, "issuer": {"iss": "https://evil.example"},
        }.get(self.fault, {})  # fmt: skip
        for missing in {"no nonce": ("nonce",), "no expiry": ("exp",), "no subject": ("sub",)}.get(self.fault, ()):
            claims.pop(missing)
        if self.fault == "none":
            return f"{_part({'alg': 'none'})}.{_part(claims)}."
        if self.fault == "shared secret":
            signed = f"{_part({'alg': 'HS256', 'kid': self.key.kid})}.{_part(claims)}"
            return f"{signed}.{_text(hmac.digest(self.key.as_pem(private=False), signed.encode(), 'sha256'))}"
        key = RSAKey.generate_key(2048, {"kid": self.key.kid}) if self.fault == "stranger's key" else self.key
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, key)


@contextmanager
def oidc_provider() -> Iterator[Oidc]:
    provider = Oidc()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            self._answer(_flat(self.rfile.read(length).decode()))

        def _answer(self, form: dict[str, str]) -> None:
            url = urlsplit(self.path)
            status, headers, body = provider.answer(url.path, _flat(url.query), form, self.headers.get("authorization", ""))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _proves(form: dict[str, str], asked: dict[str, str]) -> bool:
    made = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    return _text(made) == asked["code_challenge"]


def _part(value: dict[str, Any]) -> str:
    return _text(json.dumps(value).encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _json(value: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps(value).encode()


def _flat(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query).items()}

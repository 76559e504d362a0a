"""Single sign-on by OpenID Connect: code flow with PKCE (S256), at one issuer from the settings, any that has discovery.

What must survive the way to the issuer and back (state, nonce, PKCE verifier, where to go on) is a signed value of ten minutes in a cookie:
bound to the browser, worth nothing elsewhere, and taken away on the way back. The id token is believed if its signature, algorithm,
issuer, audience, times and nonce are right (OpenID Connect Core 3.1.3.7). Only https, or http on this machine.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from gateway.mail import LOOPBACK
from policy.errors import SignInRefused
from policy.signed import opened, signed
from policy.single_sign_on import SUBJECT_CHARACTERS_MAX, Claimed

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import KeySet

JOURNEY_MS: Final = 10 * 60_000
FRESH_MS: Final = 10 * 60_000
SECONDS_MAX: Final = 10.0
BYTES_MAX: Final = 1 << 20
LEEWAY_SECONDS: Final = 60
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Of id tokens: none with a shared secret, and never `none`."""
_PURPOSE: Final = "single-sign-on"
FAILED: Final = "The sign-in service did not let you in. Try again."
AWAY: Final = "The sign-in service does not answer as it should. Try again later, or sign in another way."


class Unreachable(SignInRefused):
    """The issuer does not answer, or not as the standard has it; `why` is for the log and holds nothing of an answer."""

    def __init__(self, why: str) -> None:
        super().__init__(AWAY)
        self.why = why


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked, from the settings; `name` is on the button."""

    url: str
    client_id: str
    client_secret: str
    name: str

    def __repr__(self) -> str:
        return f"Issuer({self.url!r})"


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """`address` is where the browser is sent, `cookie` what it keeps meanwhile."""

    address: str
    cookie: str


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """`connecting`: the person who set out, signed in, to connect themselves; None for who signs in. `next`: where they wanted to go."""

    who: Claimed
    connecting: str | None
    next: str


@dataclass(kw_only=True)
class SingleSignOn:
    """`clock` gives Unix ms. Every method raises SignInRefused with what to tell the person."""

    issuer: Issuer
    callback: str
    client: "httpx.AsyncClient"
    clock: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    secrets: tuple[str, ...] = field(repr=False)
    _found: tuple[int, Discovered, "KeySet"] | None = None

    async def depart(self, *, next: str, connecting: str | None) -> Journey:
        found, _ = await self._discovered()
        state, nonce, verifier = (_text(self.random_bytes(32)) for _ in range(3))
        values = {"state": state, "nonce": nonce, "verifier": verifier, "next": next, "connecting": connecting or ""}
        query = {
            "response_type": "code", "client_id": self.issuer.client_id, "redirect_uri": self.callback, "scope": "openid email profile",
            "state": state, "nonce": nonce, "code_challenge_method": "S256",
            "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
        }  # fmt: skip
        joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
        cookie = signed(values, purpose=_PURPOSE, secret=self.secrets[0], expires_at=self.clock() + JOURNEY_MS)
        return Journey(address=f"{found.authorization_endpoint}{joint}{urlencode(query)}", cookie=cookie)

    async def arrive(self, *, cookie: str, code: str, state: str) -> Arrived:
        """The end of the journey that the cookie began. An answer for another browser, or one that comes twice, finds no cookie."""
        values = opened(cookie, purpose=_PURPOSE, secrets=self.secrets, now=self.clock())
        if values is None or not code or not hmac.compare_digest(values["state"].encode(), state.encode("utf-8", "replace")):
            raise SignInRefused(FAILED)
        found, keys = await self._discovered()
        token = await self._redeemed(found, code, values["verifier"])
        claims = self._believed(token, keys, values["nonce"])
        if claims is None:  # the issuer may have changed its keys since they were read
            self._found = None
            found, keys = await self._discovered()
            claims = self._believed(token, keys, values["nonce"])
        if claims is None:
            raise SignInRefused(FAILED)
        who = Claimed(
            issuer=found.issuer, subject=claims["sub"], email=str(claims.get("email", "")),
            email_verified=claims.get("email_verified") is True,
        )  # fmt: skip
        return Arrived(who=who, connecting=values["connecting"] or None, next=values["next"])

    async def _redeemed(self, found: Discovered, code: str, verifier: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.callback, "code_verifier": verifier}
        methods, headers = found.token_endpoint_auth_methods_supported, {}
        if "client_secret_basic" in methods or "client_secret_post" not in methods:
            headers["authorization"] = _basic(self.issuer.client_id, self.issuer.client_secret)
        else:
            form["client_secret"] = self.issuer.client_secret
        form["client_id"] = self.issuer.client_id
        answer = await self._ask("POST", found.token_endpoint, data=form, headers=headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInRefused(FAILED)
        return token

    def _believed(self, token: str, keys: "KeySet", nonce: str) -> dict[str, Any] | None:
        """The claims; None if the key that it names is not among those. SignInRefused for a token that is wrong in anything else."""
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        try:
            decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
            essential: Any = {"essential": True}
            rules: dict[str, Any] = {
                "iss": {"essential": True, "value": self.issuer.url}, "aud": {"essential": True, "value": self.issuer.client_id},
                "nonce": {"essential": True, "value": nonce}, "exp": essential, "iat": essential, "sub": essential,
            }  # fmt: skip
            jwt.JWTClaimsRegistry(now=self.clock() // 1000, leeway=LEEWAY_SECONDS, **rules).validate(decoded.claims)
        except InvalidKeyIdError:
            return None
        except (JoseError, ValueError, TypeError, KeyError):
            raise SignInRefused(FAILED) from None
        claims = decoded.claims
        audience, party = claims["aud"], claims.get("azp", self.issuer.client_id)
        if (isinstance(audience, list) and len(audience) > 1 and "azp" not in claims) or party != self.issuer.client_id:
            raise SignInRefused(FAILED)
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= SUBJECT_CHARACTERS_MAX or not claims["sub"].isprintable():
            raise SignInRefused(FAILED)
        return claims

    async def _discovered(self) -> tuple[Discovered, "KeySet"]:
        if self._found is not None and self.clock() - self._found[0] < FRESH_MS:
            return self._found[1], self._found[2]
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        raw = await self._ask("GET", f"{self.issuer.url.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = msgspec.convert(raw, Discovered)
            for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
                check_address(address)
        except (msgspec.ValidationError, ValueError):
            raise Unreachable("its configuration is not one") from None
        if found.issuer != self.issuer.url:
            raise Unreachable("it says that it is another issuer")
        try:
            keys = KeySet.import_key_set(await self._ask("GET", found.jwks_uri))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError):
            raise Unreachable("its keys are none") from None
        self._found = (self.clock(), found, keys)
        return found, keys

    async def _ask(self, method: str, address: str, **more: Any) -> dict[str, Any]:
        """A JSON object, bounded in time and size, without following redirects."""
        import httpx

        body = b""
        try:
            async with self.client.stream(method, address, follow_redirects=False, timeout=SECONDS_MAX, **more) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > BYTES_MAX:
                        raise Unreachable("its answer is too large")
        except httpx.HTTPError as error:
            raise Unreachable(type(error).__name__) from None
        if 400 <= response.status_code < 500 and method == "POST":
            raise SignInRefused(FAILED)
        if response.status_code != 200:
            raise Unreachable(f"it answers {response.status_code}")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError:
            raise Unreachable("its answer is no JSON") from None


def check_address(url: str) -> None:
    """ValueError unless it is https, or http on this machine."""
    found = urlsplit(url)
    if not found.hostname or found.username or (found.scheme != "https" and (found.scheme, found.hostname in LOOPBACK) != ("http", True)):
        raise ValueError("must begin with https:// (http:// only on this machine) and a host")


def open_client() -> "httpx.AsyncClient":
    """Without proxies or credentials of the environment."""
    import httpx

    return httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=10))


def _basic(id: str, secret: str) -> str:
    """RFC 6749, 2.3.1: both are form-encoded first."""
    pair = f"{urlencode({'': id})[1:]}:{urlencode({'': secret})[1:]}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

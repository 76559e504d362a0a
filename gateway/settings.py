"""Settings: the only reader of the environment and of `.env`. Every field documents itself; `describe` feeds the README's table."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from dotenv import dotenv_values

from gateway.client_address import networks
from gateway.mail import check_url
from gateway.oidc import check_address

DEVELOPMENT_SECRET: Final = "tollway-development-secret-not-for-production"  # noqa: S105 - production refuses it
SECRET_CHARACTERS_MIN: Final = 32
PORT_MAX: Final = 65_535
PREVIOUS_MAX: Final = 3
PERCENT_MAX: Final = 100
_PERCENT: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?")
ZERO: Final = ("port", "free_requests_per_minute", "free_tokens_per_minute", "free_concurrency")
"""Settings that may be 0: any free port, and no limit."""
OTLP: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_ORIGIN: Final = re.compile(r"https?://[^/\s]")
AWS_PARTS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""A provider row that names the first means all three; the last is for temporary keys."""


def _setting(default: Any, text: str, *, secret: bool = False) -> Any:
    """`secret`: may hold a key or a password, so it never shows in a repr."""
    return field(default=default, metadata={"text": text}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Field `name` is read from `TOLLWAY_NAME`. Units stand in the names; bytes and counts are whole numbers."""

    env: str = _setting("development", "`production` refuses to start with the development secret")
    database_url: str = _setting("sqlite:///.tollway/tollway.db", "`sqlite:///path` or `postgresql://user@host/name`", secret=True)
    redis_url: str = _setting("", "`redis://host:port/0`: limits shared between processes; empty = limits in memory", secret=True)
    secret_key: str = _setting(DEVELOPMENT_SECRET, "32 characters or more; every other secret is derived from it", secret=True)
    secret_key_previous: str = _setting(
        "", f"the secrets before it, newest first, at most {PREVIOUS_MAX}, with commas: what they made still opens", secret=True
    )
    catalog: str = _setting("", "path of one more catalog file, added to the built-in catalog")
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8080, "port to listen on")
    public_url: str = _setting(
        "", "where browsers reach the pages, also in mails; empty = `http://host:port`; with `https://` cookies are secure"
    )
    workers: int = _setting(1, "serving processes; more than one needs Postgres")
    connect_seconds: float = _setting(5.0, "longest wait for a connection to a provider")
    first_byte_seconds: float = _setting(60.0, "longest silence of a provider before the first event of its stream")
    answer_seconds: float = _setting(300.0, "longest wait for a provider's answer that is not streamed")
    idle_seconds: float = _setting(60.0, "longest silence of a provider inside an answer, and of a client that takes nothing")
    total_seconds: float = _setting(900.0, "longest life of one generation")
    comment_seconds: float = _setting(10.0, "silence after which a stream gets a keep-alive comment")
    drain_seconds: float = _setting(120.0, "how long a stopping server lets running generations finish")
    body_seconds: float = _setting(30.0, "longest time a client may take to send its request")
    body_bytes_max: int = _setting(20 * 2**20, "largest request body")
    event_bytes_max: int = _setting(2**20, "largest single event of a provider's stream")
    response_bytes_max: int = _setting(64 * 2**20, "largest answer of a provider")
    generations_max: int = _setting(10_000, "generations running at once in one process; more are refused with 503")
    upstream_connections_max: int = _setting(10_000, "connections to providers at once in one process")
    health: str = _setting("on", "`off`: no endpoint is ever left out or ranked by its health")
    free_requests_per_minute: int = _setting(0, "requests per minute of an account that never had paid credit; 0 = no limit")
    free_tokens_per_minute: int = _setting(0, "tokens per minute of such an account; 0 = no limit")
    free_concurrency: int = _setting(0, "requests at once of such an account; 0 = no limit")
    chores: str = _setting("on", "`off`: this server leaves sealing, expiry and pruning to `tollway worker`")
    content_keys: str = _setting(
        "", "`name:base64` or `name:file:/path`, keys that wrap stored content, the current one first; empty = derived", secret=True
    )
    byok_fee_percent: str = _setting("0", "percent of the list price charged where a customer's own provider key is used")
    sharing_discount_percent: str = _setting("0", "percent that accounts which share for product improvement pay less")
    metrics: str = _setting("on", "`off`: no `GET /metrics`; with more than one worker each answers with its own figures, marked `process`")
    log_format: str = _setting("text", "`json`: one JSON object per line on stderr, with declared fields only")
    posthog_key: str = _setting("", "project key for anonymous events from a closed list; empty = none are sent", secret=True)
    posthog_host: str = _setting("", "where they go, for instance `https://eu.i.posthog.com`; needed with the key")
    smtp_url: str = _setting("", "`smtp://user:password@host:587` or `smtps://...:465`; empty = mails go to the folder", secret=True)
    mail_from: str = _setting("Tollway <tollway@localhost>", "sender of mails")
    mail_folder: str = _setting(".tollway/mail", "where mails are written without a mail server; not in production, where none are sent")
    invoice_from: str = _setting("", "who invoices are from: name, address and tax number, in one line")
    trusted_proxies: str = _setting("", "addresses or networks, with commas, whose `X-Forwarded-For` says who the client is; empty = none")
    oidc_issuer: str = _setting("", "issuer of OpenID Connect single sign-on, for instance `https://id.example.com`; empty = none")
    oidc_client_id: str = _setting("", "this installation at the issuer; its redirect address is `TOLLWAY_PUBLIC_URL/login/sso/callback`")
    oidc_client_secret: str = _setting("", "the secret to it", secret=True)
    oidc_name: str = _setting("single sign-on", "what the button says: Sign in with ...")
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """From the environment, then `.env` in the working directory. ValueError names the variable that is wrong."""
        environment = {**{key: value or "" for key, value in dotenv_values(".env").items()}, **os.environ}
        values = {name: _parse(name, environment[env], kind) for name, env, kind in _variables() if environment.get(env)}
        settings = cls(**{**values, **overrides}, environment=environment)
        settings.check()
        return settings

    def check(self) -> None:
        if len(self.secret_key) < SECRET_CHARACTERS_MIN:
            raise ValueError(f"TOLLWAY_SECRET_KEY must have {SECRET_CHARACTERS_MIN} characters or more")
        if self.env not in ("development", "production"):
            raise ValueError("TOLLWAY_ENV must be development or production")
        if self.env == "production" and self.secret_key == DEVELOPMENT_SECRET:
            raise ValueError("TOLLWAY_SECRET_KEY must be set in production: 32 random characters or more")
        self._check_previous()
        for name in ("chores", "health", "metrics"):
            if getattr(self, name) not in ("on", "off"):
                raise ValueError(f"{_env(name)} must be on or off")
        self._check_telemetry()
        self._check_people()
        for name, bps in (("byok_fee_percent", self.byok_fee_bps), ("sharing_discount_percent", self.sharing_discount_bps)):
            if bps > PERCENT_MAX * 100:
                raise ValueError(f"{_env(name)} must be {PERCENT_MAX} or less")
        if self.port > PORT_MAX:
            raise ValueError(f"TOLLWAY_PORT must be {PORT_MAX} or less")
        if self.workers < 1:
            raise ValueError("TOLLWAY_WORKERS must be 1 or more")
        if self.workers > 1 and self.database_url.startswith("sqlite"):
            raise ValueError("TOLLWAY_WORKERS above 1 needs Postgres: set TOLLWAY_DATABASE_URL=postgresql://..., or TOLLWAY_WORKERS=1")

    def _check_previous(self) -> None:
        found = self.secrets
        if len(found) > 1 + PREVIOUS_MAX or len(set(found)) < len(found):
            raise ValueError(f"TOLLWAY_SECRET_KEY_PREVIOUS must be {PREVIOUS_MAX} secrets at most, each another than TOLLWAY_SECRET_KEY")
        if any(len(each) < SECRET_CHARACTERS_MIN for each in found):
            raise ValueError(f"TOLLWAY_SECRET_KEY_PREVIOUS must have {SECRET_CHARACTERS_MIN} characters or more in each secret")

    def _check_people(self) -> None:
        if self.smtp_url:
            check_url(self.smtp_url)
        if not self.mail_from.isprintable() or "@" not in self.mail_from:
            raise ValueError("TOLLWAY_MAIL_FROM must be an address, for instance Tollway <tollway@example.com>")
        networks(self.trusted_proxies)
        given = (self.oidc_issuer, self.oidc_client_id, self.oidc_client_secret)
        if any(given) and not all(given):
            raise ValueError("TOLLWAY_OIDC_ISSUER, TOLLWAY_OIDC_CLIENT_ID and TOLLWAY_OIDC_CLIENT_SECRET must be set together, or none")
        if self.oidc_issuer:
            try:
                check_address(self.oidc_issuer)
            except ValueError as error:
                raise ValueError(f"TOLLWAY_OIDC_ISSUER {error}") from None

    def _check_telemetry(self) -> None:
        if self.log_format not in ("text", "json"):
            raise ValueError("TOLLWAY_LOG_FORMAT must be text or json")
        if bool(self.posthog_key) != bool(self.posthog_host):
            raise ValueError("TOLLWAY_POSTHOG_KEY and TOLLWAY_POSTHOG_HOST must be set together, or neither of them")
        urls = (("TOLLWAY_POSTHOG_HOST", self.posthog_host), (OTLP, self.otlp_endpoint), ("TOLLWAY_PUBLIC_URL", self.public_url))
        for name, url in urls:
            if url and _ORIGIN.match(url) is None:
                raise ValueError(f"{name} must begin with http:// or https:// and a host")

    @property
    def secrets(self) -> tuple[str, ...]:
        """`secret_key`, and those before it, newest first."""
        return (self.secret_key, *(each.strip() for each in self.secret_key_previous.split(",") if each.strip()))

    @property
    def otlp_endpoint(self) -> str:
        """Where traces go; empty = nowhere. The name is OpenTelemetry's own."""
        return self.environment.get(OTLP, "").strip()

    @property
    def origin(self) -> str:
        """Scheme, host and port of the pages, without a slash at the end."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def byok_fee_bps(self) -> int:
        """The fee in basis points (hundredths of a percent), exact. ValueError if it is not written as digits with at most two decimals."""
        return self._bps("byok_fee_percent")

    @property
    def sharing_discount_bps(self) -> int:
        """The discount in basis points, likewise."""
        return self._bps("sharing_discount_percent")

    def _bps(self, name: str) -> int:
        text: str = getattr(self, name)
        found = _PERCENT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{_env(name)} must be a percentage with at most two decimals, not {text[:40]!r}")
        return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))

    def provider_keys(self, names: set[str]) -> dict[str, str]:
        """The providers' API keys that are set, by the name of their variable."""
        return {name: value for name in names if (value := self._provider_key(name))}

    def _provider_key(self, name: str) -> str:
        """The variable's value; of AWS_PARTS, joined by colons, half a key is none."""
        if name != AWS_PARTS[0]:
            return self.environment.get(name, "").strip()
        id, secret, token = (self.environment.get(part, "").strip() for part in AWS_PARTS)
        return ":".join(filter(None, (id, secret, token))) if id and (secret or ":" in id) else ""


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, text) of every setting, for the README and for the test that compares them."""
    return [(_env(item.name), str(item.default), item.metadata["text"]) for item in fields(Settings) if item.metadata]


def _variables() -> list[tuple[str, str, Any]]:
    return [(item.name, _env(item.name), item.type) for item in fields(Settings) if item.metadata]


def _env(name: str) -> str:
    return f"TOLLWAY_{name.upper()}"


def _parse(name: str, text: str, kind: Any) -> Any:
    try:
        value = kind(text.strip())
    except ValueError:
        raise ValueError(f"{_env(name)} must be a {'whole number' if kind is int else 'number'}, not {text[:40]!r}") from None
    if kind is not str and not 0 < value < 2**40 and not (value == 0 and name in ZERO):
        raise ValueError(f"{_env(name)} must be above zero, not {text[:40]!r}")
    return value

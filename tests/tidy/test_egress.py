"""Nothing leaves for a server, and no cookie for a browser, that is not in the lists which the pages show."""

import ast
import re
from dataclasses import fields

from gateway import subprocessors
from gateway.cookies import cookies
from gateway.settings import Settings
from tests.tidy.tree import PACKAGES, imported_names, listed, place, python_files, tree

CONNECTING = (
    *("aiohttp", "aiosmtplib", "asyncpg", "authlib", "boto3", "botocore.httpsession", "ftplib", "grpc", "http.client", "httpx", "imaplib"),
    *("opentelemetry.exporter", "posthog", "psycopg", "pyreqwest", "redis.asyncio", "requests", "smtplib", "socket", "ssl", "stripe"),
    *("urllib.request", "urllib3", "websockets"),
)
"""Modules with which one can open a connection."""
OPENING = {"create_connection", "open_connection", "create_unix_connection", "create_datagram_endpoint"}
SENDS = {
    "gateway/analytics.py": "analytics",
    "gateway/mail.py": "mail",
    "gateway/oidc.py": "sign_in",
    "gateway/otlp.py": "tracing",
    "gateway/people.py": "sign_in",
    "metering/database.py": "database",
    "metering/batch_postgres.py": "database",
    "policy/health_redis.py": "limits",
    "policy/limits_redis.py": "limits",
    "policy/sticky_redis.py": "limits",
    "policy/tapes_redis.py": "limits",
    "providers/wire.py": "provider",
}
"""By file, to which kind of third party it connects."""
ONLY_LISTENS = {"gateway/server.py"}
SERVER = re.compile(r"(_url|_host|_issuer|_endpoint|_server)$")
OURS = {"public_url"}
"""Settings that name a server of our own."""
COOKIE = re.compile(r"(__Host-|__Secure-)?tollway_[a-z0-9_]+")
SETTING = re.compile(r"set_cookie|set-cookie|litestar.*\bCookie\b", re.IGNORECASE)


def _connects(module: ast.Module) -> bool:
    names = [name for _, name in imported_names(module)]
    opening = any(isinstance(node, ast.Attribute) and node.attr in OPENING for node in ast.walk(module))
    return opening or any(name == each or name.startswith(f"{each}.") for name in names for each in CONNECTING)


def test_whatever_can_connect_says_to_whom_and_they_are_in_the_list() -> None:
    connecting = {place(path) for path in python_files(*PACKAGES) if _connects(tree(path))}
    assert connecting - ONLY_LISTENS - set(SENDS) == set(), "name the kind of third party here, and describe it in subprocessors.toml"
    assert set(SENDS) - connecting == set()
    assert set(SENDS.values()) <= {kind.kind for kind in subprocessors.declared().kind}


def test_a_connection_is_noticed() -> None:
    for code in (
        "import httpx",
        "from redis.asyncio import Redis",
        "import urllib.request",
        "def f(loop):\n  loop.open_connection()",
    ):
        assert _connects(ast.parse(code)), code
    assert not _connects(ast.parse("import redislike\nfrom urllib.parse import urlsplit"))


def test_every_setting_that_names_a_server_is_in_the_list() -> None:
    names = {each.name for each in fields(Settings) if SERVER.search(each.name)} - OURS
    assert not listed(sorted(names - set(subprocessors.SETTINGS.values())))


def test_every_cookie_that_is_set_is_in_the_list() -> None:
    declared = {cookie.name for cookie in cookies().cookie}
    wrong = []
    for path in python_files(*PACKAGES):
        text = path.read_text()
        if "cookie" in text.lower():
            found = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            wrong += [f"{place(path)}: {name}" for name in sorted(found) if COOKIE.fullmatch(name) and name not in declared]
            literal = re.findall(r"""set_cookie\(\s*(?:key=)?["']([^"']+)""", text)
            wrong += [f"{place(path)}: {name}" for name in literal if name not in declared]
    assert not listed(wrong)


def test_cookies_are_set_in_one_package_only() -> None:
    setting = {place(path) for path in python_files(*PACKAGES) if SETTING.search(path.read_text())}
    assert not listed(sorted(name for name in setting if not name.startswith("gateway/dashboard/")))

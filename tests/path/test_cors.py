"""A web page may call the API from anywhere with a key of its own: preflights need no key, answers may be read, no cookie is asked for."""

import http.client
import json
import re
from collections.abc import Iterator

import pytest

from gateway.app import HOT, create_app
from tests.path.promises import TWO, Routes, routes

NEEDED = {
    "authorization", "content-type", "idempotency-key", "x-title", "http-referer", "traceparent", "x-api-key", "anthropic-version",
    "x-session-id", "x-stainless-lang", "x-stainless-runtime", "x-stainless-retry-count", "x-stainless-package-version", "*",
}  # fmt: skip
READABLE = {"x-generation-id", "x-tollway-adjusted", "x-request-id", "retry-after"}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    with routes(tmp_path_factory.mktemp("cors")) as place:
        yield place


def ask(at: Routes, method: str, path: str, body: bytes = b"", key: str = "", *, api: bool = True) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", at.tollway.port, timeout=30)
    headers = {"Origin": "https://page.example", **({"Authorization": f"Bearer {key}"} if key else {})}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    names = [name.lower() for name, _ in answer.getheaders()]
    assert len([name for name in names if name == "access-control-allow-origin"]) == api
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


def api_paths() -> list[str]:
    paths = {*HOT, *(route.path for route in create_app().litestar.routes)}
    return sorted(re.sub(r"{[^}]*}", "x", path) for path in paths if path.startswith(("/v1/", "/api/v1/")))


def test_every_route_answers_a_preflight_without_a_key(at: Routes) -> None:
    paths = api_paths()
    assert {"/v1/chat/completions", "/api/v1/keys/x", "/v1/models/x", "/api/v1/models/count"} <= set(paths)
    for path in paths:
        status, headers, body = ask(at, "OPTIONS", path)
        assert (status, body) == (204, b""), path
        assert headers["access-control-allow-origin"] == "*"
        assert words(headers["access-control-allow-methods"]) >= {"get", "post", "put", "patch", "delete"}
        assert words(headers["access-control-allow-headers"]) >= NEEDED
        assert int(headers["access-control-max-age"]) > 0
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("GET", "/v1/models", b"", 200),
    ("GET", "/v1/key", b"", 200),
    ("GET", "/v1/keys/unknown", b"", 404),
    ("GET", "/v1/nothing", b"", 404),
    ("GET", "/v1/chat/completions", b"", 405),
    ("POST", "/v1/chat/completions", b"{", 400),
    ("POST", "/api/v1/chat/completions", b'{"model": "m/two", "messages": [{"role": "user", "content": "Hi"}]}', 200),
    ("POST", "/v1/chat/completions", b'{"model": "m/two", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}', 200),
])  # fmt: skip
def test_every_answer_may_be_read_by_any_page(at: Routes, method: str, path: str, body: bytes, status: int) -> None:
    for key in (at.account.key, "") if status in (200, 400) and path != "/v1/models" else (at.account.key,):
        found, headers, _ = ask(at, method, path, body, key)
        assert found == (status if key else 401)
        assert (headers["access-control-allow-origin"], words(headers["access-control-expose-headers"]) >= READABLE) == ("*", True)
        assert "access-control-allow-credentials" not in headers


def test_what_is_outside_the_api_answers_no_preflight(at: Routes) -> None:
    status, headers, _ = ask(at, "OPTIONS", "/health/live", api=False)
    assert not [name for name in headers if name.startswith("access-control-")]
    assert status in (204, 405)


def test_a_page_that_was_turned_away_reads_when_to_come_again(at: Routes) -> None:
    at.fake.fault("two-a", fault="rate-limit", secs=7)
    at.fake.fault("two-b", fault="rate-limit", secs=7)
    body = json.dumps({"model": TWO, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    status, headers, _ = ask(at, "POST", "/v1/chat/completions", body, at.account.key)
    assert (status, headers["retry-after"]) == (429, "7")
    assert "retry-after" in words(headers["access-control-expose-headers"])
    at.fake.reset()

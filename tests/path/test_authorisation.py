"""Who may do what: every route of the app, with every kind of key, and with the ids of another account. A route without a rule fails."""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from gateway.app import HOT, create_app
from gateway.settings import Settings
from tests.browser import pages as dashboard
from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.path.routes import MODELS, Crossing, crossing

ROLES = ("nobody", "revoked", "inference", "management", "owner")
REFUSED = {
    "public": {},
    "any": {"nobody": 401, "revoked": 401},
    "models": {"nobody": 401, "revoked": 401, "management": 403},
    "account": {"nobody": 401, "revoked": 401, "inference": 403},
    "owner": {"nobody": 401, "revoked": 401, "inference": 403, "management": 403},
}
"""By rule, the roles that are refused and with which status; all others get past the door, whatever they are told then."""

RULES = {
    "GET /health/live": "public",
    "GET /health/ready": "public",
    "GET /metrics": "public",
    "GET /openapi.json": "public",
    "GET /models": "public",
    "GET /models/count": "public",
    "GET /models/user": "any",
    "GET /models/{id}": "public",
    "GET /model/{id}": "public",
    "GET /embeddings/models": "public",
    "GET /endpoints/zdr": "public",
    "GET /providers": "public",
    "GET /subprocessors": "public",
    "POST /chat/completions": "models",
    "POST /completions": "models",
    "POST /embeddings": "models",
    "POST /messages": "models",
    "POST /messages/count_tokens": "models",
    "POST /responses": "models",
    "GET /generation/stream": "models",
    "GET /key": "any",
    "GET /auth/key": "any",
    "GET /credits": "any",
    "GET /generation": "any",
    "GET /generation/content": "any",
    "POST /route/explain": "any",
    "GET /ledger/proof": "account",
    "GET /usage/export": "account",
    "GET /activity": "account",
    "GET /logs": "account",
    "DELETE /logs": "account",
    "GET /account/privacy": "account",
    "PATCH /account/privacy": "account",
    "GET /account/privacy/history": "account",
    "GET /account/close": "owner",
    "POST /account/close": "owner",
    "POST /account/export": "owner",
    "POST /account/close/cancel": "owner",
    "GET /account/requests": "owner",
    "POST /account/requests": "owner",
    "GET /account/profile": "owner",
    "PATCH /account/profile": "owner",
    "GET /account/routing": "account",
    "PUT /account/routing": "account",
    "PATCH /account/routing": "account",
    "GET /account/limits": "account",
    "PUT /account/limits": "account",
    "GET /account/provider-keys": "account",
    "POST /account/provider-keys": "account",
    "DELETE /account/provider-keys/{id}": "account",
    "GET /keys": "account",
    "POST /keys": "account",
    "GET /keys/{id}": "account",
    "PATCH /keys/{id}": "account",
    "DELETE /keys/{id}": "account",
}
FOREIGN = {
    "GET /generation": "?id={generation}",
    "GET /generation/content": "?id={generation}",
    "GET /generation/stream": "?id={generation}",
    "GET /activity": "?api_key_hash={key}",
    "DELETE /logs": "?id={generation}",
    "GET /keys/{id}": "{key}",
    "PATCH /keys/{id}": "{key}",
    "DELETE /keys/{id}": "{key}",
    "DELETE /account/provider-keys/{id}": "{provider_key}",
}
"""The routes that take the id of something, and where another account's stands in them. Of a deletion that counts, the count is 0."""
COUNTED = {"DELETE /logs"}
BODIES = {"PATCH /keys/{id}": {"name": "taken over"}}
IDS = {"id", "hash", "api_key_hash", "generation_id", "key_id"}
BOTH_PREFIXES = re.compile(r"^/(api/)?v1(?=/)")


class House(NamedTuple):
    """A server, one account with a key of every kind, and another account with one of everything that has an id."""

    place: Crossing
    keys: dict[str, str]
    ids: dict[str, str]

    def send(self, method: str, path: str, key: str, body: object = None) -> Answer:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.place.tollway.port, timeout=30)) as connection:
            headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
            connection.request(method, path, b"" if method == "GET" else json.dumps(body or {}).encode(), headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def house(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("doors"), request) as place:
        yield House(place, _keys(place), _one_of_everything(place._replace(account=place.tollway.account("5"))))


def _keys(place: Crossing) -> dict[str, str]:
    keys = {"nobody": "", "owner": place.account.key, "inference": place.key(), "management": place.key("--management")}
    gone = place.tollway.cli_json("key", "create", "--account", place.account.account_id)
    assert place.tollway.cli("key", "revoke", gone["id"]).returncode == 0
    return {**keys, "revoked": gone["key"]}


def _one_of_everything(other: Crossing) -> dict[str, str]:
    assert other.send("PATCH", "account/privacy", {"logging": "full"}).status == 200
    answer = ask(other.tollway.port, other.account.key, MODELS[0])
    assert answer.status == 200, answer.body
    own = other.send("POST", "account/provider-keys", {"provider": "dear", "key": "sk-own-key-of-the-customer"})
    assert own.status == 201, own.body
    (key, *_) = other.send("GET", "keys").json["data"]
    return {"generation": answer.headers["x-generation-id"], "key": key["hash"], "provider_key": own.json["data"]["id"]}


def _routes() -> dict[str, set[str]]:
    """`GET /keys/{id}` (whatever the parameter's name, and without the version's prefix) -> the parameters of its handler.

    Pages have their own table (`dashboard_rules.py`).
    """
    pages = {route.path for route in dashboard.routes()}
    found: dict[str, set[str]] = {f"POST {BOTH_PREFIXES.sub('', path)}": set() for path in HOT}
    for route in create_app(Settings()).litestar.routes:
        if route.path in pages or route.path.startswith("/static"):
            continue
        path = re.sub(r"\{[^}]*\}", "{id}", BOTH_PREFIXES.sub("", route.path))
        for handler in getattr(route, "route_handlers", ()):
            parameters = set(handler.parsed_fn_signature.parameters)
            found |= {f"{method} {path}": parameters for method in handler.http_methods - {"OPTIONS", "HEAD"}}
    return {name: parameters for name, parameters in found.items() if not name.startswith("GET /schema")}


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert set(_routes()) ^ set(RULES) <= {"GET /metrics"}
    assert set(RULES.values()) <= set(REFUSED)


def test_every_route_that_takes_an_id_is_tried_with_a_foreign_one() -> None:
    taking = {name for name, parameters in _routes().items() if RULES.get(name) != "public" and parameters & IDS}
    assert taking == set(FOREIGN)


def test_a_route_is_under_both_prefixes_with_one_rule() -> None:
    paths = {route.path for route in create_app(Settings()).litestar.routes} | set(HOT)
    versioned = {path.removeprefix("/api") for path in paths if BOTH_PREFIXES.match(path)}
    assert {path for path in versioned if path not in paths or f"/api{path}" not in paths} == set()


@pytest.mark.parametrize("name", sorted(RULES))
def test_each_kind_of_key_gets_past_the_doors_that_are_its_own_and_no_other(house: House, name: str) -> None:
    method, _, path = name.partition(" ")
    if name not in _routes():
        pytest.fail("there is no such route: take its rule away")
    bare = path.startswith(("/health", "/metrics", "/openapi", "/.well-known"))
    for prefix in ("",) if bare else ("/v1", "/api/v1"):
        for role in ROLES:
            answer = house.send(method, prefix + path.replace("{id}", "no-such-thing"), house.keys[role])
            wanted = REFUSED[RULES[name]].get(role)
            seen = answer.status if answer.status in (401, 403) else None
            assert seen == wanted, (prefix, role, answer.status, answer.body[:300])
            assert answer.status < 500


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_foreign_id_is_answered_as_one_that_does_not_exist(house: House, name: str) -> None:
    method, _, path = name.partition(" ")

    def tried(**ids: str) -> tuple[int, Any]:
        where = FOREIGN[name].format(**ids)
        target = f"/v1{path}{where}" if where.startswith("?") else f"/v1{path.replace('{id}', where)}"
        answer = house.send(method, target, house.keys["owner"], BODIES.get(name))
        return answer.status, answer.json["data"]["deleted"] if name in COUNTED else answer.json

    foreign, unknown = tried(**house.ids), tried(**dict.fromkeys(house.ids, "no-such-thing"))
    assert foreign == unknown
    assert foreign[0] == (200 if name in COUNTED else 404)
    assert name not in COUNTED or foreign[1] == 0

"""Input that must be refused: with the right status, a message that names the field, nothing held, nothing charged, nothing sent."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.hostile import MODEL, Answer, Client, Place, ask, place

MIB = 2**20
TOO_LARGE = 20 * MIB + 1


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("bad-input")) as running:
        yield running


@pytest.fixture(autouse=True)
def untouched(here: Place) -> Iterator[None]:
    """Whatever a test of this file sends leaves the books and the provider as they were."""
    before, sent, pid = here.books(), len(here.fake.ledger()), here.tollway.pid
    yield
    assert here.books() == before
    assert here.books().held == 0
    assert len(here.fake.ledger()) == sent
    assert here.tollway.pid == pid
    assert here.tollway.get("/key", here.account.key)


@pytest.fixture(scope="module")
def client(here: Place) -> Client:
    return here.client()


def assert_refused(answer: Answer, param: str | None, *, status: int = 400) -> None:
    """`param` is named by the error and by its message; None for a body that has no field to name."""
    assert answer.status == status, answer.body[:300]
    assert answer.error["param"] == param
    assert param is None or param in answer.error["message"]
    assert answer.headers["x-request-id"]


# The key


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer null",
        "Bearer sk-tw-v1-short",
        "Bearer sk-proj-" + "a" * 48,
        "Bearer sk-tw-v1-" + "0" * 46,
        "Bearer sk-tw-v1-" + "é" * 46,
        "Bearer sk-tw-v1-" + "a" * 10_000,
        "Bearer ' OR '1'='1",
        "Basic dXNlcjpwYXNz",
        "Token {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {key[:-1]}",
        "Bearer {key} {key}",
        "Bearer\t{key}",
    ],
)
def test_a_key_that_is_missing_or_malformed_is_401(here: Place, header: str | None) -> None:
    key = here.account.key
    filled = None if header is None else header.replace("{key[:-1]}", key[:-1]).replace("{key}", key)
    client = here.client(None)
    answer = client.chat(ask(), {} if filled is None else {"Authorization": filled.encode().decode("latin-1")})
    assert (answer.status, answer.error["type"]) == (401, "authentication_error")
    assert key not in answer.body.decode()
    assert client.send("GET", "/v1/credits").status == 401


@pytest.mark.parametrize("position", [9, 30, 48, 54])
def test_one_mistyped_character_is_401(here: Place, position: int) -> None:
    key = here.account.key
    mistyped = key[:position] + ("x" if key[position] != "x" else "y") + key[position + 1 :]
    assert here.client(mistyped).chat(ask()).status == 401


def test_a_revoked_and_an_expired_key_are_401(here: Place) -> None:
    account = here.account.account_id
    revoked = here.tollway.cli_json("key", "create", "--account", account)
    assert here.tollway.cli("key", "revoke", revoked["id"]).returncode == 0
    expired = here.tollway.cli_json("key", "create", "--account", account, "--expires", "2020-01-01T00:00:00Z")
    for key, word in ((revoked["key"], "revoked"), (expired["key"], "expired")):
        answer = here.client(key).chat(ask())
        assert (answer.status, answer.error["type"]) == (401, "authentication_error")
        assert word in answer.error["message"]


def test_the_key_is_looked_at_before_the_body(here: Place) -> None:
    assert here.client(None).chat(b"not JSON").status == 401
    assert here.client(None).chat(b" " * TOO_LARGE).status == 401


def test_a_management_key_may_not_call_models(here: Place) -> None:
    key = here.tollway.cli_json("key", "create", "--account", here.account.account_id, "--management")["key"]
    answer = here.client(key).chat(ask())
    assert (answer.status, answer.error["type"]) == (403, "permission_error")


# The model


@pytest.mark.parametrize(("model", "close"), [("acme/fast1", MODEL), ("fast1", MODEL), ("tollway/ecko", "tollway/echo")])
def test_an_unknown_model_is_400_with_close_names(client: Client, model: str, close: str) -> None:
    answer = client.chat(ask(model=model))
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert close in answer.error["message"]


@pytest.mark.parametrize("model", ["nothing/like-it", "x" * 256, "acme/fast-1 ", "ACME", "../../etc/passwd", "\u202e", "😀", "a\nb"])
def test_a_model_that_resembles_none_is_400(client: Client, model: str) -> None:
    answer = client.chat(ask(model=model))
    assert (answer.status, answer.error["param"], answer.error["type"]) == (400, "model", "invalid_request_error")


# The body as a whole

NOT_JSON = {
    "empty": b"",
    "blank": b" \n",
    "text": b"hello",
    "form": b"model=acme&messages=hi",
    "cut": b'{"model": "acme/fast-1", "messages": [{"role": "user"',
    "two objects": b"{}{}",
    "trailing comma": b'{"model": "x",}',
    "comment": b'{"model": "x" /* y */}',
    "single quotes": b"{'model': 'x'}",
    "array": b"[]",
    "array of a request": b'[{"model": "acme/fast-1"}]',
    "string": b'"hello"',
    "number": b"1",
    "null": b"null",
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(ask()).encode(),
    "UTF-16": json.dumps(ask()).encode("utf-16"),
    "gzip": gzip.compress(json.dumps(ask()).encode()),
    "raw NUL": b'{"model": "a\x00b"}',
    "raw NUL outside": b"\x00" * 100,
    "invalid UTF-8": b'{"model": "\xff\xfe"}',
    "invalid UTF-8 in an unknown field": b'{"model": "acme/fast-1", "messages": [{"role": "user", "content": "x"}], "x": "\xc3\x28"}',
    "overlong UTF-8": b'{"model": "\xc0\x80"}',
    "encoded surrogate": b'{"model": "\xed\xa0\x80"}',
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": Infinity}',
    "-Infinity": b'{"top_p": -Infinity}',
    "1e999": b'{"temperature": 1e999}',
    "an integer of 10,000 digits": b'{"seed": ' + b"9" * 10_000 + b"}",
    "depth 100,000": b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "depth 100,000, objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth 100,000, never closed": b'{"metadata": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_no_json_object_is_400(client: Client, name: str) -> None:
    assert_refused(client.chat(NOT_JSON[name]), None)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\udc00\\ud800", "x\\ud83d", "\\ud83dx", "\\ud83d\\u0041", "\\uD800\\uD800"])
def test_a_lone_surrogate_is_400(client: Client, escape: str) -> None:
    raw = json.dumps(ask(messages=[{"role": "user", "content": "HERE"}]))
    assert_refused(client.chat(raw.replace("HERE", escape).encode()), None)


@pytest.mark.parametrize("depth", [65, 66, 200, 900, 1500])
@pytest.mark.parametrize("field", ["metadata", "tools", "provider"])
def test_a_body_deeper_than_64_levels_is_400(client: Client, depth: int, field: str) -> None:
    raw = json.dumps(ask(**{field: "HERE"})).replace('"HERE"', "[" * (depth - 1) + "]" * (depth - 1))
    answer = client.chat(raw.encode())
    assert answer.status == 400
    assert "64 levels" in answer.error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "\0"}]}]}, "messages"),
        ({"metadata": {"deep": [{"deeper": ["\0"]}]}}, "metadata"),
        ({"metadata": {"k\0ey": 1}}, "metadata"),
        ({"unknown": "\\\0"}, "unknown"),
        ({"stop": ["\0"]}, "stop"),
        ({"user": "\0"}, "user"),
    ],
)
def test_a_nul_character_is_400_and_its_field_is_named(client: Client, fields: dict[str, object], param: str) -> None:
    assert_refused(client.chat(ask(**fields)), param)


def test_a_nul_character_in_the_name_of_a_field_is_400(client: Client) -> None:
    answer = client.chat(ask(**{"na\0me": 1}))
    assert answer.status == 400
    assert "NUL" in answer.error["message"]


# The size of the body


def test_a_body_above_20_mib_is_413_and_the_connection_survives(here: Place) -> None:
    client = here.client()
    answer = client.chat(b'{"x": "' + b"a" * TOO_LARGE + b'"}')
    assert_refused(answer, None, status=413)
    assert str(20 * MIB) in answer.error["message"]
    assert client.chat(b"{}").status == 400


def test_a_chunked_body_above_20_mib_is_413(here: Place) -> None:
    client = here.client()
    answer = client.chat(iter([b"a" * MIB] * 21))
    assert_refused(answer, None, status=413)
    assert client.chat(b"{}").status == 400


def test_a_body_of_more_values_than_any_prompt_has_is_413(client: Client) -> None:
    """20 MiB of empty objects would be a gigabyte of memory and seconds of everybody's time."""
    answer = client.chat(json.dumps(ask(metadata="HERE")).replace('"HERE"', "[" + "{}," * 6_000_000 + "{}]").encode())
    assert_refused(answer, None, status=413)
    assert "values" in answer.error["message"]

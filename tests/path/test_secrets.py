"""A new TOLLWAY_SECRET_KEY, from the first start with both to the last without the old one: nothing breaks, and nothing old is left."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fakes.process import Fake
from tests.path.client import Answer, ask
from tests.path.routes import MODELS, Crossing, crossing
from tests.path.test_proof import checked, checked_json
from tests.running import SECRET

NEW = "the-new-secret-for-tests-of-40-characters"
OWN = "sk-canary-51c8-of-a-customer"


class Before(NamedTuple):
    """A place under the old secret: a key that was not used since, one that was, a log, a customer's own key and a proof."""

    own: Crossing
    idle: str
    log: str
    proof: bytes


@pytest.fixture(params=("sqlite", "postgres"))
def before(request: pytest.FixtureRequest, fake: Fake, tmp_path: Path) -> Iterator[Before]:
    with crossing(request.param, fake, tmp_path, request) as own:
        for provider in ("cheap", "middle", "dear"):
            fake.fault(f"one-{provider}", fault=[])
        assert own.send("PATCH", "account/privacy", {"logging": "full"}).status == 200
        assert own.send("POST", "account/provider-keys", {"provider": "cheap", "key": OWN}).status == 201
        idle = own.key("--name", "idle")
        time.sleep(1.1)  # by then the choice and the key hold for every request
        id = asked(own).headers["x-generation-id"]
        proof = own.send("GET", "ledger/proof").body
        yield Before(own, idle, id, proof)


def restarted(own: Crossing, **settings: str) -> None:
    own.tollway.kill()
    own.tollway.environment |= settings
    own.tollway.start()


def asked(own: Crossing, key: str = "", **headers: str) -> Answer:
    """An answer by the customer's own key, which the provider is shown."""
    own.fake.reset()
    answer = ask(
        own.tollway.port, key or own.account.key, MODELS[0], headers={name.replace("_", "-"): text for name, text in headers.items()}
    )
    assert answer.status == 200, answer.body
    assert [row["request_headers"]["authorization"] for row in own.fake.ledger()] == [f"Bearer {OWN}"]
    return answer


def assert_logged(own: Crossing, *ids: str) -> None:
    for id in ids:
        assert own.send("GET", f"generation/content?id={id}").status == 200


def test_a_secret_is_replaced_while_everything_goes_on(before: Before, tmp_path: Path) -> None:
    own, rotate = before.own, before.own.tollway
    first = asked(own, Idempotency_Key="once").headers["x-generation-id"]
    assert_what_does_not_open_is_named(own)
    restarted(own, TOLLWAY_SECRET_KEY=NEW, TOLLWAY_SECRET_KEY_PREVIOUS=SECRET)
    again = ask(rotate.port, own.account.key, MODELS[0], headers={"Idempotency-Key": "once"})
    assert (again.status, again.json["error"]["metadata"]["generation_id"]) == (409, first), "a repetition is never charged again"
    second = asked(own).headers["x-generation-id"]
    assert_logged(own, before.log, first, second)

    counted = rotate.cli_json("secrets", "rotate", "--check")
    assert counted["api_keys"] == {"current": 1, "revoked": 0, "waiting": 1}
    assert (counted["provider_keys"]["waiting"], counted["content_keys"]["waiting"]) == (1, 1)
    done = rotate.cli_json("secrets", "rotate")
    assert done["provider_keys"] == done["content_keys"] == {"current": 1, "rotated": 1, "waiting": 0, "broken": 0}
    assert rotate.cli_json("secrets", "rotate")["provider_keys"] == {"current": 1, "rotated": 0, "waiting": 0, "broken": 0}
    assert_logged(own, before.log, second, asked(own).headers["x-generation-id"])

    proof = own.send("GET", "ledger/proof").body
    assert_proofs(done, before.proof, proof, tmp_path)
    assert rotate.cli("ledger", "verify").returncode == 0
    assert rotate.cli("audit", "verify").returncode == 0

    assert_the_unused_are_revoked(own, before.idle)
    restarted(own, TOLLWAY_SECRET_KEY_PREVIOUS="")
    assert_logged(own, before.log, second, asked(own).headers["x-generation-id"])
    assert ask(rotate.port, before.idle, MODELS[0]).status == 401
    for secret in (NEW, SECRET, OWN, own.account.key):
        assert secret not in rotate.log.read_text()


def assert_proofs(done: Any, old: bytes, new: bytes, folder: Path) -> None:
    """Old proofs stay good under the old public key; a new one is signed by the new."""
    [previous] = done["public_keys_before"]
    assert checked_json(folder, old, "--public-key", previous)["public_keys"] == [previous]
    trusted = ("--public-key", previous, "--public-key", done["public_key"])
    assert checked_json(folder, new, *trusted)["public_keys"] == [done["public_key"]]
    assert checked(folder, new, "--public-key", previous).returncode == 1


def assert_the_unused_are_revoked(own: Crossing, idle: str) -> None:
    rotate = own.tollway
    assert rotate.cli_json("secrets", "rotate", "--revoke-unused-before", "2020-01-01")["api_keys"]["revoked"] == 0
    done = rotate.cli_json("secrets", "rotate", "--revoke-unused-before", "2100-01-01")
    assert done["api_keys"] == {"current": 1, "revoked": 1, "waiting": 0}
    refused = ask(rotate.port, idle, MODELS[0])
    assert (refused.status, b"revoked" in refused.body) == (401, True)
    assert rotate.cli_json("audit", "list", "--account", own.account.account_id)[-1]["action"] == "key.delete"
    assert rotate.cli("secrets", "rotate", "--check", "--revoke-unused-before", "2100-01-01").returncode == 1


def assert_what_does_not_open_is_named(own: Crossing) -> None:
    """By a command that was given a wrong old secret; it changes nothing."""
    rotate, known = own.tollway, dict(own.tollway.environment)
    rotate.environment |= {"TOLLWAY_SECRET_KEY": NEW, "TOLLWAY_SECRET_KEY_PREVIOUS": "another-secret-of-forty-characters-or-so"}
    done = rotate.cli("secrets", "rotate", "--json")
    rotate.environment = known
    assert done.returncode == 1
    assert json.loads(done.stdout)["provider_keys"]["broken"] == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert all(line.startswith("tollway: cannot be opened: ") and own.account.account_id in line for line in lines)

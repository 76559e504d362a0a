"""Closing an account over HTTP and by the operator: dead keys, an owner who may still read, and a log of every deed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.process import Fake
from tests.path.client import ask
from tests.path.routes import MODELS, Crossing, crossing

SECONDS = 1.2
"""A change holds for every request by then."""


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("closing"), request) as running:
        yield running
        verified = running.tollway.cli("audit", "verify")
        assert verified.returncode == 0, verified.stdout


@pytest.fixture
def own(place: Crossing) -> Crossing:
    """A fresh account of the same server."""
    place.fake.reset()
    return place._replace(account=place.tollway.account("5"))


def closing(own: Crossing, **more: Any) -> dict[str, Any]:
    return {"key": own.account.key, "confirm": own.account.account_id, **more}


def deeds(own: Crossing) -> list[dict[str, Any]]:
    return list(own.tollway.cli_json("audit", "list", "--account", own.account.account_id))


def test_a_closed_account_answers_nothing_but_its_owner_who_reads_and_can_call_it_off(own: Crossing) -> None:
    app = own.key("--name", "app")
    assert own.ask(key=app).status == 200
    answer = own.send("POST", "account/close", closing(own))
    assert (answer.status, answer.json["state"]) == (200, "closing")
    assert answer.json["until"] > answer.json["since"]
    time.sleep(SECONDS)
    dead = own.ask(key=app)
    assert dead.status == 401
    assert "being closed" in dead.json["error"]["message"]
    assert own.ask().status == 401
    assert own.send("PATCH", "account/privacy", {"logging": "full"}).status == 401
    assert own.send("GET", "credits", key=app).status == 401
    for path in ("credits", "logs", "account/privacy", "usage/export?from=2026-01-01&to=2026-12-31", "account/close"):
        assert own.send("GET", path).status == 200, path
    assert own.tollway.cli("key", "create", "--account", own.account.account_id).returncode == 1
    assert own.send("POST", "account/close/cancel", {"key": own.account.key}).json["state"] == "active"
    time.sleep(SECONDS)
    assert own.ask(key=app).status == 200
    assert own.send("POST", "account/close/cancel", {"key": own.account.key}).status == 409


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"key": None}, 400, "key"),
        ({"key": "sk-tw-v1-nothing"}, 403, None),
        ({"confirm": "acc_other"}, 400, "confirm"),
        ({"confirm": None}, 400, "confirm"),
        ({"waive_window": "yes"}, 400, "waive_window"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_a_closing_that_is_not_confirmed_twice_changes_nothing(
    own: Crossing, change: dict[str, Any], status: int, param: str | None
) -> None:
    body = {name: value for name, value in {**closing(own), **change}.items() if value is not None}
    refused = own.send("POST", "account/close", body)
    assert (refused.status, refused.json["error"]["param"]) == (status, param)
    assert own.send("GET", "account/close").json["state"] == "active"


@pytest.mark.parametrize("whose", ["management", "inference", "another account's"])
def test_only_the_owners_key_of_this_account_closes_it(own: Crossing, whose: str) -> None:
    keys = {"management": own.key("--management"), "inference": own.key(), "another account's": own.tollway.account("1").key}
    assert own.send("POST", "account/close", {**closing(own), "key": keys[whose]}).status == 403
    assert own.send("GET", "account/close").json["state"] == "active"


def test_the_operator_suspends_with_a_reason_and_gives_back(own: Crossing) -> None:
    account = ("--account", own.account.account_id)
    assert own.tollway.cli_json("account", "suspend", *account, "--reason", "an unpaid invoice")["state"] == "suspended"
    time.sleep(SECONDS)
    refused = own.ask()
    assert refused.status == 401
    assert "an unpaid invoice" in refused.json["error"]["message"]
    assert own.send("GET", "account/close").json["reason"] == "an unpaid invoice"
    assert own.tollway.cli_json("account", "show", *account)["state"] == "suspended"
    assert own.tollway.cli("account", "suspend", "--account", "acc_none", "--reason", "x").returncode == 1
    assert own.tollway.cli_json("account", "resume", *account)["state"] == "active"
    assert own.tollway.cli("account", "resume", *account).returncode == 1
    time.sleep(SECONDS)
    assert own.ask().status == 200


def test_every_change_stands_in_the_audit_log_by_who_made_it_and_without_a_word_of_theirs(own: Crossing) -> None:
    word = "canary9f3kq"
    made = own.send("POST", "keys", {"name": word}).json
    assert own.send("PATCH", f"keys/{made['data']['hash']}", {"name": f"{word}2"}).status == 200
    assert own.send("PATCH", "keys/none", {"name": word}).status == 404
    own.send("PATCH", "account/privacy", {"logging": "full"})
    own.send("PUT", "account/limits", {"concurrency": 3})
    own.send("PATCH", "account/routing", {"presets": {word: {"model": MODELS[0]}}, word: None})
    added = own.send("POST", "account/provider-keys", {"provider": "dear", "key": word}).json["data"]["id"]
    own.send("DELETE", f"account/provider-keys/{added}")
    ask(own.tollway.port, own.account.key, MODELS[0])
    time.sleep(SECONDS)
    ask(own.tollway.port, own.account.key, MODELS[0])
    assert own.send("DELETE", "logs").json["data"]["deleted"] == 1
    own.send("DELETE", f"keys/{made['data']['hash']}")
    rows = deeds(own)
    assert [row["action"] for row in rows] == [
        "account.create", "key.create", "key.change", "privacy.change", "limits.change", "rules.change", "provider_key.add",
        "provider_key.delete", "logs.delete", "key.delete",
    ]  # fmt: skip
    assert rows[0]["actor"] == "operator"
    assert {row["actor"][:4] for row in rows[1:]} == {"key_"}
    assert rows[4]["change"] == {"concurrency": 3, "requests_per_minute": None, "tokens_per_minute": None}
    assert rows[5]["change"] == {"fields": ["presets"]}
    assert word not in str(rows)


def test_the_operator_closes_with_the_same_window_and_calls_it_off_once(own: Crossing) -> None:
    account = ("--account", own.account.account_id)
    closed = own.tollway.cli_json("privacy", "close", *account, "--reason", "fraud")
    assert (closed["state"], closed["actor"]) == ("closing", "operator")
    assert own.tollway.cli("privacy", "close", *account, "--reason", "fraud", "--waive-window").returncode == 2
    assert own.send("POST", "account/close/cancel", {"key": own.account.key}).status == 409
    assert own.tollway.cli_json("privacy", "cancel", *account)["state"] == "active"
    assert own.tollway.cli("privacy", "cancel", *account).returncode == 1


def test_what_is_kept_and_for_how_long_can_be_listed(own: Crossing) -> None:
    listed = own.tollway.cli_json("privacy", "retention")
    assert {row["name"]: row["days"] for row in listed}["metadata"] == 396
    deleted = own.tollway.cli_json("privacy", "delete", "--account", own.account.account_id)
    assert deleted["deleted"] == 0


def test_the_owners_are_mailed_why_their_account_is_suspended_and_until_when_it_can_be_read(own: Crossing) -> None:
    account = ("--account", own.account.account_id)
    own.tollway.cli_json("account", "suspend", *account, "--reason", "an unpaid invoice")
    own.tollway.cli_json("account", "resume", *account)
    closed = own.tollway.cli_json("privacy", "close", *account, "--reason", "a fraud")
    letters = sorted(Path(own.tollway.environment["TOLLWAY_MAIL_FOLDER"]).glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    suspended, resumed, closing = (file.read_text() for file in letters[-3:])
    assert "suspended" in suspended
    assert "an unpaid invoice" in suspended
    assert "works again" in resumed
    assert "a fraud" in closing
    assert closed["until"][:10] in closing
    own.tollway.cli_json("privacy", "cancel", *account)

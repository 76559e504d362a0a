"""Requests, disclosures and corrections over HTTP and by the operator: who may, what they see, and no word of it in any log."""

import calendar
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.process import Fake
from tests.path.routes import Crossing, crossing
from tests.path.test_account_export import exported, rows

SECONDS = 1.2
"""A change holds for every request by then."""
WORD = "canary3kx8"


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("rights"), request) as running:
        yield running
        verified = running.tollway.cli("audit", "verify")
        assert verified.returncode == 0, verified.stdout
        assert WORD not in running.tollway.log.read_text()


@pytest.fixture
def own(place: Crossing) -> Crossing:
    """A fresh account of the same server."""
    return place._replace(account=place.tollway.account("1"))


def asked(own: Crossing, **more: Any) -> Any:
    body = {"key": own.account.key, "kind": "deletion", "law": "ccpa", "note": f"{WORD}: all of it,\nplease", **more}
    return own.send("POST", "account/requests", {name: value for name, value in body.items() if value is not None})


def days(row: dict[str, Any]) -> int:
    return round((seconds(row["due_at"]) - seconds(row["opened_at"])) / 86_400)


def seconds(moment: str) -> int:
    return calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S"))


def test_an_owner_asks_the_operator_answers_and_both_see_the_same(own: Crossing) -> None:
    answer = asked(own)
    assert answer.status == 201, answer.body
    mine = answer.json["data"]
    assert (mine["kind"], mine["law"], mine["overdue"], days(mine)) == ("deletion", "ccpa", False, 45)
    account = ("--account", own.account.account_id)
    by_mail = own.tollway.cli_json("privacy", "request", "open", *account, "--kind", "access", "--law", "gdpr", "--note", WORD)
    assert days(by_mail) == 30
    seen = own.send("GET", "account/requests").json["data"]
    assert (
        [row["id"] for row in seen]
        == [by_mail["id"], mine["id"]]
        == [row["id"] for row in own.tollway.cli_json("privacy", "request", "list", *account)]
    )
    closed = own.tollway.cli_json("privacy", "request", "close", mine["id"], "--outcome", f"{WORD} is deleted")
    assert closed["outcome"] == f"{WORD} is deleted"
    assert own.send("GET", "account/requests").json["data"][-1]["outcome"] == f"{WORD} is deleted"
    assert len(own.tollway.cli_json("privacy", "request", "list", *account)) == 1
    assert len(own.tollway.cli_json("privacy", "request", "list", *account, "--all")) == 2
    again = own.tollway.cli("privacy", "request", "close", mine["id"], "--outcome", "twice")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    deeds = own.tollway.cli_json("audit", "list", *account)
    assert [(row["action"], row["actor"][:4]) for row in deeds[1:]] == [
        ("request.open", "key_"),
        ("request.open", "oper"),
        ("request.close", "oper"),
    ]
    assert WORD not in str(deeds)


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"key": None}, 400, "key"),
        ({"key": "sk-tw-v1-nothing"}, 403, None),
        ({"kind": None}, 400, "kind"),
        ({"kind": "revenge"}, 400, "kind"),
        ({"law": None}, 400, "law"),
        ({"law": 7}, 400, "law"),
        ({"note": "n" * 2001}, 400, "note"),
        ({"note": "a\0b"}, 400, "note"),
        ({"due_at": "never"}, 400, "due_at"),
    ],
)
def test_a_request_that_is_not_one_is_refused_by_field_and_not_opened(place: Crossing, more: Any, status: int, param: str | None) -> None:
    refused = asked(place, **more)
    assert (refused.status, refused.json["error"]["param"]) == (status, param)
    assert place.send("GET", "account/requests").json["data"] == []


def test_an_owner_asks_while_suspended_and_reads_why_and_corrects_only_when_active(own: Crossing) -> None:
    account = ("--account", own.account.account_id)
    own.tollway.cli_json("account", "suspend", *account, "--reason", "an unpaid invoice")
    time.sleep(SECONDS)
    assert asked(own).status == 201
    assert own.send("GET", "account/profile").status == 200
    assert exported(own)["tables/rights_request.jsonl"]
    refused = own.send("PATCH", "account/profile", {"key": own.account.key, "account_name": "x"})
    assert refused.status == 401
    assert "an unpaid invoice" in refused.json["error"]["message"]


def test_an_account_that_the_operator_ends_has_the_same_window_and_is_told_why_and_until_when(own: Crossing) -> None:
    closed = own.tollway.cli_json("privacy", "close", "--account", own.account.account_id, "--reason", "terms of service, 4.2")
    time.sleep(SECONDS)
    refused = own.ask()
    assert refused.status == 401
    assert "closed by the operator: terms of service, 4.2. Until " in refused.json["error"]["message"]
    told = own.send("GET", "account/close").json
    assert (told["state"], told["reason"], told["until"]) == ("closing", "terms of service, 4.2", closed["until"])
    assert seconds(told["until"]) - seconds(told["since"]) == 30 * 86_400
    assert exported(own)["tables/account_state.jsonl"]
    assert asked(own).status == 201


def test_the_profile_is_corrected_by_the_owner_with_the_key_once_more(own: Crossing) -> None:
    assert own.send("GET", "account/profile").json["email"] == "owner@example.com"
    assert own.send("PATCH", "account/profile", {"email": f"{WORD}@mail.example"}).json["error"]["param"] == "key"
    wrong = own.send("PATCH", "account/profile", {"key": own.account.key, "email": WORD})
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "email")
    assert WORD not in wrong.body.decode()
    right = own.send("PATCH", "account/profile", {"key": own.account.key, "email": f"{WORD}@mail.example", "account_name": WORD})
    assert right.status == 200, right.body
    assert own.send("GET", "account/profile").json == right.json
    assert (right.json["email"], right.json["account_name"], right.json["signs_in"]) == (f"{WORD}@mail.example", WORD, False)
    deed = own.tollway.cli_json("audit", "list", "--account", own.account.account_id)[-1]
    assert (deed["action"], deed["change"]) == ("profile.change", {"fields": ["account_name", "email"]})


def test_what_was_disclosed_of_an_account_is_in_its_export_and_in_no_other(own: Crossing) -> None:
    other = own._replace(account=own.tollway.account("1"))
    disclosed = ("disclosure", "add", "--recipient", "a court", "--basis", "order 7", "--categories", "metadata, billing")
    row = own.tollway.cli_json(*disclosed, "--account", own.account.account_id, "--note", WORD, "--at", "2026-01-02T03:04:05Z")
    assert (row["categories"], row["disclosed_at"]) == (["metadata", "billing"], "2026-01-02T03:04:05.000Z")
    assert own.tollway.cli_json("disclosure", "list", "--account", own.account.account_id) == [row]
    assert row in own.tollway.cli_json("disclosure", "list")
    assert [each["id"] for each in rows(exported(own)["tables/disclosure.jsonl"])] == [row["id"]]
    assert exported(other)["tables/disclosure.jsonl"] == ""
    deed = own.tollway.cli_json("audit", "list", "--account", own.account.account_id)[1]
    assert (deed["action"], deed["subject"], deed["change"]) == ("disclosure.add", row["id"], {"categories": ["metadata", "billing"]})
    for wrong in (("--account", "acc_none"), ("--at", "2999-01-01"), ("--at", "soon"), ("--note", "a\x07b")):
        refused = own.tollway.cli(*disclosed, *wrong)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), wrong
    assert own.tollway.cli(*disclosed[:-1], "gossip").returncode == 1


def test_everybody_may_read_who_else_gets_data_and_that_gpc_is_honoured(place: Crossing) -> None:
    listed = place.send("GET", "subprocessors", key="none").json
    assert listed["version"] >= 1
    names = {party["name"]: party for party in listed["data"]}
    assert names["OpenAI"]["own_keys_only"] is True
    assert {party["kind"] for party in listed["data"]} == {"provider"}, "all that the settings name is on this machine"
    assert "127.0.0.1" not in str(listed)
    with urllib.request.urlopen(f"http://127.0.0.1:{place.tollway.port}/.well-known/gpc.json", timeout=10) as answer:
        assert (answer.headers["content-type"], json.load(answer)) == ("application/json", {"gpc": True, "lastUpdate": "2026-11-22"})

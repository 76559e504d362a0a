"""The account's keys over HTTP: shown once, known by hash, bounded to the nano-dollar, dead within a second, for those who manage them."""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.process import Fake
from tests.path.client import ask
from tests.path.routes import MODELS, Crossing, crossing
from tests.running import tollway

SECOND = 1.05
"""How long a caller may be remembered."""
FIELDS = {
    "hash", "id", "name", "kind", "disabled", "logging", "label", "limit", "limit_remaining", "limit_reset", "include_byok_in_limit",
    "usage", "usage_daily", "usage_weekly", "usage_monthly", "byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly",
    "creator_user_id", "expires_at", "created_at", "updated_at", "last_used_at", "workspace_id", "external_user", "data_policy",
}  # fmt: skip
UNKNOWN = "f" * 64


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def at(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("keys"), request) as running:
        yield running


def make(at: Crossing, key: str = "", **wanted: object) -> tuple[dict[str, Any], str]:
    """The object of a new key, and the key."""
    answer = at.send("POST", "keys", {"name": "ci", **wanted}, key=key)
    assert answer.status == 201, answer.json
    assert answer.headers["cache-control"] == "no-store"
    return answer.json["data"], answer.json["key"]


def change(at: Crossing, hash: str, key: str = "", **wanted: object) -> dict[str, Any]:
    answer = at.send("PATCH", f"keys/{hash}", wanted, key=key)
    assert answer.status == 200, answer.json
    found: dict[str, Any] = answer.json["data"]
    return found


def shown(at: Crossing, hash: str) -> dict[str, Any]:
    answer = at.send("GET", f"keys/{hash}")
    assert answer.status == 200, answer.json
    found: dict[str, Any] = answer.json["data"]
    return found


def stranger(at: Crossing) -> str:
    """The hash of a key of another account."""
    return str(at.send("POST", "keys", {"name": "theirs"}, key=at.tollway.account().key).json["data"]["hash"])


# Making and looking


def test_a_key_is_shown_once_and_known_by_its_hash(at: Crossing) -> None:
    found, key = make(at, name="prod 🔑")
    assert found.keys() == FIELDS
    assert found["hash"] == hashlib.sha256(key.encode()).hexdigest()
    assert (found["name"], found["kind"], found["disabled"]) == ("prod 🔑", "inference", False)
    assert (found["label"][:12], found["label"][-4:]) == (key[:12], key[-4:])
    assert (found["limit"], found["limit_remaining"], found["limit_reset"], found["expires_at"]) == (None,) * 4
    assert (found["updated_at"], found["last_used_at"], found["workspace_id"]) == (None, None, at.account.account_id)
    assert shown(at, found["hash"]) == shown(at, found["id"]) == found
    assert at.ask(key=key).status == 200
    used = shown(at, found["hash"])
    assert used["usage"] == used["usage_daily"] == used["usage_monthly"] > 0
    assert used["last_used_at"] >= found["created_at"]
    for path in ("keys", f"keys/{found['hash']}"):
        assert key not in at.send("GET", path).body.decode()


def test_keys_are_listed_oldest_first_in_pages_and_disabled_ones_on_request(at: Crossing) -> None:
    owner = at.tollway.account()
    made = [make(at, owner.key, name=name)[0]["hash"] for name in ("one", "two", "three")]
    change(at, made[1], owner.key, disabled=True)

    def names(query: str) -> list[str]:
        answer = at.send("GET", f"keys{query}", key=owner.key)
        assert answer.json.keys() == {"data"}
        return [found["name"] for found in answer.json["data"]]

    assert names("") == names("?include_disabled=false") == names(f"?workspace_id={owner.account_id}") == ["owner", "one", "three"]
    assert names("?include_disabled=true") == ["owner", "one", "two", "three"]
    assert names("?include_disabled=true&offset=2") == ["two", "three"]
    assert names("?offset=1000000") == []
    assert at.send("DELETE", f"keys/{made[2]}", key=owner.key).json == {"deleted": True}
    assert names("?include_disabled=true") == ["owner", "one", "two"]


def test_a_page_has_a_hundred_keys(at: Crossing) -> None:
    owner = at.tollway.account()
    for number in range(101):
        make(at, owner.key, name=str(number))
    first, second = (at.send("GET", f"keys?offset={offset}", key=owner.key).json["data"] for offset in (0, 100))
    assert [found["name"] for found in first] == ["owner", *map(str, range(99))]
    assert [found["name"] for found in second] == ["99", "100"]


@pytest.mark.parametrize(("written", "amount"), [
    ("0.123456789", "0.123456789"), ('"0.123456789"', "0.123456789"), ("5", "5"), ("1e-9", "0.000000001"), ("5.10", "5.1"), ("0", "0"),
    ("9000000", "9000000"), ('"8999999.999999999"', "8999999.999999999"),
])  # fmt: skip
def test_a_limit_is_exact_to_the_nano_dollar(at: Crossing, written: str, amount: str) -> None:
    made = at.send("POST", "keys", f'{{"name": "exact", "limit": {written}}}'.encode())
    assert made.status == 201, made.json
    found = at.send("GET", f"keys/{made.json['data']['hash']}").json["data"]
    assert (Decimal(found["limit"]), Decimal(found["limit_remaining"])) == (Decimal(amount), Decimal(amount))


def test_a_key_that_expires_and_resets_says_so_and_its_limit_binds(at: Crossing) -> None:
    found, key = make(at, limit=0.000000001, limit_reset="weekly", expires_at="2099-01-31T12:00:00Z")
    assert (found["limit_reset"], found["expires_at"]) == ("weekly", "2099-01-31T12:00:00.000Z")
    refused = at.ask(key=key)
    assert (refused.status, refused.error["metadata"]["limit_source"]) == (402, "tollway_key_limit")
    mine = at.send("GET", "key", key=key).json["data"]
    (budget,) = mine["budgets"]
    assert mine["effective_budget"] == budget
    assert (budget["scope"], budget["limit_usd"], budget["spend_usd"], budget["reset_interval"]) == (
        "key_limit",
        Decimal("1e-9"),
        0,
        "weekly",
    )


def test_byok_in_the_limit_is_taken_and_the_answer_says_that_it_is_not_kept(at: Crossing) -> None:
    for wanted, named in ((True, "include_byok_in_limit"), (False, None)):
        answer = at.send("POST", "keys", {"name": "byok", "limit": 1, "include_byok_in_limit": wanted})
        assert (answer.status, answer.json["data"]["include_byok_in_limit"]) == (201, False)
        assert answer.headers.get("x-tollway-adjusted") == named


# Changing


def test_a_disabled_key_is_dead_within_a_second_and_can_be_enabled_again(at: Crossing) -> None:
    found, key = make(at)
    assert at.ask(key=key).status == 200
    disabled = change(at, found["hash"], disabled=True)
    assert disabled["disabled"]
    assert disabled["updated_at"] > found["created_at"]
    time.sleep(SECOND)
    refused = at.ask(key=key)
    assert (refused.status, refused.error["message"]) == (401, "This API key is disabled.")
    assert not change(at, found["hash"], disabled=False)["disabled"]
    time.sleep(SECOND)
    assert at.ask(key=key).status == 200


def test_a_deleted_key_is_dead_within_a_second_and_what_it_used_stays_on_the_books(at: Crossing) -> None:
    found, key = make(at)
    assert at.ask(key=key).status == 200
    assert at.send("DELETE", f"keys/{found['hash']}").json == {"deleted": True}
    deleted = time.monotonic()
    while (answer := at.ask(key=key)).status == 200:
        assert time.monotonic() - deleted < 1.5
    assert (answer.status, answer.error["message"]) == (401, "This API key was revoked.")
    for method in ("GET", "PATCH", "DELETE"):
        assert at.send(method, f"keys/{found['hash']}", {}).status == 404
    today = datetime.now(UTC).date()
    period = f"from={today - timedelta(days=2)}&to={today + timedelta(days=2)}"
    rows = [json.loads(line) for line in at.send("GET", f"usage/export?format=jsonl&{period}").body.splitlines()]
    assert next((row["key_name"], row["outcome"]) for row in rows if row["key_id"] == found["id"]) == ("ci", "completed")
    assert at.send("GET", f"activity?api_key_hash={found['hash']}").json == {"data": []}


def test_a_patch_changes_what_it_names_and_nothing_else(at: Crossing) -> None:
    found, _ = make(at, limit="5", limit_reset="daily")
    hash = found["hash"]
    assert {**change(at, hash, name="renamed"), "updated_at": None} == {**found, "name": "renamed"}
    assert change(at, hash)["name"] == "renamed"
    raised = change(at, hash, limit="7.5")
    assert (raised["limit"], raised["limit_remaining"], raised["limit_reset"]) == (Decimal("7.5"), Decimal("7.5"), "daily")
    monthly = change(at, hash, limit_reset="monthly")
    assert (monthly["limit"], monthly["limit_reset"]) == (Decimal("7.5"), "monthly")
    assert change(at, hash, limit_reset=None)["limit_reset"] is None
    free = change(at, hash, limit=None)
    assert (free["limit"], free["limit_remaining"], free["limit_reset"]) == (None, None, None)
    assert change(at, hash, limit=1, limit_reset="weekly")["limit_reset"] == "weekly"
    assert shown(at, hash)["name"] == "renamed"


def test_a_data_policy_binds_its_key_within_a_second_and_is_on_record(at: Crossing) -> None:
    """`dear` keeps nothing, `middle` does not train, of `cheap` nothing is known."""
    found, key = make(at, data_policy={"data_collection": "deny"})
    hash = found["hash"]
    assert found["data_policy"] == {"data_collection": "deny"} == at.send("GET", "key", key=key).json["data"]["data_policy"]
    at.fake.reset()
    for _ in range(5):
        assert at.ask(key=key, provider={"data_collection": "allow", "order": ["cheap"]}).status == 200, "a wider wish is absorbed"
    assert "one-cheap" not in at.called()
    refused = at.ask(key=key, provider={"only": ["cheap"]})
    assert (refused.status, refused.error["metadata"]["failed_routing_step"]) == (404, "Filter by Data Policy")
    assert "data_collection: deny in the key's data policy" in refused.error["message"]
    explained = at.send("POST", "route/explain", {"model": MODELS[0], "provider": {"only": ["cheap"]}}, key=key).json
    assert explained["funnel"] == refused.error["metadata"]["routing_funnel"]

    for policy, wanted in (({"zdr": True}, {"one-dear"}), ({"region": ["eu"]}, set()), (None, {"one-cheap", "one-middle", "one-dear"})):
        assert change(at, hash, data_policy=policy)["data_policy"] == policy
        assert shown(at, hash)["data_policy"] == policy
        time.sleep(SECOND)
        at.fake.forget()
        for slug in ("cheap", "middle", "dear"):
            at.ask(key=key, provider={"order": [slug]})
        assert set(at.called()) == wanted
    assert change(at, hash, data_policy={"zdr": True}, name="same")["data_policy"] == {"zdr": True}
    assert change(at, hash, name="other")["data_policy"] == {"zdr": True}, "what is left out stays"
    kept = at.tollway.cli_json("audit", "list", "--account", at.account.account_id)
    changes = [row["change"]["fields"] for row in kept if row["action"] == "key.change" and row["subject"] == hash]
    assert ["data_policy"] in changes


def test_a_changed_limit_binds_within_a_second_and_the_books_stay_right(at: Crossing) -> None:
    found, key = make(at, limit=1)
    assert at.ask(key=key).status == 200
    spent = shown(at, found["hash"])["usage"]
    lowered = change(at, found["hash"], limit=str(spent))
    assert (lowered["limit"], lowered["limit_remaining"]) == (spent, 0)
    time.sleep(SECOND)
    assert at.ask(key=key).status == 402
    anew = change(at, found["hash"], limit=1, limit_reset="daily")
    assert (anew["limit_remaining"], anew["usage"]) == (1, spent), "a limit with another reset begins with nothing spent"
    time.sleep(SECOND)
    assert at.ask(key=key).status == 200
    assert shown(at, found["hash"])["limit_remaining"] < 1
    change(at, found["hash"], limit=None)
    time.sleep(SECOND)
    assert at.ask(key=key).status == 200
    verified = at.tollway.cli("ledger", "verify")
    assert verified.returncode == 0, verified.stdout


def test_what_one_process_changes_holds_in_another(at: Crossing, tmp_path: Path) -> None:
    settings = {name: value for name, value in at.tollway.environment.items() if name.startswith(("TOLLWAY_", "FAKE_"))}
    if settings["TOLLWAY_DATABASE_URL"].startswith("sqlite"):
        pytest.skip("SQLite is served by one process")
    del settings["TOLLWAY_PORT"]
    with tollway(settings, tmp_path) as other:
        found, key = make(at)
        for disabled, status in ((False, 200), (True, 401), (False, 200)):
            change(at, found["hash"], disabled=disabled)
            time.sleep(SECOND)
            assert ask(other.port, key, MODELS[0]).status == status
        assert at.send("DELETE", f"keys/{found['hash']}").status == 200
        time.sleep(SECOND)
        assert ask(other.port, key, MODELS[0]).status == 401


# Who may


ROUTES = [("GET", "keys"), ("POST", "keys"), *((method, "keys/{}") for method in ("GET", "PATCH", "DELETE"))]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("whose", ["mine", "foreign", "unknown"])
def test_who_may_do_what_with_whose_key(at: Crossing, method: str, path: str, whose: str) -> None:
    body = {"name": "new"} if method == "POST" else {"name": "changed"}
    target = {"mine": make(at)[0]["hash"], "foreign": stranger(at), "unknown": UNKNOWN}[whose]
    _, inference = make(at)
    for key, status in ((inference, 403), ("sk-tw-v1-no", 401)):
        refused = at.send(method, path.format(target), body, key=key)
        assert refused.status == status, refused.json
    assert "management key" in at.send(method, path.format(target), body, key=inference).error["message"]
    for key in (at.key("--management"), at.account.key):
        answer = at.send(method, path.format(target), body, key=key)
        expected = 201 if method == "POST" else 200 if path == "keys" or whose == "mine" else 404
        assert answer.status == expected, answer.json
        if method == "DELETE" and whose == "mine":
            target = make(at)[0]["hash"]
    if whose == "foreign":
        assert at.send("GET", f"activity?api_key_hash={target}").status == 404


def test_a_management_key_changes_neither_the_owner_s_key_nor_a_manager_s(at: Crossing) -> None:
    owner = at.tollway.account()
    listed = at.tollway.cli_json("key", "create", "--account", owner.account_id, "--management", "--name", "boss")
    manager = listed["key"]
    by_name = {found["name"]: found["hash"] for found in at.send("GET", "keys", key=manager).json["data"]}
    for method in ("PATCH", "DELETE"):
        for name in ("owner", "boss"):
            refused = at.send(method, f"keys/{by_name[name]}", {"disabled": True}, key=manager)
            assert (refused.status, refused.error["type"]) == (403, "permission_error")
        assert at.send(method, f"keys/{by_name['owner']}", {"disabled": True}, key=owner.key).status == 403
    assert change(at, by_name["boss"], owner.key, disabled=True)["kind"] == "management"
    assert at.send("DELETE", f"keys/{by_name['boss']}", key=owner.key).json == {"deleted": True}


# What is wrong


WRONG = [
    ({}, "name"), ({"name": ""}, "name"), ({"name": None}, "name"), ({"name": 1}, "name"), ({"name": 1.5}, "name"),
    ({"name": "x" * 201}, "name"), ({"name": "two\nlines"}, "name"), ({"name": "nul\0"}, "name"),
    ({"name": "a", "limit": -1}, "limit"), ({"name": "a", "limit": "x"}, "limit"), ({"name": "a", "limit": True}, "limit"),
    ({"name": "a", "limit": []}, "limit"), ({"name": "a", "limit": "NaN"}, "limit"), ({"name": "a", "limit": "Infinity"}, "limit"),
    ({"name": "a", "limit": "0.0000000001"}, "limit"), ({"name": "a", "limit": 9000001}, "limit"),
    ({"name": "a", "limit": 10**30}, "limit"), ({"name": "a", "limit": "9" * 65}, "limit"), ({"name": "a", "limit": ""}, "limit"),
    ({"name": "a", "limit_reset": "daily"}, "limit_reset"), ({"name": "a", "limit": None, "limit_reset": "daily"}, "limit_reset"),
    ({"name": "a", "limit": 1, "limit_reset": "hourly"}, "limit_reset"), ({"name": "a", "limit": 1, "limit_reset": 1}, "limit_reset"),
    ({"name": "a", "limit": 1, "limit_reset": []}, "limit_reset"),
    ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"), ({"name": "a", "expires_at": "soon"}, "expires_at"),
    ({"name": "a", "expires_at": 4102444800}, "expires_at"), ({"name": "a", "expires_at": "9999-12-31T23:59:59Z"}, "expires_at"),
    ({"name": "a", "include_byok_in_limit": "yes"}, "include_byok_in_limit"),
    ({"name": "a", "include_byok_in_limit": None}, "include_byok_in_limit"),
    ({"name": "a", "workspace_id": "ws_1"}, "workspace_id"), ({"name": "a", "creator_user_id": "user_1"}, "creator_user_id"),
    ({"name": "a", "data_policy": "deny"}, "data_policy"), ({"name": "a", "data_policy": {"zdr": "yes"}}, "data_policy.zdr"),
    ({"name": "a", "data_policy": {"region": 1.5}}, "data_policy.region"), ({"name": "a", "data_policy": {"only": []}}, "data_policy.only"),
    ({"name": "a", "data_policy": {"region": ["eu", 2.5]}}, "data_policy.region[1]"),
    ({"name": "a", "data_policy": {"data_collection": "Deny"}}, "data_policy.data_collection"),
    ({"name": "a", "external": {"user": "u"}}, "external"), ({"name": "a", "kind": "owner"}, "kind"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param"), WRONG, ids=[f"{number}-{param}" for number, (_, param) in enumerate(WRONG)])
def test_a_wrong_field_is_400_and_named(at: Crossing, body: dict[str, Any], param: str) -> None:
    hash = make(at)[0]["hash"]
    before = shown(at, hash)
    tried = [("POST", "keys")] + ([("PATCH", f"keys/{hash}")] if body else [])
    for method, path in tried:
        refused = at.send(method, path, body)
        assert (refused.status, refused.error["param"]) == (400, param), refused.json
        assert refused.error["message"].startswith(param)
    assert shown(at, hash) == before


@pytest.mark.parametrize(("body", "param"), [
    ({"disabled": "true"}, "disabled"), ({"disabled": None}, "disabled"), ({"expires_at": None}, "expires_at"), ({"hash": "a"}, "hash"),
])  # fmt: skip
def test_a_wrong_change_is_400_and_named(at: Crossing, body: dict[str, Any], param: str) -> None:
    refused = at.send("PATCH", f"keys/{make(at)[0]['hash']}", body)
    assert (refused.status, refused.error["param"]) == (400, param)


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"{", 400), (b"[]", 400), (b'"name"', 400), (b"\xff", 400), (b"[" * 10_000, 400), (b'{"name": "\\ud800"}', 400),
    (b'{"name": "a", "limit": NaN}', 400), (b'{"name": "a", "limit": 1e999}', 400), (b'{"name": "a", "limit": ' + b"9" * 5000 + b"}", 400),
    (b" " * 16_385, 413),
])  # fmt: skip
def test_a_body_that_is_no_small_object_is_refused(at: Crossing, body: bytes, status: int) -> None:
    for method, path in (("POST", "keys"), ("PATCH", f"keys/{make(at)[0]['hash']}")):
        refused = at.send(method, path, body)
        assert (refused.status, refused.error["code"]) == (status, status)


@pytest.mark.parametrize(("query", "param"), [
    ("offset=-1", "offset"), ("offset=x", "offset"), ("offset=1000001", "offset"), ("offset=", "offset"), ("offset=%D9%A1", "offset"),
    ("include_disabled=yes", "include_disabled"), ("include_disabled=", "include_disabled"), ("workspace_id=ws", "workspace_id"),
])  # fmt: skip
def test_a_wrong_query_is_400_and_named(at: Crossing, query: str, param: str) -> None:
    refused = at.send("GET", f"keys?{query}")
    assert (refused.status, refused.error["param"]) == (400, param)


@pytest.mark.parametrize("hash", ["%00", "x" * 5000, "%F0%9F%94%91", "..%2Fkey", "%27%20OR%201=1"])
def test_an_odd_hash_is_404(at: Crossing, hash: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        refused = at.send(method, f"keys/{hash}", {})
        assert (refused.status, refused.error["metadata"]["error_type"]) == (404, "not_found")

"""The command line as an operator types it: real processes, mostly beside a server that runs on the same SQLite file."""

import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.settings import DEVELOPMENT_SECRET
from tests import warm
from tests.running import Tollway
from tests.servers import free_port

KEY = re.compile(r"sk-tw-v1-[0-9A-Za-z]{46}")
AT_ONCE = 3
BAD_CATALOG = """
[[model]]
id = "acme/x"
context_length = 1000
[[provider]]
slug = "acme"
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
[[endpoint]]
model = "acme/x"
provider = "acme"
price = { prompt = "cheap", completion = "1" }
"""
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def tollway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tollway]:
    """Its database does not exist before the first command; the server starts when the first commands are done."""
    folder = tmp_path_factory.mktemp("cli")
    running = Tollway({"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/new/tollway.db"}, folder / "tollway.log")
    before = running.cli_json("account", "create", "--email", "first@example.com", "--credit", "0.1")
    assert re.fullmatch(r"database is at revision \w+\n", running.cli("migrate").stdout)
    running.start()
    try:
        assert running.get("/credits", before["key"])["data"]["total_credits"] == 0.1
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def account(tollway: Tollway) -> Any:
    return tollway.cli_json("account", "create", "--email", "owner@example.com", "--credit", "1.25")


def together(tollway: Tollway, *commands: tuple[str, ...]) -> list[Done]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda command: tollway.cli(*command), commands))


def assert_refused(done: Done, *words: str) -> None:
    """One line on stderr that says what is wrong, nothing on stdout, exit status 1."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith("tollway: ")
    assert not [word for word in words if word not in done.stderr], done.stderr


def works(tollway: Tollway, key: str) -> bool:
    status = httpx.get(f"{tollway.base_url}/key", headers={"authorization": f"Bearer {key}"}, timeout=30).status_code
    assert status in (200, 401)
    return status == 200


def test_an_account_is_created_with_any_credit_that_is_a_sum_of_nano_dollars(tollway: Tollway) -> None:
    create = ("account", "create", "--email", "a@example.com")
    none, fraction, negative, wordy, fine, infinite, email = together(
        tollway,
        (*create, "--json"), (*create, "--credit", "0.000000001", "--json"), (*create, "--credit", "-1"), (*create, "--credit", "much"),
        (*create, "--credit", "0.0000000001"), (*create, "--credit", "inf"), ("account", "create", "--email", "nobody"),
    )  # fmt: skip
    for done, balance in ((none, "0"), (fraction, "0.000000001")):
        created = json.loads(done.stdout)
        assert list(created) == ["account_id", "key", "balance_usd"]
        assert KEY.fullmatch(created["key"])
        assert created["balance_usd"] == balance
        assert works(tollway, created["key"])
        shown = tollway.get("/credits", created["key"])["data"]
        assert Decimal(str(shown["total_credits"])) == Decimal(balance)
        assert (done.returncode, done.stderr) == (0, "")
    assert_refused(negative, "--credit", "zero or more")
    assert_refused(wordy, "'much' is not a decimal number")
    assert_refused(fine, "finer than a nano-dollar")
    assert_refused(infinite, "not a usable amount")
    assert_refused(email, "'nobody' is not an e-mail address")


def test_keys_are_created_listed_and_revoked_beside_the_server(tollway: Tollway, account: Any) -> None:
    create = ("key", "create", "--account", account["account_id"])
    limits = ("--limit", "0.5", "--reset", "daily", "--requests-per-minute", "5", "--tokens-per-minute", "9000")
    full, manager, plain, expired = together(
        tollway, (*create, "--name", "ci", *limits, "--expires", "2099-01-31", "--json"), (*create, "--management", "--json"),
        create, (*create, "--expires", "2020-01-31T12:00:00+02:00", "--json"),
    )  # fmt: skip
    made = json.loads(full.stdout)
    assert KEY.fullmatch(made["key"])
    assert (made["kind"], made["name"], made["limit_usd"], made["reset"]) == ("inference", "ci", "0.5", "daily")
    key = tollway.get("/key", made["key"])["data"]
    assert (key["limit"], key["limit_reset"], key["rate_limit"]["requests"]) == (0.5, "daily", 5)
    assert key["expires_at"] == "2099-01-31T00:00:00.000Z"
    assert tollway.get("/key", json.loads(manager.stdout)["key"])["data"]["is_management_key"]
    shown = dict(line.split("\t") for line in plain.stdout.splitlines())
    assert works(tollway, shown["key"])
    assert not works(tollway, json.loads(expired.stdout)["key"])

    assert seconds_alive_after_revoke(tollway, made) <= 1
    rows = {row["id"]: row for row in tollway.cli_json("key", "list", "--account", account["account_id"])}
    assert [row["kind"] for row in rows.values()].count("owner") == 1
    assert len(rows) == 5
    assert rows[made["id"]]["revoked_at"]
    assert (rows[made["id"]]["requests_per_minute"], rows[made["id"]]["tokens_per_minute"]) == (5, 9000)
    assert not KEY.search(str(rows)), "a key is shown once, when it is made"


def seconds_alive_after_revoke(tollway: Tollway, made: Any) -> float:
    """The key is used all the time, so that whatever remembers it remembers it well."""
    with ThreadPoolExecutor(1) as pool:
        revoking = pool.submit(tollway.cli, "key", "revoke", made["id"])
        while not revoking.done():
            works(tollway, made["key"])
    revoked = time.monotonic()
    assert (revoking.result().returncode, revoking.result().stdout) == (0, f"revoked {made['id']}\n")
    while works(tollway, made["key"]):
        assert time.monotonic() - revoked < 10
    return time.monotonic() - revoked


def test_a_key_is_created_with_a_data_policy_of_its_own(tollway: Tollway) -> None:
    create = ("key", "create", "--account", tollway.account().account_id)
    full, some, none, empty, long, wrong = together(
        tollway, (*create, "--data-collection", "deny", "--zdr", "--region", "EU", "--region", "ch", "--json"), (*create, "--zdr"),
        (*create, "--json"), (*create, "--region", ""), (*create, "--region", "x" * 257), (*create, "--data-collection", "never"),
    )  # fmt: skip
    policy = {"data_collection": "deny", "zdr": True, "region": ["eu", "ch"]}
    made = json.loads(full.stdout)
    assert made["data_policy"] == policy == tollway.get("/key", made["key"])["data"]["data_policy"]
    assert dict(line.split("\t") for line in some.stdout.splitlines())["data_policy"] == '{"zdr":true}'
    assert json.loads(none.stdout)["data_policy"] is None
    listed = tollway.cli_json("key", "list", "--account", create[-1])
    assert [row["data_policy"] for row in listed if row["id"] == made["id"]] == [policy]
    for refused in (empty, long):
        assert_refused(refused, "--region: ", "write a region such as")
    assert (wrong.returncode, "--data-collection" in wrong.stderr) == (2, True)


def test_a_key_that_makes_no_sense_is_refused(tollway: Tollway, account: Any) -> None:
    create = ("key", "create", "--account", account["account_id"])
    stranger, negative, reset, expires, nobody, unknown = together(
        tollway, ("key", "create", "--account", "acc_nobody"), (*create, "--limit", "-1"), (*create, "--reset", "daily"),
        (*create, "--expires", "soon"), ("key", "list", "--account", "acc_nobody"), ("key", "revoke", "key_nobody"),
    )  # fmt: skip
    assert_refused(stranger, "there is no account acc_nobody")
    assert_refused(negative, "--limit", "zero or more")
    assert_refused(reset, "--reset needs --limit")
    assert_refused(expires, "--expires", "ISO 8601", "'soon'")
    assert_refused(nobody, "there is no account acc_nobody")
    assert_refused(unknown, "there is no key key_nobody")


def test_credit_is_added_and_unused_credit_taken_back(tollway: Tollway, account: Any) -> None:
    def credit(usd: str, account_id: str = account["account_id"]) -> tuple[str, ...]:
        return "credit", "add", "--account", account_id, "--usd", usd, "--reason", "test", "--json"

    assert tollway.cli_json(*credit("2.5")[:-1]) == {
        "account_id": account["account_id"], "added_usd": "2.5", "available_usd": "3.75",
    }  # fmt: skip
    back, too_much, nothing, nobody = together(tollway, credit("-0.75"), credit("-99"), credit("0"), credit("1", "acc_nobody"))
    assert json.loads(back.stdout)["available_usd"] == "3"
    assert_refused(too_much, "less than 99 USD")
    assert_refused(nothing, "between 0.000000001 and")
    assert_refused(nobody, "there is no account acc_nobody")
    assert tollway.get("/credits", account["key"])["data"] == {"total_credits": 3, "total_usage": 0}


def test_the_catalog_and_a_route_explain_themselves(tollway: Tollway) -> None:
    explain = ("route", "explain", "--model", "tollway/echo")
    show, check, route, close, not_json, nothing_left = together(
        tollway, ("catalog", "show", "--json"), ("catalog", "check"), (*explain, "--json"), ("route", "explain", "--model", "tollway/ecko"),
        (*explain, "--provider", "{"), (*explain, "--provider", '{"only": ["elsewhere"]}', "--json"),
    )  # fmt: skip
    echo = next(row for row in json.loads(show.stdout) if row["model"] == "tollway/echo")
    assert (echo["prompt"], echo["completion"], echo["state"]) == ("0.1", "0.4", "offered")
    assert (check.returncode, check.stdout) == (0, "the catalog is clean\n")
    plan = json.loads(route.stdout)
    assert [each["endpoint"] for each in plan["endpoints"]] == ["tollway/tollway/echo"]
    assert Decimal(plan["ceiling_usd"]) == (1000 * Decimal("0.1") + 8192 * Decimal("0.4")) / 10**6
    assert_refused(close, "no model of that name", "tollway/echo")
    assert_refused(not_json, "--provider", "JSON")
    assert json.loads(nothing_left.stdout)["funnel"][-1]["endpoint_count"] == 0
    assert (nothing_left.returncode, nothing_left.stderr.count("\n")) == (1, 1)


def test_verify_is_content_with_a_live_ledger_and_finds_a_changed_one(tollway: Tollway, account: Any, tmp_path: Path) -> None:
    url = tollway.environment["TOLLWAY_DATABASE_URL"]
    checks = tollway.cli_json("ledger", "verify")
    assert {"I1", "I2", "I3", "I4"} <= {check["id"] for check in checks}
    assert all(check["ok"] for check in checks)

    changed = tmp_path / "changed.db"
    with sqlite3.connect(url.removeprefix("sqlite:///")) as live, sqlite3.connect(changed) as copy:
        live.backup(copy)
        copy.execute("UPDATE account SET posted = posted + 1 WHERE id = ?", (account["account_id"],))
    live.close()
    copy.close()
    found = run(tollway, {"TOLLWAY_DATABASE_URL": f"sqlite:///{changed}"}, "ledger", "verify", "--json")
    assert found.returncode == 1
    wrong = [check for check in json.loads(found.stdout) if not check["ok"]]
    assert "I2" in {check["id"] for check in wrong}
    assert account["account_id"] in str(wrong)


def run(tollway: Tollway, settings: dict[str, str], *arguments: str) -> Done:
    """A command with other settings; an empty one counts as absent."""
    return warm.run(arguments, {**tollway.environment, **settings}, seconds=30)


def test_serve_refuses_settings_that_cannot_be_right(tollway: Tollway, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(BAD_CATALOG)
    production = {"TOLLWAY_ENV": "production"}
    port = {"TOLLWAY_PORT": str(free_port())}
    names = ("serve", "serve", "serve", "serve", "serve", "catalog", "serve", "serve", "account")
    settings: list[dict[str, str]] = [
        {**production, "TOLLWAY_SECRET_KEY": ""}, {**production, "TOLLWAY_SECRET_KEY": DEVELOPMENT_SECRET}, {"TOLLWAY_SECRET_KEY": "short"},
        {"TOLLWAY_WORKERS": "2"}, {"TOLLWAY_CATALOG": str(bad)}, {"TOLLWAY_CATALOG": str(bad)}, {"TOLLWAY_PORT": str(tollway.port)},
        {"TOLLWAY_IDLE_SECONDS": "long"}, {"TOLLWAY_DATABASE_URL": "mysql://x"},
    ]  # fmt: skip
    more = {"catalog": ("check",), "account": ("create", "--email", "a@example.com")}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda at, name: run(tollway, {**port, **at}, name, *more.get(name, ())), settings, names))
    for absent in done[:2]:
        assert_refused(absent, "TOLLWAY_SECRET_KEY", "production")
    assert_refused(done[2], "TOLLWAY_SECRET_KEY", "32 characters")
    assert_refused(done[3], "TOLLWAY_WORKERS", "Postgres")
    for unreadable in done[4:6]:
        assert_refused(unreadable, str(bad), "[[endpoint]] acme/acme/x", "price.prompt", "'cheap'")
    assert_refused(done[6], f"port {tollway.port}", "in use")
    assert_refused(done[7], "TOLLWAY_IDLE_SECONDS", "number")
    assert_refused(done[8], "TOLLWAY_DATABASE_URL", "sqlite:///")


def test_help_lists_the_commands_and_wrong_usage_exits_with_2(tollway: Tollway) -> None:
    listed, missing, unknown, choice = together(
        tollway, ("--help",), ("account", "create"), ("fly",), ("key", "create", "--account", "a", "--reset", "hourly")
    )
    commands = set(re.findall(r"^  (\w+)  ", listed.stdout, re.MULTILINE))
    assert commands >= {"demo", "serve", "migrate", "account", "key", "credit", "route", "catalog", "ledger"}
    for done, word in ((missing, "--email"), (unknown, "fly"), (choice, "hourly")):
        assert (done.returncode, done.stdout) == (2, "")
        assert word in done.stderr

"""`tollway credit` as an operator types it: real processes beside a server on the same SQLite file."""

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.running import Account, Tollway

AT_ONCE = 3
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def tollway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tollway]:
    folder = tmp_path_factory.mktemp("cli_credit")
    running = Tollway({"TOLLWAY_DATABASE_URL": f"sqlite:///{folder}/tollway.db"}, folder / "tollway.log")
    running.start()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture
def account(tollway: Tollway) -> Account:
    return tollway.account("1")


def add(tollway: Tollway, account: Account, usd: str, *more: str) -> Any:
    return tollway.cli_json("credit", "add", "--account", account.account_id, "--usd", usd, "--reason", "test", *more)


def listed(tollway: Tollway, account: Account) -> list[Any]:
    rows: list[Any] = tollway.cli_json("credit", "list", "--account", account.account_id)
    return rows


def together(tollway: Tollway, *commands: tuple[str, ...]) -> list[Done]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda command: tollway.cli(*command), commands))


def assert_refused(done: Done, *words: str) -> None:
    """One line on stderr that says what is wrong, nothing on stdout, exit status 1."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith("tollway: ")
    assert not [word for word in words if word not in done.stderr], done.stderr


def spend(tollway: Tollway, account: Account) -> None:
    body = {"model": "tollway/echo", "messages": [{"role": "user", "content": "one two three"}]}
    answer = httpx.post(f"{tollway.base_url}/chat/completions", json=body, headers={"authorization": f"Bearer {account.key}"}, timeout=30)
    assert answer.status_code == 200, answer.text


def test_first_credit_is_paid_and_refundable(tollway: Tollway, account: Account) -> None:
    [first] = listed(tollway, account)
    assert re.fullmatch(r"dep_[0-9a-f]{24}", first.pop("id"))
    assert MOMENT.fullmatch(first.pop("created"))
    assert first == {"kind": "paid", "refundable": True, "amount_usd": "1", "remaining_usd": "1", "expires": None}


def test_every_kind_of_credit_is_added_listed_and_burned_in_order(tollway: Tollway, account: Account) -> None:
    assert add(tollway, account, "2", "--no-refund") == {"account_id": account.account_id, "added_usd": "2", "available_usd": "3"}
    gift = add(tollway, account, "0.5", "--kind", "promotional", "--expires", "2099-01-31T12:00:00Z")
    assert gift["available_usd"] == "3.5"
    spend(tollway, account)
    rows = listed(tollway, account)
    assert [(row["kind"], row["refundable"], row["amount_usd"], row["expires"]) for row in rows] == [
        ("paid", True, "1", None), ("paid", False, "2", None), ("promotional", False, "0.5", "2099-01-31T12:00:00.000Z"),
    ]  # fmt: skip
    assert [row["remaining_usd"] for row in rows[:2]] == ["1", "2"]
    assert 0.49 < float(rows[2]["remaining_usd"]) < 0.5
    header, *lines = tollway.cli("credit", "list", "--account", account.account_id).stdout.splitlines()
    assert header.split("\t") == ["id", "kind", "refundable", "amount_usd", "remaining_usd", "expires", "created"]
    assert len(lines) == 3


def test_a_refund_returns_unused_paid_credit_only(tollway: Tollway, account: Account) -> None:
    add(tollway, account, "3", "--kind", "promotional")
    refund = ("credit", "refund", "--account", account.account_id, "--reason", "asked for", "--json")
    too_much, fine, nobody = together(
        tollway, (*refund, "--usd", "1.01"), (*refund, "--usd", "0.005"), ("credit", "refund", "--account", "acc_nobody", "--reason", "x")
    )
    assert_refused(too_much, "1.01 USD is more than can be refunded: 1 USD")
    assert_refused(fine, "whole cents")
    assert_refused(nobody, "there is no account acc_nobody")
    assert tollway.cli_json(*refund[:-1], "--usd", "0.4") == {
        "account_id": account.account_id, "refunded_usd": "0.4", "available_usd": "3.6",
    }  # fmt: skip
    assert tollway.cli_json(*refund[:-1])["refunded_usd"] == "0.6"
    assert tollway.cli_json(*refund[:-1])["refunded_usd"] == "0"
    assert tollway.get("/credits", account.key)["data"] == {"total_credits": 3, "total_usage": 0}
    with closing(sqlite3.connect(tollway.environment["TOLLWAY_DATABASE_URL"].removeprefix("sqlite:///"))) as books:
        found = books.execute("SELECT kind, reason, amount FROM entry WHERE account_id = ? ORDER BY at", (account.account_id,)).fetchall()
    assert found[2:] == [("refund", "asked for", -400_000_000), ("refund", "asked for", -600_000_000)]
    assert all(check["ok"] for check in tollway.cli_json("ledger", "verify"))


def test_credit_that_makes_no_sense_is_refused(tollway: Tollway, account: Account) -> None:
    command = ("credit", "add", "--account", account.account_id, "--reason", "test")
    past, wordy, negative, vague, much, wrong, nobody = together(
        tollway,
        (*command, "--usd", "1", "--expires", "2020-01-31"), (*command, "--usd", "1", "--expires", "soon"),
        (*command, "--usd", "-1", "--kind", "promotional"), (*command, "--usd", "1e-10"), (*command, "--usd", "9000001"),
        (*command, "--usd", "1", "--kind", "stolen"), ("credit", "list", "--account", "acc_nobody"),
    )  # fmt: skip
    assert_refused(past, "must expire in the future")
    assert_refused(wordy, "--expires", "ISO 8601", "'soon'")
    assert_refused(negative, "--kind", "takes credit back")
    assert_refused(vague, "--usd")
    assert_refused(much, "--usd", "beyond 9000000 USD")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert_refused(nobody, "there is no account acc_nobody")
    assert json.dumps(listed(tollway, account)).count("dep_") == 1


def test_what_is_taken_back_comes_from_what_would_be_used_first(tollway: Tollway, account: Account) -> None:
    add(tollway, account, "1", "--kind", "promotional")
    assert add(tollway, account, "-1.25")["available_usd"] == "0.75"
    assert [(row["kind"], row["remaining_usd"]) for row in listed(tollway, account)] == [("paid", "0.75"), ("promotional", "0")]

"""Usage over HTTP from a real server: every format adds up to the balance, a key's kind decides, and a broken download looks broken."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet

from tests.path.place import Place, charge_for
from tests.running import Account, Tollway, tollway

ECHO = "tollway/echo"
PREFIXES = ("/v1", "/api/v1")
TITLE = '=HYPERLINK("x")'
TODAY = datetime.now(UTC).date()
WEEK = {"from": str(TODAY - timedelta(days=3)), "to": str(TODAY + timedelta(days=3))}
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


def get(place: Place, account: Account, path: str, prefix: str = "/v1", **query: str) -> httpx.Response:
    bearer = {"authorization": f"Bearer {account.key}"}
    return httpx.get(f"http://127.0.0.1:{place.tollway.port}{prefix}/{path}", params=query, headers=bearer, timeout=30)


def export(place: Place, account: Account, prefix: str = "/v1", **query: str) -> list[dict[str, Any]]:
    """The rows as their format reads them."""
    answer = get(place, account, "usage/export", prefix, **{**WEEK, **query})
    assert answer.status_code == 200, answer.text
    format = query.get("format", "csv")
    assert answer.headers["content-type"] == MEDIA_TYPES[format]
    assert answer.headers["content-disposition"] == f'attachment; filename="tollway-usage-{WEEK["from"]}-{WEEK["to"]}.{format}"'
    if format == "parquet":
        return list(parquet.read_table(io.BytesIO(answer.content)).to_pylist())
    if format == "jsonl":
        return [json.loads(line) for line in answer.text.splitlines()]
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def management_key(place: Place, account: Account) -> Account:
    created = place.tollway.cli_json("key", "create", "--account", account.account_id, "--management")
    return Account(account.account_id, created["key"])


def test_every_format_adds_up_to_the_balance_to_the_nano(quiet: Place) -> None:
    account = quiet.account("10")
    limited = quiet.limited_key(account, "1")
    for key in (account, account, limited):
        assert quiet.ask(key, ECHO, headers={"X-Title": TITLE}).status == 200
    assert quiet.ask(account, "fake/status-status-500").status != 200
    used = quiet.used(account)
    assert used > 0
    for format in MEDIA_TYPES:
        for prefix in PREFIXES:
            rows = export(quiet, account, prefix, format=format)
            assert sum(Decimal(row["charge_usd"]) for row in rows) == used
            assert [row["outcome"] for row in rows].count("completed") == 3
            by_day = export(quiet, account, prefix, format=format, by="day")
            assert sum(Decimal(row["charge_usd"]) for row in by_day) == used
            assert sum(int(row["requests"]) for row in by_day) == len(rows)
            assert {str(row["date"]) for row in by_day} <= {str(TODAY), str(TODAY + timedelta(days=1))}
    quiet.verify()


def test_a_row_is_the_generation_it_names(quiet: Place) -> None:
    account = quiet.account("10")
    answer = quiet.ask(account, ECHO, headers={"X-Title": TITLE, "HTTP-Referer": "https://app.example.com/page"})
    found = quiet.generation(account, answer)
    (row,) = export(quiet, account, format="jsonl")
    (cell,) = export(quiet, account)
    assert row["id"] == found["id"] == answer.headers["x-generation-id"]
    assert (Decimal(row["charge_usd"]), Decimal(row["held_usd"])) == (found["total_cost"], found["hold"])
    assert (row["model"], row["provider"], row["streamed"]) == (found["model"], found["provider_name"], found["streamed"])
    assert (row["prompt"], row["completion"]) == (found["tokens_prompt"], found["tokens_completion"])
    assert (row["created_at"], row["origin"], row["title"]) == (found["created_at"], "https://app.example.com", TITLE)
    assert row["created_at"] <= row["charged_at"]
    assert row["key_name"] == "owner"
    assert cell["title"] == f"'{TITLE}"
    expected = charge_for(prompt=row["prompt"], completion=row["completion"], price={"prompt": "0.1", "completion": "0.4"})
    assert Decimal(row["charge_usd"]) == expected


def test_the_owner_and_managers_may_read_usage_and_an_inference_key_may_not(quiet: Place) -> None:
    account = quiet.account("10")
    quiet.ask(account, ECHO)
    inference, manager = quiet.limited_key(account, "1"), management_key(quiet, account)
    assert len(export(quiet, manager)) == len(export(quiet, account)) == 1
    for path in ("usage/export", "activity"):
        for prefix in PREFIXES:
            assert get(quiet, manager, path, prefix, **(WEEK if path == "usage/export" else {})).status_code == 200
            refused = get(quiet, inference, path, prefix, **WEEK)
            assert refused.status_code == 403
            assert refused.json()["error"]["metadata"]["error_type"] == "permission_denied"
            assert "management key" in refused.json()["error"]["message"]
        assert get(quiet, Account("", "sk-tw-v1-x"), path, **WEEK).status_code == 401
    assert export(quiet, quiet.account("1")) == []


@pytest.mark.parametrize(
    ("path", "query", "param", "words"),
    [
        ("usage/export", {"to": "2027-01-01"}, "from", "from is required"),
        ("usage/export", {"from": "2027-01-01"}, "to", "to is required"),
        ("usage/export", {"from": "soon", "to": "2027-01-01"}, "from", "2027-01-31T12:00:00Z"),
        ("usage/export", {"from": "2027-01-01", "to": "2027-13-01"}, "to", "not '2027-13-01'"),
        ("usage/export", {"from": "2027-01-02", "to": "2027-01-01"}, "from", "before to"),
        ("usage/export", {"from": "2026-01-01", "to": "2027-06-01"}, "to", "400 days"),
        ("usage/export", {"from": "2027-01-01", "to": "2027-01-01", "format": "xlsx"}, "format", "csv, jsonl or parquet"),
        ("usage/export", {"from": "2027-01-01", "to": "2027-01-01", "by": "hour"}, "by", "generation or day"),
        ("activity", {"date": "yesterday"}, "date", "UTC day"),
        ("activity", {"date": "2027-02-30"}, "date", "not '2027-02-30'"),
        ("activity", {"date": "2020-01-01"}, "date", "last 30 completed UTC days"),
        ("activity", {"user_id": "abc"}, "user_id", "not supported"),
        ("activity", {"group_by": "workspace"}, "group_by", "not supported"),
    ],
)
def test_what_cannot_be_answered_names_the_parameter(quiet: Place, path: str, query: dict[str, str], param: str, words: str) -> None:
    refused = get(quiet, _asker(quiet), path, **query)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, 400, param)
    assert words in error["message"]


_ASKERS: dict[int, Account] = {}


def _asker(place: Place) -> Account:
    if id(place) not in _ASKERS:
        _ASKERS[id(place)] = place.account("0")
    return _ASKERS[id(place)]


def test_activity_is_what_the_last_thirty_completed_days_cost(quiet: Place) -> None:
    account = quiet.account("10")
    quiet.ask(account, ECHO)
    assert get(quiet, account, "activity").json() == {"data": []}, "today is not over"
    today = str(datetime.now(UTC).date())
    refused = get(quiet, account, "activity", date=today)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "date")


PADDING = "x" * 60
ROWS = 30_000


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tollway, Account, Path]]:
    """A Tollway whose account has more to export than any socket holds, charged yesterday and the day before at noon."""
    folder = tmp_path_factory.mktemp("export")
    file = folder / "tollway.db"
    with tollway({"TOLLWAY_DATABASE_URL": f"sqlite:///{file}"}, folder) as running:
        account = running.account("1")
        noon = int(datetime.combine(TODAY, datetime.min.time(), UTC).timestamp() * 1000) - 43_200_000
        with sqlite3.connect(file, timeout=30) as connection:
            _fill(connection, account.account_id, noon)
        connection.close()
        yield running, account, file


def _fill(connection: sqlite3.Connection, account_id: str, noon: int) -> None:
    numbers = [(f"gen-{number:08}", account_id, noon - number % 2 * 86_400_000) for number in range(ROWS)]
    connection.executemany(
        f"""INSERT INTO generation (id, account_id, key_id, created_at, model, provider, endpoint, api_type, streamed, outcome, prompt,
        cached_prompt, cache_write, image, audio, completion, reasoning, audio_completion, held, total_pico, charge, remainder, shortfall,
        duration_ms, attempts, title) VALUES (?, ?, 'key', ?, 'tollway/echo', 'Tollway', 'tollway/tollway/echo', 'completions', 1,
        'completed', 5, 4, 3, 2, 1, 7, 6, 5, 9, 3000, 3, 0, 0, 1, '[]', '{PADDING}')""",
        numbers,
    )
    connection.executemany("INSERT INTO entry VALUES (?, 0, ?, -3, 'charge', NULL, ?)", numbers)


def test_activity_adds_up_per_day_model_and_endpoint(full: tuple[Tollway, Account, Path]) -> None:
    running, account, _ = full
    answer = httpx.get(f"{running.base_url}/activity", headers={"authorization": f"Bearer {account.key}"}, timeout=60)
    rows = json.loads(answer.text, parse_float=Decimal)["data"]
    yesterday, before = str(TODAY - timedelta(days=1)), str(TODAY - timedelta(days=2))
    expected = {
        "model": ECHO, "model_permaslug": ECHO, "endpoint_id": "tollway/tollway/echo", "provider_name": "Tollway",
        "usage": Decimal("0.000045"), "byok_usage_inference": 0, "requests": 15_000, "prompt_tokens": 15 * 15_000,
        "completion_tokens": 18 * 15_000, "reasoning_tokens": 6 * 15_000, "cached_tokens": 4 * 15_000,
    }  # fmt: skip
    assert rows == [{"date": day, **expected} for day in (before, yesterday)]
    one = httpx.get(f"{running.base_url}/activity?date={before}", headers={"authorization": f"Bearer {account.key}"}, timeout=60)
    assert json.loads(one.text, parse_float=Decimal)["data"] == [{"date": before, **expected}]


def _download(running: Tollway, account: Account, format: str = "jsonl") -> Any:
    period = {"from": str(TODAY - timedelta(days=5)), "to": str(TODAY), "format": format}
    headers = {"authorization": f"Bearer {account.key}"}
    return httpx.stream("GET", f"{running.base_url}/usage/export", params=period, headers=headers, timeout=60)


def test_a_server_that_streams_an_export_still_answers_others(full: tuple[Tollway, Account, Path]) -> None:
    running, account, _ = full
    with _download(running, account) as answer:
        lines = answer.iter_lines()
        for number, _ in enumerate(lines):
            if number % 3_000 == 0:
                assert running.get("/key", account.key)["data"]["limit"] is None
    assert number == ROWS - 1


def test_clients_that_leave_in_mid_download_give_their_places_back(full: tuple[Tollway, Account, Path]) -> None:
    running, account, _ = full
    for _ in range(20):
        with _download(running, account) as answer:
            assert answer.status_code == 200
            next(answer.iter_bytes())
    with _download(running, account) as answer:
        assert sum(1 for _ in answer.iter_lines()) == ROWS


@pytest.mark.parametrize("format", sorted(MEDIA_TYPES))
def test_a_download_that_fails_in_the_middle_does_not_look_whole(full: tuple[Tollway, Account, Path], format: str) -> None:
    running, account, file = full
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    with _download(running, account, format) as answer:
        parts = answer.iter_raw(1)
        next(parts)
        connection.execute("ALTER TABLE key RENAME TO key_away")
        try:
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in parts:
                    pass
        finally:
            connection.execute("ALTER TABLE key_away RENAME TO key")
            connection.close()

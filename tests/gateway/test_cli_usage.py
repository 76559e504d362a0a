"""`tollway usage export` and `tollway ledger statement` as an operator types them, on both databases."""

import asyncio
import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import insert
from sqlmodel import Session

from gateway.commands.files import output
from metering.tables import Entry, Generation
from metering.usage import Usage
from tests import books, servers
from tests.running import ROOT, Tollway

DAY = 86_400_000
MIDNIGHT = books.START - books.START % DAY + DAY
MONTH = ("--from", "2025-10-01", "--to", "2025-10-31")
PRICE = books.COST.charge
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Here:
    tollway: Tollway
    account_id: str

    def export(self, *options: str) -> tuple[str, ...]:
        return "usage", "export", "--account", self.account_id, *options

    def statement(self, *options: str) -> tuple[str, ...]:
        return "ledger", "statement", "--account", self.account_id, *options

    def run(self, *commands: tuple[str, ...]) -> list[Done]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda command: self.tollway.cli(*command), commands))


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """An account with two charges on either side of a midnight and a free generation; no server runs."""
    folder = tmp_path_factory.mktemp("usage")
    if request.param == "sqlite":
        yield _filled(f"sqlite:///{folder}/tollway.db", folder)
        return
    template = request.getfixturevalue("postgres_template")
    with servers.database(request.getfixturevalue("postgres_url"), template=template) as url:
        yield _filled(url, folder)


def _filled(url: str, folder: Path) -> Here:
    running = Tollway({"TOLLWAY_DATABASE_URL": url}, folder / "tollway.log")
    account_id = running.cli_json("account", "create", "--email", "a@example.com", "--credit", "0")["account_id"]
    asyncio.run(_fill(url, account_id))
    return Here(running, account_id)


async def _fill(url: str, account_id: str) -> None:
    def rows(session: Session) -> None:
        for id, at in (("gen_1", MIDNIGHT - 1), ("gen_2", MIDNIGHT)):
            charged = {**books.generation(id, account_id), "created_at": at - 100, "charge": PRICE, "title": "-2+3"}
            session.connection().execute(insert(Generation), [charged])
            _book(session, id, account_id, -PRICE, at, "charge", None)
        free = {**books.generation("gen_free", account_id, usage=Usage()), "created_at": MIDNIGHT, "outcome": "failed"}
        session.connection().execute(insert(Generation), [free])
        _book(session, "dep_1", account_id, 10**9, books.START, "deposit", "a\treason\nin two lines")

    async with books.connected(url) as database:
        await database.write(rows)


def _book(session: Session, id: str, account_id: str, amount: int, at: int, kind: str, reason: str | None) -> None:
    for leg, (who, signed) in enumerate(((account_id, amount), ("house:cash", -amount))):
        session.add(Entry(transaction_id=id, leg=leg, account_id=who, amount=signed, kind=kind, reason=reason, at=at))
    session.flush()


def assert_refused(done: Done, *words: str, status: int = 1) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done
    assert not [word for word in words if word not in done.stderr], done.stderr
    if status == 1:
        assert done.stderr.startswith("tollway: ")
        assert done.stderr.count("\n") == 1


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_an_export_goes_to_a_pipe_or_into_a_file_in_every_format(here: Here, tmp_path: Path) -> None:
    out = {format: tmp_path / f"usage.{format}" for format in ("jsonl", "parquet")}
    plain, lines, columns, days = here.run(
        here.export(*MONTH), here.export(*MONTH, "--format", "jsonl", "--out", str(out["jsonl"])),
        here.export(*MONTH, "--format", "parquet", "--out", str(out["parquet"])), here.export(*MONTH, "--by", "day"),
    )  # fmt: skip
    assert [(done.returncode, done.stderr) for done in (plain, lines, columns, days)] == [(0, "")] * 4
    assert lines.stdout == columns.stdout == ""
    rows = table(plain.stdout)
    assert rows[0]["id"] == "gen_1"
    assert {row["id"] for row in rows} == {"gen_1", "gen_2", "gen_free"}
    assert {row["title"] for row in rows} == {"'-2+3", ""}
    assert [row["charged_at"] for row in rows if row["id"] == "gen_1"] == ["2025-10-09T23:59:59.999Z"]
    objects = [json.loads(line) for line in out["jsonl"].read_text().splitlines()]
    assert {each["title"] for each in objects} == {"-2+3", None}
    arrow = parquet.read_table(out["parquet"]).to_pylist()
    total = Decimal(2 * PRICE).scaleb(-9)
    for found in (rows, objects, arrow, table(days.stdout)):
        assert sum(Decimal(row["charge_usd"]) for row in found) == total
    assert [(row["date"], row["requests"]) for row in table(days.stdout)] == [("2025-10-09", "1"), ("2025-10-10", "2")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["usage.jsonl", "usage.parquet"]


def test_a_moment_ends_a_period_without_being_in_it(here: Here) -> None:
    before, at = here.run(
        here.export("--from", "2025-10-01", "--to", "2025-10-10T00:00:00Z", "--format", "jsonl"),
        here.export("--from", "2025-10-10T02:00:00+02:00", "--to", "2025-10-10", "--format", "jsonl"),
    )
    assert [json.loads(line)["id"] for line in before.stdout.splitlines()] == ["gen_1"]
    assert {json.loads(line)["id"] for line in at.stdout.splitlines()} == {"gen_2", "gen_free"}


def test_a_statement_adds_up_as_lines_and_as_json(here: Here) -> None:
    plain, as_json, first, second = here.run(
        here.statement(*MONTH), here.statement(*MONTH, "--json"), here.statement("--from", "2025-10-01", "--to", "2025-10-09", "--json"),
        here.statement("--from", "2025-10-10", "--to", "2025-10-31", "--json"),
    )  # fmt: skip
    header, *lines = [line.split("\t") for line in plain.stdout.splitlines()]
    assert header == ["at", "kind", "id", "amount_usd", "balance_usd", "reason"]
    assert [line[1] for line in lines] == ["opening", "deposit", "charge", "charge", "closing"]
    assert lines[0] == ["2025-10-01T00:00:00.000Z", "opening", "-", "-", "0", "-"]
    assert lines[1][2:] == ["dep_1", "1", "1", "a reason in two lines"]
    assert lines[-1][0] == "2025-11-01T00:00:00.000Z"
    objects = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [each["kind"] for each in objects] == [line[1] for line in lines]
    assert sum(Decimal(each["amount_usd"] or 0) for each in objects) == Decimal(objects[-1]["balance_usd"])
    assert Decimal(objects[-1]["balance_usd"]) == 1 - Decimal(2 * PRICE).scaleb(-9)
    ended, begun = json.loads(first.stdout.splitlines()[-1]), json.loads(second.stdout.splitlines()[0])
    assert (ended["kind"], begun["kind"]) == ("closing", "opening")
    assert (ended["at"], ended["balance_usd"]) == (begun["at"], begun["balance_usd"])


def test_what_makes_no_sense_is_refused_by_name(here: Here, tmp_path: Path) -> None:
    nobody = ("usage", "export", "--account", "acc_nobody", *MONTH)
    refused = here.run(
        nobody, ("ledger", "statement", "--account", "acc_nobody", *MONTH), here.export("--from", "soon", "--to", "2025-10-31"),
        here.export("--from", "2025-11-01", "--to", "2025-10-31"), here.statement("--from", "2024-01-01", "--to", "2025-10-31"),
        here.export(*MONTH, "--out", str(tmp_path / "nowhere" / "usage.csv")), (*nobody, "--out", str(tmp_path / "usage.csv")),
    )  # fmt: skip
    words = (
        ("there is no account acc_nobody",), ("there is no account acc_nobody",), ("--from must be", "'soon'"),
        ("--from must be before --to",),
        ("--to", "400 days"), ("nowhere",), ("acc_nobody",),
    )  # fmt: skip
    for done, each in zip(refused, words, strict=True):
        assert_refused(done, *each)
    assert list(tmp_path.iterdir()) == []
    format, by, missing = here.run(
        here.export(*MONTH, "--format", "xlsx"), here.export(*MONTH, "--by", "hour"), here.export("--from", "2025-10-01")
    )
    assert_refused(format, "--format", "parquet", status=2)
    assert_refused(by, "--by", "generation", status=2)
    assert_refused(missing, "--to", status=2)


def test_a_terminal_gets_no_parquet(here: Here) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway", *here.export(*MONTH, "--format", "parquet")]
    done = subprocess.run(
        command, cwd=ROOT, env=here.tollway.environment, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--out" in done.stderr


def test_a_reader_that_has_seen_enough_ends_an_export_quietly(here: Here) -> None:
    shell = f"{sys.executable} -m gateway {' '.join(here.export(*MONTH))} | true"
    environment = here.tollway.environment
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_file_that_is_no_regular_file_is_written_to_and_never_replaced(here: Here, tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        reading: Any = pool.submit(fifo.read_text)
        (done,) = here.run(here.export(*MONTH, "--out", str(fifo)))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(table(reading.result())) == 3
    assert fifo.is_fifo()


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("of yesterday")
    with pytest.raises(ConnectionError):
        _write_half(file)
    assert file.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [file]
    with output(str(file)) as out:
        out.write(b"whole")
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file]


def _write_half(file: Path) -> None:
    with output(str(file)) as out:
        out.write(b"half")
        raise ConnectionError("the database went away")

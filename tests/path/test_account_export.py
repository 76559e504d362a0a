"""The owner takes along all that is kept of the account: whole, documented, without secrets, and nothing of anybody else."""

import csv
import io
import json
import time
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.process import Fake
from tests.path.client import ask
from tests.path.routes import MODELS, Crossing, crossing

SECONDS = 1.2
"""A change holds for every request by then."""
SECRET = "sk-own-key-that-is-secret"


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    fake.reset()
    with crossing(request.param, fake, tmp_path_factory.mktemp("export"), request) as running:
        yield running


def marked(place: Crossing, mark: str) -> Crossing:
    """A fresh account with `mark` in everything that its people can write."""
    own = place._replace(account=place.tollway.account("5"))
    account = ("--account", own.account.account_id)
    place.tollway.cli_json("member", "add", *account, "--email", f"{mark}.member@mail.example")
    place.tollway.cli_json("project", "create", *account, "--name", f"{mark}.project")
    place.tollway.cli_json("credit", "add", *account, "--usd", "1", "--reason", f"{mark}.reason")
    assert own.send("POST", "keys", {"name": f"{mark}.key"}).status == 201
    assert own.send("PATCH", "account/routing", {"presets": {f"{mark}-preset": {"model": MODELS[1]}}}).status == 200
    assert own.send("PATCH", "account/privacy", {"logging": "full"}).status == 200
    time.sleep(SECONDS)
    said = [{"role": "user", "content": f"{mark}.prompt"}]
    headers = {"HTTP-Referer": f"https://{mark}.origin.example", "X-Title": f"{mark}.title"}
    assert ask(own.tollway.port, own.account.key, MODELS[0], headers=headers, messages=said).status == 200
    assert own.send("POST", "account/provider-keys", {"provider": "dear", "key": SECRET}).status == 201
    return own


def opened(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def exported(own: Crossing) -> dict[str, str]:
    answer = own.send("POST", "account/export", {"key": own.account.key})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip"), answer.body
    return opened(answer.body)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_zip_has_all_that_is_the_accounts_own_and_nothing_of_another_or_secret(place: Crossing) -> None:
    own, other = marked(place, "canarymine"), marked(place, "canarytheirs")
    files = exported(own)
    everything = "".join(files.values())
    for what in (".member@", ".project", ".reason", ".key", "-preset", ".prompt", ".origin.example", ".title"):
        assert f"canarymine{what}" in everything, what
    assert "canarytheirs" not in everything
    assert other.account.account_id not in everything
    assert own.account.key not in everything
    assert SECRET not in everything
    assert '"digest"' not in everything
    assert '"sealed"' not in everything
    used = sum((Decimal(row["charge_usd"]) for row in csv.DictReader(io.StringIO(files["usage.csv"]))), Decimal(0))
    stated = rows(files["statement.jsonl"])
    assert used == -sum(Decimal(row["amount_usd"]) for row in stated if row["kind"] == "charge") > 0
    assert rows(files["content.jsonl"])[0]["content"]["input"]["messages"][0]["content"] == "canarymine.prompt"
    named = set(files["README.md"].split("`"))
    assert {name for name in files if not name.startswith("tables/")} - {"README.md"} <= named


def test_the_command_line_gives_the_same_and_both_stand_in_the_audit_log(place: Crossing, tmp_path: Any) -> None:
    own = marked(place, "canaryboth")
    over_http = exported(own)
    file = tmp_path / "export.zip"
    done = own.tollway.cli("privacy", "export", "--account", own.account.account_id, "--out", str(file))
    assert done.returncode == 0, done.stderr
    here = opened(file.read_bytes())
    assert here.keys() == over_http.keys()
    assert here["content.jsonl"] == over_http["content.jsonl"]
    deeds = [row["actor"][:4] for row in rows(here["tables/audit.jsonl"]) if row["action"] == "account.export"]
    assert deeds == ["key_", "oper"]


def test_an_export_needs_the_owners_key_once_more_and_works_while_the_account_is_closing(place: Crossing) -> None:
    own = place._replace(account=place.tollway.account("1"))
    assert own.send("POST", "account/export", {}).json["error"]["param"] == "key"
    assert own.send("POST", "account/export", {"key": place.account.key}).status == 403
    assert own.send("POST", "account/export", {"key": own.key("--management")}).status == 403
    assert own.send("POST", "account/close", {"key": own.account.key, "confirm": own.account.account_id}).status == 200
    time.sleep(SECONDS)
    assert rows(exported(own)["tables/account_state.jsonl"])[0]["state"] == "closing"


def test_an_account_that_is_not_there_writes_no_file(place: Crossing, tmp_path: Any) -> None:
    file = tmp_path / "none.zip"
    done = place.tollway.cli("privacy", "export", "--account", "acc_none", "--out", str(file))
    assert (done.returncode, file.exists()) == (1, False)
    assert "acc_none" in done.stderr

"""GET ledger/proof over HTTP, checked as an outsider would: by the command line in an empty folder with an empty environment."""

import json
import subprocess
import sys
import urllib.error
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from metering.signing import Signer
from policy import keys
from tests import warm
from tests.path.place import Place
from tests.running import SECRET, Account

PUBLIC_KEY = Signer(keys.derive(SECRET, "ledger-checkpoints")).public_key
MODEL = "fake/plain"


@pytest.fixture(scope="module")
def account(place: Place) -> Account:
    """With a few charges."""
    account = place.account("2.5")
    for _ in range(3):
        assert place.ask(account, MODEL, messages=[{"role": "user", "content": "hello"}]).status == 200
    return account


def fetched(place: Place, key: str, query: str = "", base: str = "/api/v1") -> tuple[int, bytes, dict[str, str]]:
    url = f"http://127.0.0.1:{place.tollway.port}{base}/ledger/proof{query}"
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {key}"}), timeout=30) as response:
            return response.status, response.read(), dict(response.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read(), dict(refused.headers)


def checked(folder: Path, data: bytes, *options: str) -> "subprocess.CompletedProcess[str]":
    """By a program that has nothing but the file."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    (folder / "proof.jsonl").write_bytes(data)
    return warm.run(("ledger", "check-proof", str(folder / "proof.jsonl"), *options), {}, folder=empty)


def checked_json(folder: Path, data: bytes, *options: str) -> Any:
    done = checked(folder, data, "--json", *options)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return json.loads(done.stdout)


def test_the_proof_is_good_and_its_sum_is_the_balance_to_the_nano_dollar(place: Place, account: Account, tmp_path: Path) -> None:
    status, data, headers = fetched(place, account.key)
    assert status == 200
    assert headers["content-type"].startswith("application/x-ndjson")
    assert f"tollway-proof-{account.account_id}.jsonl" in headers["content-disposition"]
    found = checked_json(tmp_path, data, "--public-key", PUBLIC_KEY)
    credits = place.get(account, "credits")
    assert Decimal(found["sum_usd"]) == Decimal(credits["total_credits"]) - Decimal(credits["total_usage"])
    assert (found["result"], found["account_id"], found["entries"], found["unsealed"]) == ("good", account.account_id, 4, 0)
    assert found["public_keys"] == [PUBLIC_KEY]
    assert found["signer"] == "as given with --public-key"


def test_the_plain_output_says_what_was_checked(place: Place, account: Account, tmp_path: Path) -> None:
    done = checked(tmp_path, fetched(place, account.key, base="/v1")[1])
    assert done.returncode == 0
    lines = dict(line.split("\t") for line in done.stdout.splitlines())
    assert (lines["result"], lines["entries"], lines["head_seq"]) == ("good", "4", "4")
    assert "compare it" in lines["signer"]


def test_every_charge_is_in_the_proof_at_the_cost_that_the_client_saw(place: Place, tmp_path: Path) -> None:
    account = place.account()
    answers = [place.ask(account, MODEL, messages=[{"role": "user", "content": "x " * number}], stream=number > 1) for number in (1, 2, 3)]
    data = fetched(place, account.key)[1]
    charged = {line["transaction_id"]: line for line in map(json.loads, data.splitlines()) if line.get("kind") == "charge"}
    assert len(charged) == 3
    for answer in answers:
        assert Decimal(charged[answer.headers["x-generation-id"]]["amount"]) == -Decimal(answer.usage["cost"])
    assert checked_json(tmp_path, data)["entries"] == 4


def test_a_checkpoint_covers_what_was_before_it_and_the_file_says_what_is_after(place: Place, tmp_path: Path) -> None:
    made = place.tollway.cli_json("ledger", "checkpoint")
    assert made["public_key"] == PUBLIC_KEY
    assert place.tollway.cli_json("ledger", "checkpoint") == made
    account = place.account()
    found = checked_json(tmp_path, fetched(place, account.key)[1])
    assert (found["checkpoint_day"], found["only_chained"]) == (None, 1), "opened after the checkpoint of the day"


def test_a_proof_goes_on_after_an_earlier_one(place: Place, account: Account, tmp_path: Path) -> None:
    first = [json.loads(line) for line in fetched(place, account.key)[1].splitlines()]
    data = fetched(place, account.key, "?after_seq=2")[1]
    header = json.loads(data.splitlines()[0])
    assert header["after"] == {"seq": 2, "hash": first[2]["hash"]}
    found = checked_json(tmp_path, data)
    assert (found["first_seq"], found["entries"], found["head_hash"]) == (3, 2, first[-1]["hash"])
    for wrong in ("-1", "999", str(2**70), "x"):
        status, body, _ = fetched(place, account.key, f"?after_seq={wrong}")
        assert status == 400
        assert json.loads(body)["error"]["param"] == "after_seq"


def test_a_changed_file_is_refused_in_one_line(place: Place, account: Account, tmp_path: Path) -> None:
    data = fetched(place, account.key)[1]
    amount = json.loads(data.splitlines()[2])["amount"]
    changed = data.replace(f'"amount":"{amount}"'.encode(), b'"amount":"-0.000000001"', 1)
    for wrong, words in ((changed, "line 3: entry 2 does not fit"), (data[:-5], "cut off"), (b"", "cut off"), (b"rubbish\n", "line 1")):
        done = checked(tmp_path, wrong)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert words in done.stderr
    stranger = checked(tmp_path, data, "--public-key", "0" * 64)
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "another public key" in stranger.stderr
    assert checked(tmp_path, data, "--public-key", "rubbish").returncode == 1
    missing = subprocess.run([sys.executable, "-m", "gateway", "ledger", "check-proof", "nowhere"], env={}, cwd=tmp_path, check=False)
    assert missing.returncode == 2


def test_an_inference_key_is_told_which_key_to_use(place: Place, account: Account) -> None:
    status, body, _ = fetched(place, place.limited_key(account, "1").key)
    assert status == 403
    assert "owner's key or a management key" in json.loads(body)["error"]["message"]
    assert fetched(place, "rubbish")[0] == 401


def test_the_books_are_right_with_their_seals(place: Place) -> None:
    place.verify()

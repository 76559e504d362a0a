"""`tollway catalog import`, `check` and `show` as an operator types them: a readable diff, a file that is a catalog, bad input named."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from providers.catalog import load
from tests.running import Tollway

Done = subprocess.CompletedProcess[str]
CATALOG = """
# Mine.
[[model]]
id = "acme/fast-1"
context_length = 128000
[[provider]]
slug = "acme"
dialect = "openai"
base_url = "http://127.0.0.1:9100/v1"
[[endpoint]]
model = "acme/fast-1"
provider = "acme"
price = { prompt = "2.5", completion = "10" }
[[endpoint]]
model = "acme/fast-1"
provider = "tollway"
price = { prompt = "1", completion = "1" }
"""
ROW = {
    "litellm_provider": "acme",
    "mode": "chat",
    "max_input_tokens": 128000,
    "input_cost_per_token": 2e-06,
    "output_cost_per_token": 1e-05,
}
LIST = {
    "sample_spec": {},
    "acme/fast-1": ROW,
    "acme/fast-2": {**ROW, "input_cost_per_token": 1.5e-07, "max_output_tokens": 8192, "supports_function_calling": True},
    "acme/no-price": {**ROW, "input_cost_per_token": None},
    "acme/below": {**ROW, "output_cost_per_token": -1e-05},
    "acme/dear": {**ROW, "output_cost_per_token": 0.5},
    "acme/void": {**ROW, "max_input_tokens": 0},
    "acme/odd": {**ROW, "mode": None},
    "acme/picture": {**ROW, "mode": "image_generation"},
    "other/x": {**ROW, "litellm_provider": "other"},
}


@pytest.fixture
def tollway(tmp_path: Path) -> Tollway:
    (tmp_path / "catalog.toml").write_text(CATALOG)
    (tmp_path / "list.json").write_text(json.dumps(LIST))
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{tmp_path}/tollway.db", "TOLLWAY_CATALOG": str(tmp_path / "catalog.toml")}
    return Tollway(settings, tmp_path / "tollway.log")


def imported(tollway: Tollway, folder: Path, *more: str, kind: str = "litellm") -> Done:
    return tollway.cli("catalog", "import", "--from", kind, str(folder / "list.json"), *more)


def assert_refused(done: Done, *words: str, status: int = 1) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done
    assert status == 2 or done.stderr.count("\n") == 1
    assert not [word for word in words if word not in done.stderr], done.stderr


def test_an_import_shows_every_difference_and_writes_nothing(tollway: Tollway, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = imported(tollway, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "new\tacme/acme/fast-2\tprompt 0.15, completion 10, context_length 128000",
        "changed\tacme/acme/fast-1\tprompt 2.5 -> 2 (-20%)",
        "skipped\tacme/no-price\tit has no price (input_cost_per_token)",
        "skipped\tacme/below\toutput_cost_per_token is negative",
        "skipped\tacme/dear\toutput_cost_per_token is above 1000 USD per million tokens",
        "skipped\tacme/void\tmax_input_tokens is 0; no model has so many",
        "skipped\tacme/odd\tit has no mode",
        "left out\t1 rows\tits mode is 'image_generation', not chat or embedding (acme/picture)",
        "left out\t1 rows\tthe catalog has no provider 'other'; add a [[provider]] for it (other/x)",
        "1 new, 1 changed, 0 gone, 0 the same, 5 skipped",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_written_is_the_operators_catalog_with_the_changes(tollway: Tollway, tmp_path: Path) -> None:
    out = tmp_path / "new.toml"
    done = imported(tollway, tmp_path, "--out", str(out))
    assert done.stdout.endswith(f"wrote {out}; point TOLLWAY_CATALOG at it and run `tollway catalog check`\n")
    loaded = load(str(out))
    assert [(each.id, each.price.prompt) for each in loaded.endpoints["acme/fast-1"]] == [
        ("acme/acme/fast-1", 2_000_000), ("tollway/acme/fast-1", 1_000_000),
    ]  # fmt: skip
    (fast_2,) = loaded.endpoints["acme/fast-2"]
    assert (fast_2.price.prompt, fast_2.max_output_tokens, fast_2.capabilities) == (150_000, 8192, {"text", "tools"})
    row = loaded.rows["endpoint", "acme/acme/fast-2"].row
    assert row.source == "LiteLLM price list (list.json), imported"
    assert row.date is not None
    assert str(tmp_path) not in out.read_text()
    tollway.environment["TOLLWAY_CATALOG"] = str(out)
    assert imported(tollway, tmp_path).stdout.splitlines()[-1] == "0 new, 0 changed, 0 gone, 2 the same, 5 skipped"
    assert tollway.cli("catalog", "check").stdout == "the catalog is clean\n"


def test_the_operators_own_file_may_be_written_over_and_no_other(tollway: Tollway, tmp_path: Path) -> None:
    own = tmp_path / "catalog.toml"
    assert imported(tollway, tmp_path, "--out", str(own)).returncode == 0
    assert load(str(own)).endpoints["acme/fast-1"][0].price.prompt == 2_000_000
    other = tmp_path / "other.toml"
    other.write_text("precious")
    assert_refused(imported(tollway, tmp_path, "--out", str(other)), "--out", "exists and is not the file that TOLLWAY_CATALOG names")
    assert other.read_text() == "precious"


def test_an_import_can_be_narrowed(tollway: Tollway, tmp_path: Path) -> None:
    assert imported(tollway, tmp_path, "--known").stdout.splitlines()[0].startswith("changed\tacme/acme/fast-1")
    done = imported(tollway, tmp_path, "--provider", "groq")
    assert done.stdout == "0 new, 0 changed, 0 gone, 0 the same, 0 skipped\n"
    assert_refused(imported(tollway, tmp_path, "--provider", "grok"), "--provider: the catalog has no provider 'grok'")


def test_openrouters_list_is_merged_as_a_provider_of_its_own(tollway: Tollway, tmp_path: Path) -> None:
    model = {"id": "acme/fast-1", "name": "Fast", "context_length": 128000, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
    (tmp_path / "list.json").write_text(
        json.dumps({"data": [model, {**model, "id": "acme/free:free", "pricing": {"prompt": "0", "completion": "0"}}]})
    )
    done = imported(tollway, tmp_path, "--out", str(tmp_path / "new.toml"), kind="openrouter")
    assert done.stdout.splitlines()[:2] == [
        "new\topenrouter/acme/fast-1\tprompt 1, completion 2, context_length 128000",
        "skipped\tacme/free:free\tit is free in the list; write its row by hand if that is meant",
    ]
    assert load(str(tmp_path / "new.toml")).providers["openrouter"].api_key_env == "OPENROUTER_API_KEY"


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_a_file_that_is_no_list_is_refused_in_one_line(tollway: Tollway, tmp_path: Path, text: str) -> None:
    (tmp_path / "list.json").write_text(text)
    assert_refused(imported(tollway, tmp_path), "price list" if text == "[1]" else "list.json: is not a JSON document")


def test_wrong_arguments_are_refused_with_what_is_wrong(tollway: Tollway, tmp_path: Path) -> None:
    assert_refused(tollway.cli("catalog", "import", "--from", "litellm", str(tmp_path / "none.json")), "none.json: cannot be read")
    assert_refused(tollway.cli("catalog", "import", "--from", "litellm", str(tmp_path)), "cannot be read")
    assert_refused(tollway.cli("catalog", "import", str(tmp_path / "list.json")), "--from", status=2)
    assert_refused(imported(tollway, tmp_path, kind="helicone"), "helicone", status=2)
    assert_refused(imported(tollway, tmp_path, "--out", str(tmp_path / "no" / "such.toml")), "--out: the folder of", "does not exist")
    assert_refused(imported(tollway, tmp_path, "--out", str(tmp_path)), "--out", "exists")
    tollway.environment["TOLLWAY_CATALOG"] = str(tmp_path / "gone.toml")
    assert_refused(imported(tollway, tmp_path), "gone.toml: cannot be read")


BAD: dict[str, Any] = {
    'price = { prompt = "1", completion = "1001" }': "price.completion: 1001 USD per million tokens is above 1000",
    'price = { prompt = "1", completion = "2", cached_prompt = "3" }': "price.cached_prompt: a cached token costs more",
    'price = { prompt = "1", completion = "2", cache_write = "11" }': "price.cache_write: it is more than 10 times",
    'price = { prompt = "0", completion = "0" }': "price: prompt and completion are 0",
    'price = { prompt = "1", completion = "2" }\ncontext_length = 0': "context_length: 0 tokens hold no prompt",
    'price = { prompt = "1", completion = "2" }\ndate = 2999-01-01': "date: 2999-01-01 is in the future",
    'price = { prompt = "1", completion = "2" }\ncapabilities = ["text", "images"]': "capabilities: it takes images",
}


def test_check_rejects_impossible_rows_with_exit_status_1(tollway: Tollway, tmp_path: Path) -> None:
    for end, finding in BAD.items():
        (tmp_path / "catalog.toml").write_text(CATALOG.replace('price = { prompt = "2.5", completion = "10" }', end))
        done = tollway.cli("catalog", "check")
        assert done.returncode == 1
        assert f"[[endpoint]] acme/acme/fast-1: {finding}" in done.stdout
        assert done.stdout.endswith("\n1 findings\n")

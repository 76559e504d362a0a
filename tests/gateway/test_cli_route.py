"""`tollway route explain` and `tollway route replay` as an operator types them: readable output, and bad input refused by name."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import servers
from tests.path.client import Answer
from tests.path.routes import KEY, Crossing, catalog
from tests.running import ROOT, Account, Tollway

Done = subprocess.CompletedProcess[str]
MODEL = ("route", "explain", "--model", "acme/one")
MONTH = ("--from", "2026-01-01", "--to", "2026-01-31")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Tollway:
    """On SQLite; no server runs and no provider is there."""
    folder = tmp_path_factory.mktemp("route")
    return _tollway(f"sqlite:///{folder}/tollway.db", folder)


@pytest.fixture(params=("sqlite", "postgres"))
def ruled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Tollway, Account]]:
    """A running server, and an account with rules."""
    if request.param == "sqlite":
        yield from _served(_tollway(f"sqlite:///{tmp_path}/tollway.db", tmp_path))
        return
    with servers.database(request.getfixturevalue("postgres_url"), template=request.getfixturevalue("postgres_template")) as url:
        yield from _served(_tollway(url, tmp_path))


def _tollway(url: str, folder: Path) -> Tollway:
    (folder / "catalog.toml").write_text(catalog("http://127.0.0.1:9/v1"))
    settings = {"TOLLWAY_DATABASE_URL": url, "TOLLWAY_CATALOG": str(folder / "catalog.toml"), KEY: "k"}
    return Tollway(settings, folder / "tollway.log")


def _served(tollway: Tollway) -> Iterator[tuple[Tollway, Account]]:
    tollway.start()
    try:
        yield tollway, tollway.account()
    finally:
        tollway.kill()


def run(tollway: Tollway, *commands: tuple[str, ...]) -> list[Done]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda command: tollway.cli(*command), commands))


def assert_refused(done: Done, *words: str, status: int = 1) -> None:
    assert done.returncode == status, done
    assert not [word for word in words if word not in done.stderr], done.stderr
    if status == 1:
        assert done.stderr.startswith("tollway: ")
        assert done.stderr.count("\n") == 1


def test_an_explanation_is_text_with_the_order_its_reasons_and_prices(running: Tollway) -> None:
    plain, filtered, as_json = run(
        running, (*MODEL, "--draw", "0.5"), (*MODEL, "--provider", '{"data_collection": "deny", "max_price": {"prompt": 0.3}}'),
        (*MODEL, "--draw", "0.5", "--json"),
    )  # fmt: skip
    assert [(done.returncode, done.stderr) for done in (plain, filtered, as_json)] == [(0, "")] * 3
    lines = plain.stdout.splitlines()
    assert lines[0] == "acme/one has 3 endpoints; 3 of them can take this request."
    found = json.loads(as_json.stdout)
    places = [f"  {place}. {endpoint['endpoint']}" for place, endpoint in enumerate(found["endpoints"], 1)]
    assert [line for line in lines if line in places] == places
    assert "     0.2 USD per million prompt tokens, 0.7 per million completion tokens" in lines
    assert any("drawn" in line for line in lines)
    assert f"{found['ceiling_usd']} USD" in plain.stdout
    assert "0.5: the same --draw" in lines[-1]
    assert "acme/one has 3 endpoints; 1 of them can take this request." in filtered.stdout
    left_out = filtered.stdout.partition("Left out")[2].partition("Tried")[0]
    assert (
        left_out.index("Filter by Data Policy: 2 left") < left_out.index("cheap/acme/one") < left_out.index("Filter by provider.max_price")
    )
    assert left_out.index("above provider.max_price.prompt") < left_out.index("dear/acme/one")


def test_where_nothing_is_left_the_funnel_is_on_stdout_and_one_line_on_stderr(running: Tollway) -> None:
    plain, as_json = run(running, (*MODEL, "--provider", '{"region": "eu"}'), (*MODEL, "--provider", '{"region": "eu"}', "--json"))
    for done in (plain, as_json):
        assert_refused(done, "Filter by Region", "No endpoint of acme/one")
    assert "acme/one has 3 endpoints; none of them can take this request." in plain.stdout
    assert "refused with status 404" in plain.stdout
    assert plain.stdout.count("/acme/one\n") == 3
    found = json.loads(as_json.stdout)
    assert (found["endpoints"], found["error"]["code"]) == ([], 404)


def test_without_a_provider_s_key_its_endpoints_are_out(running: Tollway) -> None:
    environment = {name: value for name, value in running.environment.items() if name != KEY}
    command = [sys.executable, "-m", "gateway", *MODEL]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert_refused(done, "no key for the provider")


def test_wrong_options_are_refused_by_name(running: Tollway) -> None:
    refused = run(
        running, (*MODEL, "--provider", "{"), (*MODEL, "--provider", '{"colour": 1}'), (*MODEL, "--draw", "1"),
        (*MODEL, "--account", "acc_nobody"), ("route", "explain", "--model", "acme/ome"), ("route", "explain", "--model", "@preset/x"),
        ("route", "explain", "--model", "policy/x"), (*MODEL, "--draw", "high"), ("route", "explain"),
    )  # fmt: skip
    words = (
        ("--provider", "JSON"), ("provider.colour",), ("--draw",), ("there is no account acc_nobody",), ("did you mean", "acme/one"),
        ("no preset 'x'", "--account"), ("no policy 'x'", "--account"),
    )  # fmt: skip
    for done, each in zip(refused, words, strict=False):
        assert_refused(done, *each)
    assert_refused(refused[-2], "--draw", status=2)
    assert_refused(refused[-1], "--model", status=2)


def test_the_rules_of_an_account_hold_for_an_explanation(ruled: tuple[Tollway, Account]) -> None:
    tollway, account = ruled
    crossing = Crossing(tollway, None, account)  # type: ignore[arg-type]
    rules = {"ignored_providers": ["cheap"], "presets": {"quiet": {"model": "acme/two", "provider": {"zdr": True}}},
             "policies": {"both": {"kind": "fallback", "models": ["acme/two", "acme/one"]}}}  # fmt: skip
    answer: Answer = crossing.send("PUT", "account/routing", rules)
    assert answer.status == 200
    own = ("--account", account.account_id, "--json")
    commands = [("route", "explain", "--model", model, *own) for model in ("acme/one", "@preset/quiet", "policy/both")]
    plain, preset, policy = (json.loads(done.stdout) for done in run(tollway, *commands))
    assert sorted(each["provider"] for each in plain["endpoints"]) == ["dear", "middle"]
    assert [each["endpoint"] for each in preset["endpoints"]] == ["dear/acme/two"]
    assert [each["model"] for each in policy["endpoints"]] == ["acme/two"] * 2 + ["acme/one"] * 2


def test_a_replay_refuses_what_makes_no_sense_by_name(running: Tollway, tmp_path: Path) -> None:
    texts = {"good": "{}", "broken": "{", "wrong": '{"colour": 1}', "list": "[]", "large": " " * 70_000}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    replay = ("route", "replay", *MONTH, "--rules")
    refused = run(
        running, *((*replay, str(tmp_path / name)) for name in ("broken", "wrong", "list", "large", "missing")),
        (*replay, str(tmp_path / "good"), "--account", "acc_nobody"),
        ("route", "replay", "--from", "soon", "--to", "2026-01-31", "--rules", str(tmp_path / "good")), ("route", "replay", *MONTH),
    )  # fmt: skip
    words = (
        ("--rules", "not valid JSON"), ("--rules", "colour: is not a known field"), ("--rules", "write an object"),
        ("--rules", "65536 bytes"), ("missing",), ("there is no account acc_nobody",), ("--from must be", "'soon'"),
    )  # fmt: skip
    for done, each in zip(refused, words, strict=False):
        assert_refused(done, *each)
        assert done.stdout == ""
    assert_refused(refused[-1], "--rules", status=2)

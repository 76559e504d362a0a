"""`python -m tests.prove.mutation`: changes the ledger in small wrong ways, one at a time, and asks whether a test notices.

Each mutant is applied to a copy of the tree in a temporary folder, where the fast tests that concern its file run on SQLite until one
fails. First the guards of `guards.py`, each of which must turn a test red; then the mutants of `mutants.py`, of which nine in ten must.
Exit status 1 otherwise. What lives on is listed: either a test is missing, or the change means nothing (see EQUIVALENT).
"""

import argparse
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.prove import scorecard
from tests.prove.equivalent import EQUIVALENT
from tests.prove.guards import GUARDS
from tests.prove.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
COPIED = ("gateway", "policy", "providers", "metering", "migrations", "tests", "pyproject.toml")
LEDGER = (
    "tests/contract/test_ledger_edges.py",
    "tests/contract/test_ledger.py",
    "tests/contract/test_ledger_machine.py",
    "tests/contract/test_recovery.py",
    "tests/contract/test_ledger_bad_input.py",
    "tests/contract/test_ledger_outage.py",
    "tests/contract/test_idempotency.py",
    "tests/metering/test_verify.py",
)
TESTS: dict[str, tuple[str, ...]] = {
    "metering/money.py": ("tests/metering/test_money.py", "tests/metering/test_price.py", *LEDGER),
    "metering/price.py": ("tests/metering/test_price.py", "tests/metering/test_money.py"),
    "metering/usage.py": ("tests/metering/test_usage.py", "tests/metering/test_meter.py", "tests/metering/test_price.py"),
    "metering/meter.py": ("tests/metering/test_meter.py", "tests/metering/test_meter_edges.py"),
    "metering/ledger.py": (*LEDGER, "tests/contract/test_credits.py"),
    "metering/commit.py": ("tests/metering/test_commit.py", *LEDGER),
    "metering/batch_sqlite.py": LEDGER,
}
KILLED_SHARE_MIN = 0.9
SECONDS_MAX = 120
TEST_SECONDS_MAX = 45
"""A mutant that waits for ever is killed by its first test that hangs."""
WITHOUT = "-p no:langsmith_plugin -p no:faker -p no:anyio -p no:platformdirs -p no:pyreqwest"
"""Plugins of libraries that these tests do not use: loading them takes longer than most mutants live."""
AT_ONCE = 2


@dataclass(frozen=True)
class Fate:
    """`by` is the test that turned red, or why there was no answer; empty: the mutant lives."""

    by: str
    seconds: float


class Copy:
    """A copy of the tree in which one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules", ".*"))
            else:
                shutil.copy(source, folder / name)
        self._python = {**os.environ, "PYTHONPATH": str(folder)}
        self._run([sys.executable, "-m", "compileall", "-q", *COPIED[:-1]], seconds=SECONDS_MAX)
        self._python["PYTHONDONTWRITEBYTECODE"] = "1"

    def fate(self, file: str, source: str, tests: Sequence[str], *, seconds: float = SECONDS_MAX, postgres: bool = False) -> Fate:
        path, start = self.folder / file, time.monotonic()
        original = path.read_text()
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()  # it is told from its source by time and size, and both may be the same
        path.write_text(source)
        try:
            return Fate(self.red(tests, seconds=seconds, postgres=postgres), time.monotonic() - start)
        finally:
            path.write_text(original)

    def red(self, tests: Sequence[str], *, seconds: float = SECONDS_MAX, postgres: bool = False) -> str:
        """The first test that fails, or that they hang; empty if all pass."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += ["-o", f"addopts=--import-mode=importlib {WITHOUT}", "-o", f"timeout={TEST_SECONDS_MAX}", "-p", "tests.prove.unshrunk"]
        command += [] if postgres else ["-p", "tests.prove.without_postgres"]
        try:
            done = self._run([*command, *(test for test in tests if (self.folder / test).exists())], seconds=seconds)
        except subprocess.TimeoutExpired:
            return "out of time"
        if done.returncode == 0:
            return ""
        found = re.search(r"^(?:FAILED|ERROR) (?:\S*/)?(\S+?::\S+|\S+)", done.stdout, re.MULTILINE)
        return found[1] if found else f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}"

    def _run(self, command: list[str], *, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.folder, env=self._python, capture_output=True, text=True, timeout=seconds, check=False)


def all_mutants() -> list[Mutant]:
    return [mutant for file in TESTS for mutant in mutants(file, (ROOT / file).read_text())]


def judged(chosen: list[Mutant], copies: list[Copy], seconds: dict[str, float]) -> dict[Mutant, Fate]:
    """One copy of the tree works on one mutant at a time. `seconds`: how long the tests of a file took without any change."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in chosen:
        waiting.put(mutant)
    fates: dict[Mutant, Fate] = {}

    def work(copy: Copy) -> None:
        while not waiting.empty():
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            fates[mutant] = copy.fate(mutant.file, mutant.source, TESTS[mutant.file], seconds=20 + 5 * seconds[mutant.file])
            if not fates[mutant].by:
                print(f"\rlives: {mutant}", flush=True)
            lives = sum(not fate.by for fate in fates.values())
            print(f"\r{len(fates)} of {len(chosen)}, {lives} live", end="", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(file=sys.stderr)
    return fates


def guards(copy: Copy, say: Callable[[str], None]) -> list[str]:
    """A line for every guard that can be taken away without a test turning red."""
    standing = []
    for guard in GUARDS:
        fate = copy.fate(guard.file, guard.applied(ROOT), guard.tests, postgres=True)
        say(f"{'red by ' + fate.by if fate.by else 'NOT NOTICED'}: without “{guard.name}”")
        standing += [] if fate.by else [guard.name]
    return standing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many mutants, drawn with --seed; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", choices=TESTS, help="only the mutants of this file")
    parser.add_argument("--guards-only", action="store_true")
    scorecard.option(parser)
    wanted = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tollway-mutation-") as folder:
        copies = [Copy(Path(folder) / str(number)) for number in range(1 if wanted.guards_only else AT_ONCE)]
        table: list[str] = []
        unguarded = [] if wanted.file else guards(copies[0], lambda line: (table.append(line), print(line, flush=True))[1])
        chosen = [] if wanted.guards_only else [each for each in all_mutants() if wanted.file in (None, each.file)]
        if wanted.sample:
            chosen = random.Random(wanted.seed).sample(chosen, min(wanted.sample, len(chosen)))
        unchanged = {file: copies[0].fate(file, (ROOT / file).read_text(), TESTS[file]) for file in {each.file for each in chosen}}
        if red := {file: fate.by for file, fate in unchanged.items() if fate.by}:
            print(f"red without any change: {red}", file=sys.stderr)
            return 1
        fates = judged(chosen, copies, {file: fate.seconds for file, fate in unchanged.items()})
    return _report(wanted, fates, unguarded, table, time.monotonic() - start)


def _report(wanted: argparse.Namespace, fates: dict[Mutant, Fate], unguarded: list[str], table: list[str], elapsed: float) -> int:
    alive = [mutant for mutant, fate in fates.items() if not fate.by]
    equal = [mutant for mutant in alive if (mutant.file, mutant.written(ROOT), mutant.change) in EQUIVALENT]
    missed = sorted(set(map(str, alive)) - set(map(str, equal)))
    killed, counted = len(fates) - len(alive), len(fates) - len(equal)
    share = killed / counted if counted else 1.0
    figures = {
        "Guards taken away": f"{len(GUARDS)}, unnoticed {len(unguarded)}",
        "Mutants": f"{len(fates):,}" + (f" of {len(all_mutants()):,}, drawn" if wanted.sample else "") + ", on SQLite",
        "Killed": f"{killed:,} of {counted:,} ({100 * share:.1f} %); {len(equal)} more change nothing that can be seen",
        "Not noticed": f"{len(missed)}",
        "Time per mutant": f"{sum(fate.seconds for fate in fates.values()) / max(1, len(fates)):.1f} s, {AT_ONCE} at a time",
        "Duration": scorecard.seconds(elapsed),
    }
    print("\n".join([*(f"{name}: {value}" for name, value in figures.items()), *missed]))
    if wanted.scorecard:
        lines = [*(f"- {line}" for line in table), "", *(f"- not noticed: `{line}`" for line in missed)]
        scorecard.write("Mutations", figures, seed=wanted.seed if wanted.sample else None, notes="\n".join(lines))
    return 1 if unguarded or share < KILLED_SHARE_MIN else 0


if __name__ == "__main__":
    sys.exit(main())

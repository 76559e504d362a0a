"""The proofs' own tools: a section of the scorecard replaces only itself, and a mutant is one change that Python can read."""

import ast
import platform
import re
from pathlib import Path

import pytest

from tests.prove import scorecard
from tests.prove.mutants import mutants
from tests.tidy.tree import ROOT

SOURCE = '''"""A docstring with 1 + 1."""

CLOSE = """UPDATE hold SET charge = MIN(?, amount) WHERE id = ? AND state = 0"""


def charge(amount: int, held: int) -> int:
    if amount > held and not held == 0:
        raise ValueError("too much")
    return min(amount, held) - 1
'''


def test_a_section_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "scorecard.md"
    scorecard.write("Crowd", {"Rounds": "1"}, file=file)
    scorecard.write("Crashes", {"Kills": "7"}, seed=3, notes="- a | note", file=file)
    before = file.read_text()
    scorecard.write("Crowd", {"Rounds": "2"}, file=file)
    text = file.read_text()
    assert text == before.replace("| Rounds | 1 |", "| Rounds | 2 |")
    assert text.startswith("# Scorecard\n")
    assert text.index("## Crashes") < text.index("## Crowd")
    assert "| Seed | 3 |" in text
    assert platform.node() not in text
    assert str(Path.home()) not in text


def test_each_mutant_is_one_change_that_python_can_read() -> None:
    found = list(mutants("charge.py", SOURCE))
    plain = ast.unparse(ast.parse(SOURCE))
    assert len({mutant.source for mutant in found}) == len(found) > 15
    for mutant in found:
        ast.parse(mutant.source)
        assert mutant.source != plain
        changed = [line for line in mutant.source.splitlines() if line not in plain.splitlines()]
        assert len(changed) <= 1, mutant
    for wanted in ("amount >= held", "min(amount, held) + 1", "or not", "max(amount", "AND state = 0", "without: raise", "MIN(?, amount)"):
        assert any(wanted in f"{mutant} {mutant.source}" for mutant in found), wanted


def test_no_mutant_of_the_ledger_is_the_ledger() -> None:
    path = ROOT / "metering" / "batch_sqlite.py"
    source = path.read_text()
    assert all(mutant.source != ast.unparse(ast.parse(source)) for mutant in mutants("metering/batch_sqlite.py", source))


def test_each_proof_writes_a_section_that_the_scorecard_has_and_a_wrong_name_is_refused(tmp_path: Path) -> None:
    proofs = [path for path in (ROOT / "tests" / "prove").glob("*.py") if "scorecard.write(" in path.read_text()]
    written = {name for path in proofs for name in re.findall(r'scorecard\.write\("([^"]+)"', path.read_text())}
    assert written == set(scorecard.SECTIONS)
    with pytest.raises(AssertionError):
        scorecard.write("Canaries", {}, file=tmp_path / "scorecard.md")

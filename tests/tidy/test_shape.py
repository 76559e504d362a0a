"""The shape of the code: sizes, names, opening sentences and the direction of imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from migrations.upgrade import HEAD
from tests.tidy.tree import PACKAGES, ROOT, SOURCES, files, listed, place, python_files, tree

FILE_LINES = 400
FUNCTION_LINES = 70
DIRECTION = ("gateway", "policy", "providers", "metering")
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "base", "service", "services", "manager", "managers", "misc", "lib"}
# Names the layout itself gives.
GIVEN = {"gateway/services.py"}


def test_no_file_is_longer_than_400_lines() -> None:
    sizes = {place(path): len(path.read_text().splitlines()) for path in python_files(*SOURCES)}
    assert not listed(f"{name} has {size}" for name, size in sizes.items() if size > FILE_LINES)


def test_no_function_is_longer_than_70_lines() -> None:
    # An Alembic upgrade is a list of operations, not a train of thought.
    folders = [folder for folder in SOURCES if folder != "migrations"]
    functions = [
        (path, node)
        for path in python_files(*folders)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not listed(f"{place(path, node)} {node.name} has {_lines(node)}" for path, node in functions if _lines(node) > FUNCTION_LINES)


def test_every_file_opens_with_a_sentence() -> None:
    silent = [place(path) for path in python_files(*PACKAGES, "migrations", "benchmarks") if not ast.get_docstring(tree(path))]
    assert not listed(silent)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_explains_itself_in_3_to_30_lines(package: str) -> None:
    readme = ast.get_docstring(tree(ROOT / package / "__init__.py")) or ""
    assert 3 <= len(readme.splitlines()) <= 30


def test_no_name_is_vague() -> None:
    everything = files(*SOURCES, "deploy")
    folders = {parent for path in everything for parent in path.relative_to(ROOT).parents}
    vague = [place(path) for path in everything if path.stem.lower() in VAGUE and place(path) not in GIVEN]
    assert not listed([*vague, *(str(folder) for folder in sorted(folders) if folder.name.lower() in VAGUE)])


def test_imports_point_only_to_the_right() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nobody_imports_the_gateway_or_the_tests() -> None:
    """Also inside functions and for the migrations, which the import linter does not look at."""
    wrong = [
        f"{place(path, node)} imports {name}"
        for package in (*DIRECTION, "migrations")
        for path in python_files(package)
        for node, name in _imports(path)
        if name.split(".")[0] in _forbidden_in(package)
    ]
    assert not listed(wrong)


def _forbidden_in(package: str) -> set[str]:
    outside = {"tests", "benchmarks"}
    if package == "migrations":
        return outside
    return outside | set(DIRECTION[: DIRECTION.index(package)])


def _imports(path: Path) -> list[tuple[ast.AST, str]]:
    found: list[tuple[ast.AST, str]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node, node.module))
    return found


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_the_newest_migration_is_the_one_whose_file_name_says_so() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == HEAD
    assert all(Path(script.path).name.startswith(script.revision + "_") for script in scripts.walk_revisions())

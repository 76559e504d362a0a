"""The source tree as the tidy tests see it: which files there are, and each of them parsed once."""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "policy", "providers", "metering")
SOURCES = (*PACKAGES, "migrations", "tests", "benchmarks")


def python_files(*folders: str) -> list[Path]:
    return [path for path in files(*folders) if path.suffix == ".py"]


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and not _is_generated(path))


def tree(path: Path) -> ast.Module:
    return _parse(path, path.stat().st_mtime_ns)


def place(path: Path, node: ast.AST | None = None) -> str:
    """`gateway/app.py` or `gateway/app.py:12`, as an editor opens it."""
    name = path.relative_to(ROOT).as_posix()
    return f"{name}:{getattr(node, 'lineno', 1)}" if node else name


def imported_names(module: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every imported name in full: `import os` gives `os`, `from os import environ` gives `os.environ`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module or ''}.{name.name}") for name in node.names)


def dotted(node: ast.AST) -> str:
    """`os.environ` for the expression `os.environ`; empty for anything that is not a plain dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def docstrings(module: ast.Module) -> set[ast.AST]:
    return {node.value for node in ast.walk(module) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}


def listed(offences: Iterable[str]) -> str:
    """The offences one per line; empty, and so false, when there are none."""
    return "".join(f"\n  {offence}" for offence in offences)


@functools.cache
def _parse(path: Path, _changed: int) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _is_generated(path: Path) -> bool:
    return any(part in {"__pycache__", "node_modules"} or part.startswith(".") for part in path.relative_to(ROOT).parts)

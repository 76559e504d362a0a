"""Small wrong changes to a source file, one at a time: comparisons, boundaries, arithmetic, conditions, left-out statements, SQL.

Neither mutmut nor Cosmic Ray changes SQL inside a string, and half of this ledger is SQL; hence our own.
"""

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """`source` is the whole file with one change, which is at `line` of the original."""

    file: str
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.change}"

    def written(self, root: Path) -> str:
        """The line as it stands in the original."""
        return (root / self.file).read_text().splitlines()[self.line - 1].strip()


COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
DECLARATIVE = ("frozen", "kw_only", "strict")
"""`frozen=False` or `zip(strict=False)` allows what nobody does."""
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|ON CONFLICT)\b|>= 0")
IN_SQL: tuple[tuple[str, str], ...] = (
    (r" AND state = 0", ""),
    (r" AND fenced = 1", ""),
    (r" WHERE NOT EXISTS \(.*?\)$", " WHERE true"),
    (r"MIN\((.+?), (.+?)\)", r"\1"),
    (r"MIN\((.+?), (.+?)\)", r"\2"),
    (r"(?<=[a-z]) \+ (?=[:?a-z])", " - "),
    (r"(?<=[a-z]) - (?=[:?a-z])", " + "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" >= 0", " >= -1"),
    (r"'charge'", "'other'"),
    (r"\bid = \?", "id <> ?"),
    (r" AND ", " OR "),
)


def mutants(file: str, source: str) -> Iterator[Mutant]:
    tree = ast.parse(source)
    spared = _spared(tree)
    for node in ast.walk(tree):
        if node in spared:
            continue
        for change, replacement in _changes(node):
            line = getattr(node, "lineno", 1)
            yield Mutant(file, line, change, ast.unparse(_replaced(tree, node, replacement)))


def _spared(tree: ast.Module) -> set[ast.AST]:
    """Docstrings, annotations, log lines and DECLARATIVE keywords: no behaviour depends on them."""
    spared: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            spared |= {node, node.value}
        if isinstance(node, ast.keyword) and node.arg in DECLARATIVE:
            spared |= set(ast.walk(node.value))
        annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
        logged = isinstance(node, ast.Expr) and ast.unparse(node).startswith("_log.")
        for part in [*annotations, node if logged else None]:
            spared |= set(ast.walk(part)) if part is not None else set()
    return spared


def _replaced(tree: ast.Module, node: ast.AST, replacement: ast.AST) -> ast.Module:
    """A copy of the tree in which one node is another."""
    return ast.fix_missing_locations(copy.deepcopy(tree, {id(node): replacement}))


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield _told(node, ast.BoolOp(other, node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield _told(node, node.operand)
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC and not _texts(node):
        changed = copy.copy(node)
        changed.op = ARITHMETIC[type(node.op)]()
        yield _told(node, changed)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield f"not ({ast.unparse(node.test)})", _with_test(node, ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    if isinstance(node, ast.stmt):
        yield from _statements(node)


def _told(node: ast.AST, changed: ast.AST) -> tuple[str, ast.AST]:
    return f"{_short(node)}  ->  {_short(changed)}", changed


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 90 else f"{text[:60]} ... {text[-26:]}"


def _with_test(node: ast.AST, test: ast.expr) -> ast.AST:
    changed = copy.copy(node)
    changed.test = test  # type: ignore[attr-defined]
    return changed


def _comparisons(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    for place, operator in enumerate(node.ops):
        for other in COMPARISONS.get(type(operator), ()):
            ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield _told(node, ast.Compare(node.left, ops, node.comparators))


def _texts(node: ast.BinOp | ast.AugAssign) -> bool:
    """Adding texts or uniting types is not arithmetic."""
    parts = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(isinstance(part, ast.JoinedStr | ast.Constant) and not isinstance(getattr(part, "value", None), int) for part in parts)


def _constants(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield _told(node, ast.Constant(not value))
    elif isinstance(value, int):
        yield _told(node, ast.Constant(value + 1))
        if value > 1:
            yield _told(node, ast.Constant(value - 1))
    elif isinstance(value, str) and SQL.search(value):
        for pattern, replacement in IN_SQL:
            for found in re.finditer(pattern, value, re.MULTILINE):
                changed = value[: found.start()] + found.expand(replacement) + value[found.end() :]
                yield f"SQL {found[0].strip()!r} -> {found.expand(replacement).strip()!r} in {_short(node)}", ast.Constant(changed)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield _told(node, ast.Call(ast.Name(CALLS[node.func.id]), node.args, node.keywords))


def _statements(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield f"{_short(node)}  ->  return None", ast.Return(ast.Constant(None))
    stored = isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple)
    if isinstance(node, ast.Raise | ast.Continue | ast.Break | ast.AugAssign | ast.Expr) or stored:
        yield f"without: {_short(node)}", ast.Pass()

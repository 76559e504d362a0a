"""What the code may not say: each ban is a function from a parsed file to the nodes that break it."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import docstrings, dotted, imported_names

PROCESS_MODULES = {"subprocess", "pickle", "marshal", "shelve", "dill", "cloudpickle"}
PROCESS_CALLS = {"eval", "exec", "os.system", "os.popen", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
BROAD = {"", "Exception", "BaseException"}

SQL = re.compile(
    r"""\s*(
        select\s[\s\S]*\bfrom\s
      | insert\s+(or\s+\w+\s+)?into\s
      | update\s+["\w.]+\s+set\s
      | delete\s+from\s
      | (create|alter|drop)\s+(unique\s+)?(table|index|view|database|schema|trigger)\s
      | with\s+(recursive\s+)?\w+(\s*\([^)]*\))?\s+as\s*((not\s+)?materialized\s*)?\(
      | pragma\s+\w+
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def floats(module: ast.Module) -> Iterator[ast.AST]:
    """Float literals, calls of float, and true division, which makes floats of integers; `folder / "name"` is a path and passes.

    So does a constant whose name ends in `_SECONDS`: the event loop's clock counts in floats, and it is not money.
    """
    waits = {inner for node in module.body if _is_wait(node) for inner in ast.walk(node)}
    yield from (node for node in ast.walk(module) if node not in waits and (_is_float(node) or _divides(node)))


def _is_wait(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id.endswith("_SECONDS") for target in targets)


def environment(module: ast.Module) -> Iterator[ast.AST]:
    """Every look at the process environment."""
    yield from (node for node in ast.walk(module) if dotted(node) in ENVIRONMENT)
    yield from (node for node, name in imported_names(module) if name in ENVIRONMENT)


def sql(module: ast.Module) -> Iterator[ast.AST]:
    """Strings that read as an SQL statement, and the ways to send one as text."""
    prose = docstrings(module)
    yield from (node for node in ast.walk(module) if node not in prose and _is_statement(node))
    yield from (node for node in ast.walk(module) if isinstance(node, ast.Attribute) and node.attr == "exec_driver_sql")
    yield from (node for node, name in imported_names(module) if name in {"sqlalchemy.text", "sqlmodel.text", "sqlalchemy.sql.text"})


def dynamic_code(module: ast.Module) -> Iterator[ast.AST]:
    """Code or objects from data, and other programs."""
    yield from (node for node, name in imported_names(module) if name.split(".")[0] in PROCESS_MODULES)
    yield from (node for node in ast.walk(module) if isinstance(node, ast.Call) and dotted(node.func) in PROCESS_CALLS)


def broad_handlers(module: ast.Module) -> Iterator[ast.ExceptHandler]:
    """Handlers that swallow whatever comes; one that ends in a bare `raise` only cleans up and passes."""
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
            yield node


def _is_float(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return dotted(node.func) == "float"
    return isinstance(node, ast.Constant) and isinstance(node.value, float | complex)


def _divides(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp | ast.AugAssign) or not isinstance(node.op, ast.Div):
        return False
    right = node.right if isinstance(node, ast.BinOp) else node.value
    joins_paths = isinstance(right, ast.JoinedStr) or (isinstance(right, ast.Constant) and isinstance(right.value, str))
    return not joins_paths


def _is_statement(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or not node.value.strip():
        return False
    # "Select a model from the list" is a sentence; SQL begins in one case.
    first = node.value.split(maxsplit=1)[0]
    return (first.isupper() or first.islower()) and SQL.match(node.value) is not None


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(each) for each in caught.elts)
    return (dotted(caught) if caught else "") in BROAD


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None

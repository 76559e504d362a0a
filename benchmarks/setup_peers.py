"""Install the peers that Tollway is measured against into `.bench/`, each in its own environment.

Versions are pinned so that a table can be reproduced. A peer that cannot be installed leaves its reason in
`.bench/<peer>.missing`, which the table prints: a peer is never left out silently.
"""

import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".bench"
PYTHON_PEERS = {"tensorzero": "tensorzero==2026.6.0", "litellm": "litellm[proxy]==1.106.0"}
PORTKEY = "@portkey-ai/gateway@1.15.2"
LIMIT_S = 900


def python_of(peer: str) -> Path:
    return CACHE / peer / "bin" / "python"


def portkey_server() -> Path:
    return CACHE / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def missing(peer: str) -> str | None:
    """Why this peer cannot be started, or None if it can."""
    note = CACHE / f"{peer}.missing"
    if note.exists():
        return note.read_text().strip()
    done = CACHE / f"{peer}.installed"
    return None if done.exists() else "run `python -m benchmarks.setup_peers`"


def install_all() -> None:
    CACHE.mkdir(exist_ok=True)
    for peer, package in PYTHON_PEERS.items():
        attempt(
            peer,
            package,
            [[sys.executable, "-m", "venv", str(CACHE / peer)], [str(python_of(peer)), "-m", "pip", "install", "-q", package]],
        )
    # The package's postinstall only patches a file that the server does not need, so no script of it is run.
    npm = shutil.which("npm") or "npm"
    attempt(
        "portkey", PORTKEY, [[npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(CACHE / "portkey"), PORTKEY]]
    )


def attempt(peer: str, package: str, commands: list[list[str]]) -> None:
    done, note = CACHE / f"{peer}.installed", CACHE / f"{peer}.missing"
    if done.exists() and done.read_text() == package:
        print(f"{package}: already installed")
        return
    done.unlink(missing_ok=True)
    note.unlink(missing_ok=True)
    print(f"{package}: installing", flush=True)
    for command in commands:
        reason = run(command)
        if reason:
            note.write_text(reason)
            print(f"{package}: not installed: {reason}")
            return
    done.write_text(package)


def run(command: list[str]) -> str | None:
    """The last line of what went wrong, or None."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if result.returncode == 0:
        return None
    lines = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"{command[0]} ended with {result.returncode}"


if __name__ == "__main__":
    install_all()

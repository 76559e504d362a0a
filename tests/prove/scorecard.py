"""`docs/scorecard.md`: each proof writes its own section, with the machine, the day, the command and the figures it saw."""

import argparse
import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs" / "scorecard.md"
HEAD = """# Scorecard

What the long proofs found, each section written by its own program when it was last run with `--scorecard`. `make prove` runs them all;
what each method is and what it cannot show stands at the top of its file in `tests/prove/`.
"""
SECTIONS = ("Crashes", "Crashes on one node", "Crash points", "State machine", "Crowd", "Availability", "Canary", "Fuzz", "Mutations")
"""In this order, whichever was written last."""


def option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scorecard", action="store_true", help="write the figures to docs/scorecard.md")


def write(section: str, figures: Mapping[str, str], *, seed: int | None = None, notes: str = "", file: Path = FILE) -> None:
    """Replaces one section. `figures` by what they count; `notes` is Markdown below the table."""
    assert section in SECTIONS
    facts = {"Day": f"{datetime.now(UTC):%Y-%m-%d}", "Machine": machine(), "Command": f"`{_command()}`"}
    if seed is not None:
        facts["Seed"] = str(seed)
    rows = "".join(f"| {_cell(name)} | {_cell(value)} |\n" for name, value in {**facts, **figures}.items())
    text = f"## {section}\n\n| | |\n|---|---|\n{rows}" + (f"\n{notes.strip()}\n" if notes else "")
    sections = _sections(file.read_text() if file.exists() else "")
    sections[section] = text
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join([HEAD, *(sections[name] for name in SECTIONS if name in sections)]))


def machine() -> str:
    """What the figures depend on, and nothing that says whose machine it is."""
    cpu = platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)):
        cpu = found[1].strip()
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{cpu}, {os.cpu_count()} cores, {round(memory / 2**30)} GiB, {platform.system()}, Python {python}"


def seconds(elapsed: float) -> str:
    minutes, rest = divmod(round(elapsed), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _command() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return " ".join(["python -m", spec.name if spec else Path(sys.argv[0]).name, *sys.argv[1:]])


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

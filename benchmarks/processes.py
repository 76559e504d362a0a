"""What a gateway costs the machine, from /proc: CPU seconds and resident memory over all of its processes."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PARENT, SESSION, UTIME, STIME, RESIDENT = 1, 3, 11, 12, 21  # of /proc/<pid>/stat, counted after the name


def in_session(leader: int) -> list[int]:
    """Every process of the session: a worker whose parent has died still counts."""
    return [pid for pid in all_pids() if (fields := stat(pid)) and int(fields[SESSION]) == leader]


def with_children(parent: int) -> list[int]:
    return [parent, *(pid for pid in all_pids() if (fields := stat(pid)) and int(fields[PARENT]) == parent)]


def cpu_seconds(pids: Iterable[int]) -> float:
    found = (stat(pid) for pid in pids)
    return sum(int(fields[UTIME]) + int(fields[STIME]) for fields in found if fields) / TICKS


def resident_mb(pids: Iterable[int]) -> float:
    found = (stat(pid) for pid in pids)
    return sum(int(fields[RESIDENT]) for fields in found if fields) * PAGE / 1e6


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""

"""The lock files: pinned, hashed, free of addresses, and one inside the other."""

import json
import re
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, listed, place

LOCKS = ("setup", "prod", "dev", "clients")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_address_and_no_option(lock: str) -> None:
    lines = _lock(lock).splitlines()
    assert not listed(line for line in lines if "://" in line or line.startswith("-"))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    assert not listed(name for name, (_, hashes) in _pins(lock).items() if not hashes)


@pytest.mark.parametrize("lock", ["setup", "prod"])
def test_the_smaller_locks_are_inside_the_development_lock(lock: str) -> None:
    everything = _pins("dev")
    assert not listed(f"{name} {pin[0]}" for name, pin in _pins(lock).items() if everything.get(name) != pin)


def test_node_lock_files_name_no_registry() -> None:
    """`npm install --omit-lockfile-registry-resolved` writes them so; the integrity hashes stay."""
    locks = [path for path in ROOT.glob("[!.]*/**/package-lock.json") if "node_modules" not in path.parts]
    assert not listed(f"{place(path)} {name}" for path in locks for name in _resolved(path))


def _resolved(path: Path) -> list[str]:
    packages = json.loads(path.read_text())["packages"]
    return [name for name, package in packages.items() if "resolved" in package]


def _pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Name to version and hashes; one package may be pinned twice under different markers."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", _lock(lock)):
        if pin := PIN.match(block):
            version, hashes = found.get(pin["name"], ("", frozenset()))
            found[pin["name"]] = (f"{version} {pin['version']}".strip(), hashes | frozenset(HASH.findall(block)))
    assert found
    return found


def _lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()

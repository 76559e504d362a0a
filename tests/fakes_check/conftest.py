"""Gives every check of the fake provider one running fake, emptied before each test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fakes.process import Fake, fake_provider


@pytest.fixture(scope="session")
def running_fake() -> Iterator[Fake]:
    with fake_provider() as fake:
        yield fake


@pytest.fixture
def fake(running_fake: Fake) -> Iterator[Fake]:
    running_fake.reset()
    yield running_fake
    assert running_fake.health() == {"ok": True, "internal_errors": []}

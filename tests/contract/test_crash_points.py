"""A request that is ended at any point at which it waits leaves right books behind; `make prove-points` does all of them.

In a process of its own: it forks a gateway for every point, which a process with threads must not do. `tests/gateway/test_generation.py`
has the interruptions that a client, a clock or a shutdown cause; here the process itself is gone, or an error comes that nobody foresaw.
"""

import subprocess
import sys

import pytest

from tests.tidy.tree import ROOT

EVERY = {"streamed": 1, "whole": 2, "slow": 18, "whole from the second endpoint": 4, "client leaves": 8, "extended": 300}


@pytest.mark.parametrize("name", EVERY)
def test_a_process_that_ends_at_any_await_leaves_nothing_held_and_nothing_wrong(name: str) -> None:
    command = [sys.executable, "-m", "tests.prove.points", "--scenario", name, "--every", str(EVERY[name])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

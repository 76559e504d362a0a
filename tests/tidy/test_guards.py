"""The mutation proof and the canary take guards away by name; here it is seen at once when one has moved."""

import ast

import pytest

from tests.prove.guards import GUARDS, Guard
from tests.prove.redactions import REDACTIONS
from tests.tidy.tree import ROOT


@pytest.mark.parametrize("guard", [*GUARDS, *REDACTIONS], ids=lambda guard: guard.name)
def test_a_guard_stands_where_the_mutation_proof_takes_it_away(guard: Guard) -> None:
    ast.parse(guard.applied(ROOT))
    assert all((ROOT / test).exists() for test in guard.tests)

"""All states of a small world: with the rules none breaks a promise, and without any one of them some state does."""

from __future__ import annotations

import os

import pytest

from runstate.core.reader import Mode
from runstate.testing.explorer import Broken, explore
from runstate.testing.mutants import MUTANTS
from runstate.testing.small_world import Rules

#: RUNSTATE_LONG=1: two troubles over three commits, some 100 000 states for each kind of reader.
WORLDS = [(2, 3), (1, 4)] if os.environ.get("RUNSTATE_LONG") else [(2, 2), (1, 4)]


@pytest.mark.parametrize("mode", ["latest", "every"])
@pytest.mark.parametrize(("troubles", "steps"), WORLDS)
def test_no_order_of_events_breaks_a_promise(mode: Mode, troubles: int, steps: int) -> None:
    """Crashes, copies, cuts, lies and compaction in every interleaving: the view is right, or on its way."""
    rules = Rules()
    rules.mode, rules.troubles, rules.steps = mode, troubles, steps

    explored = explore(rules)

    assert explored.states > 5_000
    assert explored.calm > 0


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_without_a_rule_a_promise_breaks(mutant: type[Rules]) -> None:
    """Each rule is needed: the explorer finds the shortest way to a wrong view, and tells it move by move."""
    with pytest.raises(Broken) as caught:
        explore(mutant())

    print(f"{mutant.__doc__}\n{caught.value}")
    assert caught.value.promise.startswith(mutant.breaks + ":")
    assert len(caught.value.trace) >= 4

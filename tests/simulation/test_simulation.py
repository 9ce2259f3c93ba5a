"""Worlds drawn from a number: whatever happens to servers, journals and networks, no client is ever wrong, only behind.

`RUNSTATE_SEEDS=5000` runs so many worlds; `--seed 4711` repeats one.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstate.testing.simulation import Failure, simulate

BUDGET_S = 10.0  # of processor time, where nobody says how many worlds
FIRST = 40  # worlds that are always run, so that what they exercise can be counted on

#: What a simulation that means something has done; each must have happened.
EXERCISED = (
    "cut", "ghost", "stall", "slow", "lie", "garble one", "resume", "resync", "fault", "patch", "conflation",
    "snapshot initial", "snapshot subscribe", "snapshot epoch", "snapshot compacted", "bye drain",
    "crash", "restart", "restore", "outage", "compact", "read", "retry run", "stop run",
    "link live", "link quiet", "link stale", "link source-stale", "link resyncing", "link integrity",
)  # fmt: skip


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Servers that crash by the hundred have much to say."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(0)
def test_no_world_breaks_a_promise(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Every event of every world is judged; in the end all views are the head."""
    only, many = request.config.getoption("--seed"), os.environ.get("RUNSTATE_SEEDS")
    if only is not None:
        _live(only, tmp_path, request)
        return
    done: Counter[str] = Counter()
    began_s, seed = time.process_time(), 0
    while seed < int(many) if many else seed < FIRST or time.process_time() - began_s < BUDGET_S:
        done += _live(seed, tmp_path, request)
        seed += 1

    print(f"{seed} worlds: " + ", ".join(f"{count} {name}" for name, count in sorted(done.items())))
    assert [name for name in EXERCISED if not done[name]] == [], "the simulation does not do what it is there for"


def test_a_seed_is_one_world(tmp_path: Path) -> None:
    """The same number gives the same story, or no failure could be repeated."""
    assert simulate(3, tmp_path / "one") == simulate(3, tmp_path / "two")


def _live(seed: int, directory: Path, request: pytest.FixtureRequest) -> Counter[str]:
    try:
        return simulate(seed, directory / str(seed))
    except Failure as failure:
        line = f'.venv/bin/python -m pytest "{request.node.nodeid}" --seed {seed}'
        pytest.fail(f"{failure}\nrepeat it:\n{line}", pytrace=False)

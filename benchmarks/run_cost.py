"""What runstate itself costs: a run of three async stages that do nothing, and a child-process stage that does nothing.

    .venv/bin/python benchmarks/run_cost.py [RUNS]

Prints the median and the 95th percentile per run in milliseconds, whole and beyond the time that the journal's thread
spent in its writes (append + fsync). The promises: under 15 ms beyond fsync for three async stages (DBOS, the best peer
that was measured, takes 14 ms), under 60 ms beyond fsync for a child-process stage. Exits 1 where one is not kept.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runstate import Pipeline
from runstate.core.commit import Commit, Note
from runstate.engine import Engine, open_engine
from runstate.journal.sqlite import SqliteJournal
from runstate.ports import Clock, Journal, Opened

RUNS = 200
WARM_UP = 5
PROMISED_MS = {"three_async": 15.0, "one_child": 60.0}

three_async = Pipeline("three_async")


@three_async.stage
async def first(ctx: Any) -> None:
    """Do nothing."""


@three_async.stage
async def second(ctx: Any) -> None:
    """Do nothing."""


@three_async.stage
async def third(ctx: Any) -> None:
    """Do nothing."""


one_child = Pipeline("one_child")


@one_child.stage
def alone(ctx: Any) -> None:
    """Do nothing, in a process of its own."""


class Timed:
    """A journal that adds up what its writes take."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.writes, self.took_s = 0, 0.0

    def append(self, commits: Sequence[Commit], notes: Sequence[Note] = ()) -> None:
        """Append, and take the time."""
        began = time.perf_counter()
        self._journal.append(commits, notes)
        self.took_s += time.perf_counter() - began
        self.writes += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


async def measure(engine: Engine, journal: Timed, pipeline: str, runs: int) -> tuple[list[float], list[float], float]:
    """Return milliseconds per run, whole and beyond the journal, and writes per run."""
    whole: list[float] = []
    beyond: list[float] = []
    writes = 0
    for number in range(WARM_UP + runs):
        before_s, before = journal.took_s, journal.writes
        began = time.perf_counter()
        document = await engine.orchestrator.start(pipeline)
        over = await engine.orchestrator.finished(document.key.id)
        took_s = time.perf_counter() - began
        assert over.run.state == "success", over.run.error
        if number >= WARM_UP:
            whole.append(took_s * 1000)
            beyond.append((took_s - (journal.took_s - before_s)) * 1000)
            writes += journal.writes - before
    return whole, beyond, writes / runs


async def main(runs: int) -> bool:
    """Measure both and print them; return whether the promises are kept."""
    timed: list[Timed] = []

    def open_journal(data: Path, /, *, clock: Clock) -> tuple[Journal, Opened]:
        journal, opened = SqliteJournal.open(data, clock=clock)
        timed.append(Timed(journal))
        return timed[0], opened

    kept = True
    with tempfile.TemporaryDirectory() as folder:
        async with open_engine([three_async, one_child], Path(folder), open_journal=open_journal) as engine:
            for pipeline, promised_ms in PROMISED_MS.items():
                whole, beyond, writes = await measure(engine, timed[0], pipeline, runs)
                middle = statistics.median(beyond)
                print(
                    f"{pipeline:12} {runs} runs: {statistics.median(whole):6.1f} ms whole, {middle:6.1f} ms beyond fsync "
                    f"(p95 {statistics.quantiles(beyond, n=20)[-1]:.1f}), {writes:.1f} writes, promised {promised_ms:.0f} ms"
                )
                kept &= middle < promised_ms
    return kept


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)) else 1)

"""A whole runstate in memory, on virtual time: what the tests of this folder stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstate import Pipeline
from runstate.core.commit import Key
from runstate.journal.memory import MemoryJournal
from runstate.pipeline.drive import Runners
from runstate.pipeline.orchestrator import Orchestrator
from runstate.pipeline.runlog import RunLogs
from runstate.ports import Clock
from runstate.state.bus import EventBus
from runstate.state.manager import PipelineStateManager
from runstate.testing.inline_writer import InlineWriter
from runstate.testing.virtual_time import virtual_loop

EPOCH = "1790000000-00000000"


@dataclass(frozen=True, slots=True)
class World:
    """What a test holds."""

    manager: PipelineStateManager
    orchestrator: Orchestrator
    journal: MemoryJournal

    def history(self, run_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return every version of a run: its state and the whole document."""
        page = self.journal.history(Key("run", run_id), after=0, limit=10_000)
        assert page is not None
        found = []
        for entry in page.entries:
            document = self.journal.version(Key("run", run_id), entry.version)
            assert document is not None
            found.append((entry.new_state, document.run.to_dict()))
        return found

    def states(self, run_id: str) -> list[str]:
        """Return the states that a run went through, without repeats."""
        states = [state for state, _ in self.history(run_id)]
        return [state for at, state in enumerate(states) if at == 0 or states[at - 1] != state]


@asynccontextmanager
async def open_world(
    tmp_path: Path,
    pipelines: list[Pipeline],
    runners: Runners,
    journal: MemoryJournal | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[World]:
    """Run an orchestrator over a journal in memory for as long as the block lasts."""
    clock = clock or virtual_loop()
    journal = journal or MemoryJournal(epoch=EPOCH)
    manager = PipelineStateManager(
        journal, journal.reopen(), clock=clock, bus=EventBus(clock), make_writer=InlineWriter
    )
    logs = RunLogs(tmp_path / "logs", clock=clock)
    try:
        async with manager.running():
            orchestrator = Orchestrator(
                manager, pipelines, runners=runners, clock=clock, directory=tmp_path / "work", logs=logs
            )
            async with orchestrator.running():
                yield World(manager, orchestrator, journal)
    finally:
        logs.close()


async def _nothing(ctx: object) -> None:
    """What a scripted runner never calls."""


def make_pipeline(name: str = "demo", stages: dict[str, dict[str, Any]] | None = None, **whole: Any) -> Pipeline:
    """Return a pipeline whose stages a scripted runner executes; the values are the options of `stage`, `whole` the pipeline's."""
    pipeline = Pipeline(name, progress_interval_s=0, **whole)
    for stage, options in (stages or {"translator": {}, "analyzer": {}, "merger": {}}).items():
        pipeline.stage(name=stage, **options)(_nothing)
    return pipeline

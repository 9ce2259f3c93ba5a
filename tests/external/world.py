"""External runs over a journal in memory, on virtual time; the journal outlives its servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runstate import Pipeline
from runstate.core.commit import Document, Key
from runstate.core.reports import read_facts
from runstate.journal.memory import MemoryJournal
from runstate.pipeline.external import ExternalRuns
from runstate.pipeline.orchestrator import Orchestrator
from runstate.pipeline.runlog import RunLogs
from runstate.state.bus import EventBus
from runstate.state.manager import PipelineStateManager
from runstate.testing.inline_writer import InlineWriter
from runstate.testing.scripted_runner import ScriptedRunner
from runstate.testing.virtual_time import virtual_loop
from tests.pipeline.world import EPOCH, make_pipeline


@dataclass(frozen=True, slots=True)
class World:
    """One server's life."""

    manager: PipelineStateManager
    orchestrator: Orchestrator
    external: ExternalRuns
    journal: MemoryJournal
    logs: RunLogs

    async def opened(self, pipeline: str = "predict", stages: tuple[str, ...] = ("load", "infer"), **more: object):
        """Open a run; return its id and its token."""
        document = await self.external.open(pipeline, stages=stages, **more)
        token = self.external.token(document.key.id)
        assert token is not None
        return document.key.id, token

    async def tell(self, run: tuple[str, str], seq: int, *facts: dict) -> Document:
        """Report as who opened the run."""
        return await self.external.report(*run, seq, read_facts(list(facts)))

    def causes(self, run_id: str) -> list[str]:
        page = self.journal.history(Key("run", run_id), after=0, limit=1000)
        assert page is not None
        return [entry.cause.decode() for entry in page.entries]


def new_journal() -> MemoryJournal:
    return MemoryJournal(epoch=EPOCH)


@asynccontextmanager
async def served(tmp_path: Path, journal: MemoryJournal, pipeline: Pipeline | None = None) -> AsyncIterator[World]:
    """Serve one pipeline of our own, `demo`, and everybody else's."""
    clock = virtual_loop()
    manager = PipelineStateManager(
        journal, journal.reopen(), clock=clock, bus=EventBus(clock), make_writer=InlineWriter
    )
    logs = RunLogs(tmp_path / "logs", clock=clock)
    try:
        async with manager.running():
            orchestrator = Orchestrator(
                manager,
                [pipeline or make_pipeline()],
                runners=ScriptedRunner(),
                clock=clock,
                directory=tmp_path / "work",
                logs=logs,
            )
            external = ExternalRuns(manager, settings=orchestrator.settings, clock=clock, logs=logs)
            async with orchestrator.running(), external.running():
                yield World(manager, orchestrator, external, journal, logs)
    finally:
        logs.close()

"""One run in this process: the engine without a server, shown while it goes on, stopped by Ctrl-C.

The first SIGINT or SIGTERM asks the run to stop and waits until nothing of it is alive; the second leaves at once, and
the next engine on the same directory recovers the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from logging import WARNING
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from runstate.cli.console import logging_to
from runstate.cli.failures import INTERRUPTED, Failure
from runstate.cli.follow import View, view
from runstate.cli.stage_log import StageLog
from runstate.core.canonical import Json
from runstate.core.commit import Document
from runstate.core.errors import StoreInUse, TransitionRejected
from runstate.core.machine import is_over
from runstate.engine import Engine, SystemClock, open_engine
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.orchestrator import user_name
from runstate.pipeline.runlog import Line
from runstate.state.retention import Keep

ResultT = TypeVar("ResultT")


class HeldElsewhere(Failure):
    """The data directory belongs to a living process; the text says how to run there."""

    code = "in_use"


def in_loop(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run `main` in the loop that servers have, so that a stage behaves here as it does there."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run_here(
    pipeline: Pipeline,
    data: Path,
    metadata: Mapping[str, Json],
    stages: Sequence[str] | None,
    *,
    override: bool = False,
    keep: Keep | None = None,
) -> Document:
    """Run `pipeline` once, shown on stderr, and return the last document of the run.

    Args:
        keep: What history and logs keep; None: everything.

    Raises:
        HeldElsewhere: Another process has the directory.
        StoreError: The directory cannot be used.
        InvalidValue: `metadata` or `stages` is not as the engine wants it.
        Blocked: The run policy lets no run start.
    """
    with (
        contextlib.redirect_stdout(sys.stderr),
        view(SystemClock().now_ms) as shown,
        logging_to(shown.note, least=WARNING),
    ):
        try:
            return in_loop(_run(pipeline, data, metadata, stages, shown, override=override, keep=keep))
        except StoreInUse as refusal:
            if refusal.url is None:
                raise
            raise HeldElsewhere(
                f"data directory {refusal.directory} is in use by process {refusal.pid}, which serves {refusal.url}; "
                f"start the run there: runstate start {pipeline.name} --url {refusal.url}"
            ) from refusal


async def _run(
    pipeline: Pipeline,
    data: Path,
    metadata: Mapping[str, Json],
    stages: Sequence[str] | None,
    shown: View,
    *,
    override: bool,
    keep: Keep | None,
) -> Document:
    log = StageLog()

    def on_line(line: Line) -> None:
        words = log.words(line)
        if words is not None:
            shown.note(words)

    async with open_engine(
        [pipeline], data, on_line=on_line, fail_unserved=False, schedules=False, keep=keep
    ) as engine:
        asked = asyncio.Event()
        _on_signals(asked, shown)
        for left in engine.manager.head.active_runs():
            if left.run.pipeline == pipeline.name:
                shown.note(f"run {left.key.id} was interrupted; it goes on, and the new run begins after it")
                over = await _see_through(engine, left.key.id, asked, shown)
                if asked.is_set():
                    return over
        begun = await engine.orchestrator.start(
            pipeline.name, metadata=metadata, stages=stages, override=override, by=user_name()
        )
        return await _see_through(engine, begun.key.id, asked, shown)


async def _see_through(engine: Engine, run_id: str, asked: asyncio.Event, shown: View) -> Document:
    """Show a run until it is over; stop it once `asked`."""
    async with asyncio.TaskGroup() as group:
        stopper = group.create_task(_stop(engine, run_id, asked))
        seen = 0
        while True:
            document = await _later(engine, run_id, seen)
            seen = document.version
            shown.show([document.run.to_dict()])
            if is_over(document.run.state):
                stopper.cancel()
                return document


async def _later(engine: Engine, run_id: str, seen: int) -> Document:
    """Wait until a run has a version after `seen`; return the latest."""

    def is_news() -> bool:
        document = engine.manager.head.run(run_id)
        return document is None or document.version > seen

    await engine.manager.until(is_news)
    return await engine.manager.find_run(run_id)


async def _stop(engine: Engine, run_id: str, asked: asyncio.Event) -> None:
    await asked.wait()
    with contextlib.suppress(TransitionRejected):  # it is over already
        await engine.orchestrator.stop(run_id, by=user_name(), reason="interrupted in the terminal")


def _on_signals(asked: asyncio.Event, shown: View) -> None:
    def on_signal() -> None:
        if asked.is_set():
            shown.close()
            os._exit(INTERRUPTED)
        asked.set()
        shown.note("stopping the run; once more to leave at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)

"""A server's engine in a process of its own, with a run of three stages, that dies where it is told to.

    python -m tests.sweep.victim DIRECTORY [before|after NUMBER]

It goes on with the run that the directory holds, or starts one, and prints the last document. `before 7` is SIGKILL in
place of the seventh write to the journal, `after 7` between that write and everybody hearing of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from runstate import Pipeline
from runstate.engine import open_engine
from runstate.journal.sqlite import SqliteJournal

three = Pipeline("three", progress_interval_s=0)


def tell(ctx, what):
    """Leave a trace of what was really done, whatever the journal says."""
    with (ctx.workdir / "done.txt").open("a") as done:
        done.write(f"{ctx.stage} {ctx.attempt} {what}\n")


@three.stage
async def translator(ctx):
    tell(ctx, "begin")
    ctx.progress(1, total=2)
    await asyncio.sleep(0)
    ctx.update_metadata({"seen": ctx.attempt})
    tell(ctx, "end")
    return {"rows": 3}


@three.stage
def analyzer(ctx):
    tell(ctx, "begin")
    ctx.progress(1, total=2)
    tell(ctx, "end")
    return {"rows": ctx.outputs("translator")["rows"]}


@three.stage
async def merger(ctx):
    tell(ctx, "begin")
    ctx.progress(2)
    tell(ctx, "end")
    return {"rows": ctx.outputs("analyzer")["rows"]}


class Dying:
    """A journal whose owner dies at one of its writes."""

    def __init__(self, journal: SqliteJournal, when: str, number: int) -> None:
        self._journal, self._when, self._left = journal, when, number

    def append(self, commits, notes=()):
        self._left -= 1
        if self._left == 0 and self._when == "before":
            die()
        self._journal.append(commits, notes)
        if self._left == 0:
            die()

    def __getattr__(self, name):
        return getattr(self._journal, name)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


async def live(directory: Path, when: str, number: int) -> None:
    def open_journal(data, *, clock):
        journal, opened = SqliteJournal.open(data, clock=clock)
        return Dying(journal, when, number), opened

    async with open_engine([three], directory, open_journal=open_journal) as engine:
        print("open", flush=True)
        current = engine.manager.get_state()
        run_id = current.run_id or (await engine.orchestrator.start()).key.id
        over = await engine.orchestrator.finished(run_id)
        print(over.encoded.decode(), flush=True)


if __name__ == "__main__":
    where, *rest = sys.argv[1:]
    asyncio.run(live(Path(where), rest[0] if rest else "never", int(rest[1]) if rest else 0))

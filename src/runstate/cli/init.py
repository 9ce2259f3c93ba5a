"""`init`: a commented start that runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.console import say
from runstate.cli.failures import DONE, Failure, Usage

NAME = "pipelines.py"

Directory = Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; made if need be.", show_default="here")]


def init(directory: Directory = Path()) -> int:
    """Write a commented pipelines.py that runs as it is.

    Never overwrites a file. Try it with `runstate run pipelines.py`, then `runstate serve pipelines.py`.
    """
    path = directory / NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(START)
    except FileExistsError:
        where = path if path.exists() else directory
        raise Usage(f"{where} is there already and is left as it is; name another folder: runstate init DIR") from None
    except OSError as trouble:
        raise Failure(f"{path} cannot be written: {trouble.strerror}") from trouble
    say(f"wrote {path}; try it: runstate run {path}")
    return DONE


START = '''\
"""A pipeline to start from.

    runstate run pipelines.py                    run it once, here
    runstate serve pipelines.py                  serve it with the dashboard, then in another terminal:
    runstate start nightly --meta day=2024-03-01 --wait
    runstate watch

A stage takes one argument, the context, and returns a JSON object, its outputs, or nothing. Raising fails the attempt.
"""

import asyncio
import time

from runstate import Fatal, Pipeline, Skip, StageContext

nightly = Pipeline("nightly")


@nightly.stage  # the function's name is the stage's name; stages run in the order in which they stand here
async def fetch(ctx: StageContext):
    """An `async def` stage is a task in the server's loop: right for waiting, wrong for computing."""
    names = ["spring.csv", "summer.csv", "autumn.csv", "winter.csv"]
    for done, name in enumerate(names, start=1):
        await asyncio.sleep(0.2)
        ctx.progress(done, total=len(names), unit="files", message=name)  # cheap; call it as often as you like
    ctx.log(f"fetched {len(names)} files")
    return {"files": names}


@nightly.stage(retries=2, backoff_s=1.0, timeout_s=600)
def count(ctx: StageContext):
    """A plain function runs in a child process of its own: right for computing and for code that may crash."""
    files = ctx.outputs("fetch")["files"]  # what an earlier stage of this run returned
    for done in range(1, len(files) + 1):
        if ctx.stopping:  # somebody asked the run to stop; leaving early is polite, not necessary
            break
        time.sleep(0.2)
        ctx.progress(done, total=len(files), unit="files")
    if not files:
        raise Fatal("there are no files to count", code="no_input")  # fails without retries
    (ctx.workdir / "count.txt").write_text(f"{len(files)}\\n")  # every run has a folder of its own
    return {"rows": 100 * len(files)}


@nightly.stage
async def publish(ctx: StageContext):
    """What `--meta` or the dashboard gave the run is in `ctx.metadata`."""
    if ctx.metadata.get("dry") is True:  # runstate run pipelines.py --meta dry=true
        raise Skip("a dry run publishes nothing")
    ctx.update_metadata({"published": True})
'''

"""`init`: a commented start that runs as it is, in Python and in TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.console import say
from runstate.cli.failures import DONE, Failure, Usage

Directory = Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; made if need be.", show_default="here")]


def init(directory: Directory = Path()) -> int:
    """Write a commented pipelines.py and a runstate.toml that run as they are.

    Never overwrites a file. Try them with `runstate run pipelines.py`, then `runstate serve pipelines.py runstate.toml`.
    """
    files = {directory / "pipelines.py": PYTHON, directory / "runstate.toml": TOML}
    for path in files:
        if path.exists():
            raise _there(path)
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except FileExistsError:
        raise _there(next((path for path in files if path not in written and path.exists()), directory)) from None
    except OSError as trouble:
        raise Failure(f"{directory} cannot be written to: {trouble.strerror}") from trouble
    first, second = files
    say(f"wrote {first} and {second}; try them: runstate run {first}, runstate run {second}")
    return DONE


def _there(path: Path) -> Usage:
    return Usage(f"{path} is there already and is left as it is; name another folder: runstate init DIR")


PYTHON = '''\
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

TOML = '''\
# A pipeline without Python to start from.
#
#     runstate check runstate.toml      what this file says
#     runstate run runstate.toml        run it once, here
#     runstate serve runstate.toml      serve it with the dashboard; several files may be served together

[pipeline.weekly]
progress_interval_s = 0.1          # seconds between two versions for one stage's progress
timeout_s = 7200                   # a run that takes longer fails with "timeout"
run_policy = "always"              # or "gated": unhealthy pipelines ask a person first
# Minute, hour, day of month, month, day of week. missed: "skip" or "run_once"; overlap: "skip" or "queue".
schedule = { cron = "0 7 * * 1", tz = "America/Chicago", missed = "skip", overlap = "skip", enabled = false }

# Stages run in the order in which they stand here. A command is given to /bin/sh in this file's folder.
[[pipeline.weekly.stage]]
name = "collect"
# {workdir} is the run's own folder; {run_id} and {attempt} are the others. A brace for the shell is written twice.
# A line that begins with ::progress DONE/TOTAL UNIT MESSAGE, or with ::outputs and a JSON object, is a fact; every other
# line is a line of the log.
command = """
for n in 1 2 3; do
    echo "::progress $n/3 files part-$n.csv"
    echo "$n" > {workdir}/part-$n.csv
done
echo '::outputs {{"files": 3}}'
"""
retries = 2                        # further attempts after a failed one
retry_on = ["exit_status", "timeout", "killed"]
backoff_s = 1                      # before the first retry; doubles with each
backoff_max_s = 60
timeout_s = 600                    # of one attempt
grace_s = 10                       # between asking to stop and killing
lease_s = 30                       # of standing still (stopped by a signal), then it is killed as lost
on_interrupt = "resume"            # or "fail": what happens when the server went away under it
env = { LANG = "C.UTF-8" }

[[pipeline.weekly.stage]]
name = "count"
command = "cat {workdir}/part-*.csv | wc -l"

[store]                            # what history keeps; leave it out to keep everything
keep_days = 30                     # older versions go
keep_versions = 10000              # of each run the latest so many stay

# [[webhook]]                      # who is told
# url = "https://ops.example/hook"
# on = ["failed", "stopped", "blocked", "refused", "success"]
# secret_env = "HOOK_SECRET"       # the environment variable that holds the secret
'''

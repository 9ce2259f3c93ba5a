"""Runs the pipeline, killed by SIGKILL at its n-th write, for every n; then once more in peace. Prints what came of it.

    python -m tests.market.killed PROJECT

PROJECT was run before its last raw file came. Each trial works on a copy; a write is the opening of a file for writing or
the move of a file to its place, seen by Python's audit events, so nothing of ours is replaced. One line of JSON per trial:
the write, the digests of the files that are there after the kill, and of those after the run in peace.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

# The children are forked, so what they import is imported here; nothing of it runs before the fork.
import runstate.market.analyze
import runstate.market.merge
import runstate.market.translate  # noqa: F401
from tests.market.world import digests, run_stages


def run_in_child(project: Path, die_at: int) -> int:
    """Run all stages and return the child's exit status; `die_at` 0 lets it live."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    seen = 0

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event != "os.rename" and not is_write:
            return
        if not str(arguments[0]).startswith(str(project / "out")):
            return
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if die_at:
        sys.addaudithook(on_event)
    try:
        run_stages(project / "market.toml")
    except BaseException as error:  # the parent asks why
        print(json.dumps({"error": repr(error)}), flush=True)
        os._exit(1)
    os._exit(0)


def main(project: Path) -> None:
    write = 0
    killed = True
    while killed:
        write += 1
        copy = project.with_name(f"{project.name}-killed")
        shutil.copytree(project, copy)
        killed = os.WIFSIGNALED(run_in_child(copy, write))
        torn = digests(copy / "out")
        status = run_in_child(copy, 0)
        print(
            json.dumps(
                {"write": write, "killed": killed, "status": status, "torn": torn, "after": digests(copy / "out")}
            )
        )
        shutil.rmtree(copy)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

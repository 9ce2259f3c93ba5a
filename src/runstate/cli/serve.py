"""`serve`: pipelines, their API and the dashboard on one port, until a signal says to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.console import logging_to, say, tell
from runstate.cli.failures import DONE
from runstate.cli.options import DEFAULT_PORT, Data, Host, Port, Targets
from runstate.cli.words import clock_time


def serve(
    targets: Targets,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    data: Data = Path(".runstate"),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the stages' log lines on stderr.")] = False,
) -> int:
    """Serve pipelines: the API, the live stream and the dashboard on one port.

    Every pipeline at the top level of the TARGETs can be started; the first is the default. Runs that were interrupted in
    this data directory go on. SIGTERM or Ctrl-C ends it cleanly: running stages are interrupted and go on at the next start;
    a second signal leaves at once. Prints one line with the URL once it accepts connections.
    """
    from runstate.cli.local import in_loop
    from runstate.cli.stage_log import StageLog
    from runstate.cli.target import TARGET_DIR, load_targets
    from runstate.engine import SystemClock
    from runstate.pipeline.runlog import Line

    def note(text: str) -> None:
        tell(f"{clock_time(SystemClock().now_ms())} {text}")

    with logging_to(note):
        pipelines, folder = load_targets(targets)
        os.environ[TARGET_DIR] = str(folder)

        from runstate.server.serve import serve as serve_until_signal

        log = StageLog()

        def on_line(line: Line) -> None:
            words = log.words(line)
            if words is not None:
                note(words)

        in_loop(
            serve_until_signal(
                pipelines,
                data,
                host=host,
                port=port,
                on_ready=lambda url: say(f"runstate is serving {url}"),
                on_line=on_line if verbose else None,
            )
        )
    return DONE

"""`run`: a pipeline once, in this process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.console import say, tell, write_json
from runstate.cli.failures import Usage, exit_code_of_state
from runstate.cli.lines import outcome
from runstate.cli.options import AsJson, Data, Meta, Override, StageNames, Target, parse_meta, parse_stages


def run(
    target: Target,
    *,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", metavar="NAME", help="Which one, where TARGET has several.")
    ] = None,
    meta: Meta = None,
    stage: StageNames = None,
    override: Override = False,
    data: Data = Path(".runstate"),
    as_json: AsJson = False,
) -> int:
    """Run a pipeline once in this process, without a server.

    Shows the run on stderr while it goes on and writes the same journal as a server does, so a server started on the same
    directory later shows it; history is thinned as a runstate.toml says under [store]. A run that was interrupted there goes
    on first. Ctrl-C stops the run, twice leaves at once. Exits 0 after success, 1 when the run failed, 130 when it was
    stopped, 4 when a server has the directory or the run policy lets no run start.
    """
    from runstate.cli.target import choose, load_targets

    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is no part of the answer
        loaded = load_targets([target])
    chosen, stages = choose(loaded.pipelines, pipeline, target), parse_stages(stage)
    for name in stages or ():
        if name not in chosen.stage_order:
            raise Usage(f"pipeline {chosen.name} has no stage {name}; it has {', '.join(chosen.stage_order)}")
    metadata = parse_meta(meta)

    from runstate.cli.local import run_here

    document = run_here(chosen, data, metadata, stages, override=override, keep=loaded.keep)
    if as_json:
        write_json(document.encoded)
    else:
        say(outcome(document.run.to_dict(), now_ms=document.at_ms))
    if document.run.state == "failed":
        tell(f"the whole log is in {data / 'logs' / document.key.id}")
    return exit_code_of_state(document.run.state)

"""`market run`: the reference pipeline on a configuration of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.console import say, write_json
from runstate.cli.failures import Usage, exit_code_of_state
from runstate.cli.lines import outcome
from runstate.cli.options import AsJson, Data

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file; `runstate demo` lays one out.", show_default=False)
]


def run(config: Config, data: Data = Path(".runstate"), as_json: AsJson = False) -> int:
    """Run translator, analyzer and merger on the market data that CONFIG names.

    Like `runstate run`, with metadata.config set to the configuration's path. At the end it prints where the reports are.
    """
    if not config.is_file():
        raise Usage(f"there is no configuration {config}")

    from runstate.cli.local import run_here
    from runstate.market import market

    document = run_here(market, data, {"config": str(config.resolve())}, None)
    if as_json:
        write_json(document.encoded)
    else:
        say(outcome(document.run.to_dict(), now_ms=document.at_ms))
        merged = document.run.stages["merger"]
        if merged.state == "success":
            say(f"report: {merged.outputs['report_json']}")
            say(f"report: {merged.outputs['report_html']}")
    return exit_code_of_state(document.run.state)

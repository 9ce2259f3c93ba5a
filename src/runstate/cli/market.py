"""`market`: the reference pipeline on one's own files: `init` lays out a configuration, `sniff` suggests, `run` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.console import say, write_json
from runstate.cli.failures import DONE, FAILED, Usage, exit_code_of_state
from runstate.cli.lines import outcome
from runstate.cli.options import AsJson, Data

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file; `runstate demo` lays one out.", show_default=False)
]


Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Raw exports.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where market.toml and raw/ go.", show_default=False)]


def sniff(files: Files) -> int:
    """Suggest a [[source]] for each raw file, and say what no file can tell.

    The suggestion is TOML to paste into a configuration; "?" marks what you have to find out and declare. Exit code 1 when
    no dialect fits one of the files.
    """
    for file in files:
        if not file.is_file():
            raise Usage(f"{file} is a folder; name the files in it" if file.is_dir() else f"there is no file {file}")

    from runstate.market.sniff import sniff as look

    suggestions = [look(file) for file in files]
    print("\n".join(suggestion.to_toml() for suggestion in suggestions), end="")
    return FAILED if any(suggestion.dialect is None for suggestion in suggestions) else DONE


def init(directory: Folder) -> int:
    """Lay out a commented configuration in DIR, with real hourly bars of EUR/USD to begin with.

    What is there already is left as it is.
    """
    from runstate.market.demo import write_demo

    config = write_demo(directory)
    say(f"{config} is ready; put exports into {directory / 'raw'}, try: runstate market run {config}")
    return DONE


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

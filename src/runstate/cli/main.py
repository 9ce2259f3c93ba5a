"""`runstate`: every command with its example, and what becomes of errors.

Each error of ours ends the program with one sentence on stderr and the exit code of `failures.py`; tracebacks are for
`--debug`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from runstate.cli import (
    check,
    command,
    demo,
    init,
    journal,
    logs,
    market,
    pipeline,
    read,
    run,
    serve,
    verify,
    watch,
    webhooks,
)
from runstate.cli.console import is_debugging, tell
from runstate.cli.failures import DONE, FAILED, INTERRUPTED, USAGE, exit_code_of, first_of
from runstate.core.errors import RunstateError

_OPTIONS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="runstate", rich_markup_mode=None, add_completion=False, no_args_is_help=True, context_settings=_OPTIONS
)
market_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="The reference pipeline: market data to a report."
)

COMMANDS: list[tuple[str, Callable[..., int], str]] = [
    ("demo", demo.demo, "runstate demo --once"),
    ("init", init.init, "runstate init my-project"),
    ("check", check.check, "runstate check pipelines.py"),
    ("run", run.run, "runstate run pipelines.py --meta day=2024-03-01"),
    ("serve", serve.serve, "runstate serve pipelines.py --port 8642"),
    ("status", read.status, "runstate status nightly"),
    ("watch", watch.watch, "runstate watch pipeline:nightly"),
    ("start", command.start, "runstate start nightly --meta day=2024-03-01 --wait"),
    ("stop", command.stop, "runstate stop latest --reason 'wrong day'"),
    ("retry", command.retry, "runstate retry latest --wait"),
    ("acknowledge", pipeline.acknowledge, "runstate acknowledge nightly --reason 'more memory'"),
    ("schedule", pipeline.schedule, "runstate schedule nightly --cron '0 7 * * 1-5' --tz America/Chicago"),
    ("runs", read.runs, "runstate runs --pipeline nightly --status error"),
    ("show", read.show, "runstate show latest"),
    ("history", read.history, "runstate history latest --limit 20"),
    ("logs", logs.logs, "runstate logs latest -f --stage fetch"),
    ("webhooks", webhooks.webhooks, "runstate webhooks"),
    ("verify", verify.verify, "runstate verify --chaos --seconds 60"),
]
for _name, _function, _example in COMMANDS:
    app.command(_name, epilog=f"Example: {_example}", context_settings=_OPTIONS)(_function)
market_app.command("run", epilog="Example: runstate market run market.toml", context_settings=_OPTIONS)(market.run)
market_app.command("sniff", epilog="Example: runstate market sniff raw/*.csv", context_settings=_OPTIONS)(market.sniff)
market_app.command("init", epilog="Example: runstate market init my-market", context_settings=_OPTIONS)(market.init)
app.add_typer(market_app, name="market")
app.add_typer(journal.app, name="journal")


def _print_version(wanted: bool) -> None:
    if wanted:
        from runstate import __version__

        print(f"runstate {__version__}")
        raise typer.Exit(DONE)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; anywhere on the line, or set RUNSTATE_DEBUG=1.")
    ] = False,
) -> None:
    """One true state for every pipeline run.

    Start with `runstate demo`, or with `runstate init` and `runstate run pipelines.py`. Exit codes: 0 done, 1 the run or
    check failed, 2 wrong usage, 3 server not reachable, 4 refused, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    if sys.platform == "win32":
        tell("runstate: runs on Linux and macOS; on Windows use the Linux subsystem (WSL)")
        return FAILED
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words.remove("--debug")
        os.environ["RUNSTATE_DEBUG"] = "1"
    try:
        code = get_command(app)(words, prog_name="runstate", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as raised:  # noqa: BLE001 - the top of the program: whatever it is, a person reads a sentence
        return _end(first_of(raised))
    return code if isinstance(code, int) else DONE


def _end(error: BaseException) -> int:
    """Say why the program ends, and return its exit code."""
    if is_debugging() and not isinstance(error, (typer.TyperException, SystemExit, KeyboardInterrupt)):
        traceback.print_exception(error)
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            # Whoever read our output has enough; what Python would still flush must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        case RunstateError():
            tell(f"runstate: {error}")
            return exit_code_of(error)
        case typer.TyperException():
            return _wrong_usage(error)
        case OSError():
            tell(f"runstate: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
            return FAILED
        case Exception():
            tell(f"runstate: a mistake of runstate itself ({type(error).__name__}: {error}); --debug shows where")
            return FAILED
        case _:
            raise error


def _wrong_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = "runstate" if context is None else context.command_path
    text = error.format_message()
    if text.startswith("Usage:"):  # nothing was asked for: the whole help is the answer
        tell(text)
    else:
        sentence = " ".join(text.split()).rstrip(".")
        tell(f"runstate: {sentence[:1].lower()}{sentence[1:]}; see {command} --help")
    return USAGE

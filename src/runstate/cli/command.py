"""`start`, `stop` and `retry`: commands to a server, done when they are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import say, write_json
from runstate.cli.failures import DONE, exit_code_of_state
from runstate.cli.options import (
    DEFAULT_URL,
    AsJson,
    Meta,
    Override,
    RunId,
    StageNames,
    Token,
    Url,
    parse_meta,
    parse_stages,
)
from runstate.core.canonical import Json

if TYPE_CHECKING:
    from runstate.client import Client

Document = dict[str, Json]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run to its end, shown on stderr.")]


def start(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Its name.", show_default=False)],
    *,
    meta: Meta = None,
    stage: StageNames = None,
    override: Override = False,
    wait: Wait = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Start a run on a server and print its id once that is committed.

    With --wait it follows the run to its end and exits 0 after success, 1 when it failed, 130 when it was stopped; Ctrl-C
    leaves the run alone. Exits 4 when the pipeline is running already, or its run policy lets no run start.
    """
    metadata, stages = parse_meta(meta), parse_stages(stage)

    from runstate.cli.remote import ask

    async def answer(server: Client) -> Document:
        begun = (await server.start(pipeline, metadata, stages, override=override)).document.to_dict()
        return await _end(server, begun) if wait else begun

    return _report(ask(url, token, answer), wait=wait, as_json=as_json)


def stop(
    run: RunId,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")] = None,
    wait: Wait = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Ask a run to stop; done once the request is committed.

    The run is `stopped` a little later, when nothing of it is alive; --wait waits for that. Exits 4 when the run is over.
    """
    from runstate.cli.remote import ask, find_run

    async def answer(server: Client) -> Document:
        asked = (await server.stop(await find_run(server, run), reason)).document.to_dict()
        return await _end(server, asked) if wait else asked

    code = _report(ask(url, token, answer), wait=wait, as_json=as_json)
    return DONE if code == exit_code_of_state("stopped") else code


def retry(
    run: RunId,
    wait: Wait = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Go on with a run that failed or was stopped, from the stage that did not finish; print its id once committed.

    Finished stages keep their outputs and do not run again. --wait follows the run to its end and exits as `runstate start
    --wait` does. Exits 4 when the run is not over, was a success, or its pipeline is running another.
    """
    from runstate.cli.remote import ask, find_run

    async def answer(server: Client) -> Document:
        again = (await server.retry(await find_run(server, run))).document.to_dict()
        return await _end(server, again) if wait else again

    return _report(ask(url, token, answer), wait=wait, as_json=as_json)


def _report(document: Document, *, wait: bool, as_json: bool) -> int:
    from runstate.cli.lines import outcome
    from runstate.core.canonical import encode
    from runstate.core.times import parse_time

    if as_json:
        write_json(encode(document))
    elif wait:
        say(outcome(document, now_ms=parse_time(document["updated_at"])))
    else:
        say(document["run_id"])
    return exit_code_of_state(document["state"]) if wait else DONE


async def _end(server: Client, commanded: Document) -> Document:
    """Show a run, from its document after a command, until it is over; return its last document."""
    from runstate.cli.follow import view
    from runstate.cli.remote import watch
    from runstate.core.machine import is_over
    from runstate.engine import SystemClock

    with view(SystemClock().now_ms) as shown:
        async for seen in watch(server, f"run:{commanded['run_id']}"):
            shown.show(seen.runs, seen)
            for run in seen.runs:
                if run["version"] >= commanded["version"] and is_over(run["state"]):
                    return run
    raise AssertionError("a watch has no end of its own")

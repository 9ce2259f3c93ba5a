"""`status`, `runs`, `show`, `history`: what a server knows, once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from runstate.cli.console import console, write_json
from runstate.cli.failures import DONE, Usage
from runstate.cli.options import DEFAULT_URL, AsJson, RunId, Url

PipelineName = Annotated[
    str | None, typer.Argument(metavar="[PIPELINE]", help="Its name.", show_default="every pipeline; JSON: the first")
]
STATUSES = ("idle", "running", "stopped", "error")


def status(pipeline: PipelineName = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> int:
    """Show the current run of each pipeline: its state, and a bar per stage.

    With --json it prints the run's document as the server has it, byte for byte (of PIPELINE, else of the first pipeline
    that is served). `runstate watch` keeps showing it.
    """
    from runstate.cli.remote import ask, document_of, list_pipelines, status_of

    async def answer(server: Any) -> list[bytes]:
        names = [pipeline]
        if pipeline is None and not as_json:
            names = [found["pipeline"] for found in await list_pipelines(server)]
        return [await status_of(server, name) for name in names]

    encoded = ask(url, answer)
    if as_json:
        write_json(encoded[0])
        return DONE

    from runstate.cli.tables import status_page

    console().print(status_page([document_of(each) for each in encoded], now_ms=_now_ms()))
    return DONE


def runs(
    pipeline: Annotated[str | None, typer.Option("--pipeline", metavar="NAME", help="Only of this pipeline.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="Only idle, running, stopped or error.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only in this state, such as running_fetch.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> int:
    """List runs, newest first.

    `success` is of status idle, `failed` of status error; the states are success, failed, stopped, starting, retrying
    and running_STAGE.
    """
    if status is not None and status not in STATUSES:
        raise Usage(f"--status {status} is not known; use {', '.join(STATUSES)}")

    from runstate.cli.remote import ask, list_runs

    page = ask(url, lambda server: list_runs(server, pipeline=pipeline, status=status, state=state, limit=limit))
    if as_json:
        _write(page)
    elif not page["runs"]:
        console().print("no runs")
    else:
        from runstate.cli.tables import runs_table

        console().print(runs_table(page["runs"], now_ms=_now_ms()))
    return DONE


def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN[@VERSION]", help="A run's id, the beginning of one, or `latest`.", show_default=False
        ),
    ],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> int:
    """Show everything about a run, now or as it was at a version.

    With --json it prints the document as the server has it, byte for byte; its SHA-256 is the digest.
    """
    name, at, version = run.partition("@")
    if at and (not version.isdigit() or not 1 <= int(version) < 2**53):
        raise Usage(f"{run}: a version is a number from 1, such as {name or 'latest'}@3")

    from runstate.cli.remote import ask, document_of, find_run, run_of

    async def answer(server: Any) -> bytes:
        return await run_of(server, await find_run(server, name), int(version) if at else None)

    encoded = ask(url, answer)
    if as_json:
        write_json(encoded)
        return DONE

    from runstate.cli.tables import run_page

    console().print(run_page(document_of(encoded), now_ms=_now_ms()))
    return DONE


def history(
    run: RunId,
    after: Annotated[int, typer.Option("--after", metavar="VERSION", min=0, help="Only later versions.")] = 0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many.")] = 100,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> int:
    """Show how a run came to be what it is: each version, what caused it and what it changed.

    `runstate show RUN@VERSION` shows one of them in full.
    """
    from runstate.cli.remote import ask, find_run, history_of

    async def answer(server: Any) -> Any:
        return await history_of(server, await find_run(server, run), after=after, limit=limit)

    page = ask(url, answer)
    if as_json:
        _write(page)
        return DONE

    from runstate.cli.tables import history_table

    out = console()
    if page["commits"]:
        out.print(history_table(page["commits"], now_ms=_now_ms()))
    last = page["commits"][-1]["version"] if page["commits"] else after
    if last < page["head"]:
        out.print(f"{page['head'] - last} later versions: --after {last}", style="dim")
    return DONE


def _write(value: Any) -> None:
    from runstate.core.canonical import encode

    write_json(encode(value))


def _now_ms() -> int:
    from runstate.engine import SystemClock

    return SystemClock().now_ms()

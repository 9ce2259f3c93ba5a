"""`status`, `runs`, `show`, `history`: what a server knows, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import say, show_page, write_json
from runstate.cli.failures import DONE, Usage
from runstate.cli.options import DEFAULT_URL, AsJson, RunId, Token, Url
from runstate.core.canonical import Json

if TYPE_CHECKING:
    from runstate.cli.seen import Seen
    from runstate.client import Client
    from runstate.core.model import RunContext

PipelineName = Annotated[
    str | None, typer.Argument(metavar="[PIPELINE]", help="Its name.", show_default="every pipeline; JSON: the first")
]
STATUSES = ("idle", "running", "stopped", "error")


def status(pipeline: PipelineName = None, url: Url = DEFAULT_URL, token: Token = None, as_json: AsJson = False) -> int:
    """Show the current run of each pipeline: its state, a bar per stage, its health and when it runs next.

    With --json it prints the run's document as the server has it, byte for byte (of PIPELINE, else of the first pipeline
    that is served). `runstate watch` keeps showing it.
    """
    from runstate.cli.remote import ask, see_now

    async def current(server: Client) -> RunContext:
        return await server.get_status(pipeline)

    async def all_of_them(server: Client) -> Seen:
        return await see_now(server, "*")

    async def of_one(server: Client) -> Seen:
        return await see_now(server, f"pipeline:{pipeline}")

    if as_json:
        write_json(ask(url, token, current).encoded())
        return DONE

    from runstate.cli.tables import status_page

    seen = ask(url, token, all_of_them if pipeline is None else of_one)
    show_page(status_page(seen.shown(), seen.owners, now_ms=_now_ms()))
    return DONE


def runs(
    *,
    pipeline: Annotated[str | None, typer.Option("--pipeline", metavar="NAME", help="Only of this pipeline.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="Only idle, running, stopped or error.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only in this state, such as running_fetch.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many.")] = 20,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """List runs, newest first: id, pipeline, state, when it began, how long it took, and the error where it failed.

    A state is the exact word: success, failed, stopped, starting, retrying or running_STAGE. A status is coarse: idle (also
    success), running, stopped, error (failed).
    """
    if status is not None and status not in STATUSES:
        raise Usage(f"--status {status} is not known; use {', '.join(STATUSES)}")

    from runstate.cli.remote import ask

    page = ask(url, token, lambda server: server.runs(pipeline=pipeline, status=status, state=state, limit=limit))
    found = [run.to_dict() for run in page.runs]
    if as_json:
        _write({"position": page.position, "runs": found, "next": page.next})
    elif not found:
        say("no runs")
    else:
        from runstate.cli.tables import runs_table

        show_page(runs_table(found, now_ms=_now_ms()))
    return DONE


def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN[@VERSION]", help="A run's id, the beginning of one, or `latest`.", show_default=False
        ),
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Show everything about a run, now or as it was at a version.

    With --json it prints the document as the server has it, byte for byte; its SHA-256 is the digest.
    """
    name, at, version = run.partition("@")
    if at and (not version.isdigit() or not 1 <= int(version) < 2**53):
        raise Usage(f"{run}: a version is a number from 1, such as {name or 'latest'}@3")

    from runstate.cli.remote import ask, find_run

    async def answer(server: Client) -> RunContext:
        run_id = await find_run(server, name)
        return await (server.get_version(run_id, int(version)) if at else server.get_run(run_id))

    document = ask(url, token, answer)
    if as_json:
        write_json(document.encoded())
        return DONE

    from runstate.cli.tables import run_page

    show_page(run_page(document.to_dict(), now_ms=_now_ms()))
    return DONE


def history(
    run: RunId,
    after: Annotated[int, typer.Option("--after", metavar="VERSION", min=0, help="Only later versions.")] = 0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Show how a run came to be what it is: each version, what caused it and what it changed.

    `runstate show RUN@VERSION` shows one of them in full.
    """
    from runstate.cli.remote import ask, find_run

    async def answer(server: Client) -> dict[str, Json]:
        return await server.history(await find_run(server, run), after=after, limit=limit)

    page = ask(url, token, answer)
    if as_json:
        _write(page)
        return DONE

    from runstate.cli.tables import history_table

    if page["commits"]:
        show_page(history_table(page["commits"], now_ms=_now_ms()))
    last = page["commits"][-1]["version"] if page["commits"] else after
    if last < page["head"]:
        say(f"{page['head'] - last} later versions: --after {last}")
    return DONE


def _write(value: Json) -> None:
    from runstate.core.canonical import encode

    write_json(encode(value))


def _now_ms() -> int:
    from runstate.engine import SystemClock

    return SystemClock().now_ms()

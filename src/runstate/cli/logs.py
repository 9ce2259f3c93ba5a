"""`logs`: what the stages of a run said, line by line, from the beginning or as it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from random import random
from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import console, say, tell, write_json
from runstate.cli.failures import DONE, Usage
from runstate.cli.options import DEFAULT_URL, AsJson, RunId, Token, Url, parse_stages
from runstate.cli.words import printable, when
from runstate.core.canonical import Json

if TYPE_CHECKING:
    from runstate.client import Client

Line = Mapping[str, Json]

BACKOFF_S, LONGEST_BACKOFF_S = 0.25, 5.0
LEVELS = {"debug": "dim", "info": "", "warning": "yellow", "error": "red", "critical": "bold red"}


def logs(
    run: RunId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    stage: Annotated[
        list[str] | None, typer.Option("--stage", metavar="NAME", help="Only of this stage; repeat for several.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Print the log lines of a run: when, which stage, and what it said.

    With -f it goes on until the run is over; over restarts of the server too, without losing or repeating a line. Where the
    oldest lines went to keep the log in its bounds, one line says which. With --json it prints one line per log line:
    {"at": …, "attempt": …, "level": …, "offset": …, "stage": …, "text": …}; a gap has no stage, and "gap": {"first", "last"}.
    """
    from runstate.cli.remote import ask, find_run

    wanted = parse_stages(stage)
    show = _shower(as_json=as_json)

    async def answer(server: Client) -> None:
        run_id = await find_run(server, run)
        if wanted is not None:
            await _check(server, run_id, wanted)
        read = _followed if follow else _written
        async for line in read(server, run_id, wanted):
            show(line)

    ask(url, token, answer)
    return DONE


async def _check(server: Client, run_id: str, wanted: list[str]) -> None:
    order = (await server.get_run(run_id)).to_dict()["stage_order"]
    for name in wanted:
        if name not in order:
            raise Usage(f"run {run_id} has no stage {name}; it has {', '.join(order)}")


async def _written(server: Client, run_id: str, stages: list[str] | None, after: int = 0) -> AsyncIterator[Line]:
    """Yield the lines after an offset that are there."""
    while (page := await server.logs(run_id, after=after, stages=stages))["lines"]:
        for line in page["lines"]:
            yield line
        after = page["next"]


async def _followed(server: Client, run_id: str, stages: list[str] | None) -> AsyncIterator[Line]:
    """Yield the lines until the run is over; a connection that ends is made again, after the last line that came."""
    import asyncio

    from runstate.client import Problem, ServerUnreachable
    from runstate.core.machine import is_over

    after = failures = 0
    while True:
        try:
            async for line in server.follow_logs(run_id, after=after, stages=stages):
                after, failures = line["offset"], 0
                yield line
            if is_over((await server.get_run(run_id)).state):
                break
        except (ServerUnreachable, Problem) as cut:
            if isinstance(cut, Problem) and cut.status < 500:
                raise
        if failures == 0:
            tell("the server is away; the log goes on when it is back")
        await asyncio.sleep(min(LONGEST_BACKOFF_S, BACKOFF_S * 2**failures) * random())
        failures = min(failures + 1, 10)
    async for late in _written(server, run_id, stages, after):  # what was on its way to the disk when the run ended
        yield late


def _shower(*, as_json: bool) -> Callable[[Line], None]:
    """Return what shows a line on stdout."""
    from runstate.core.canonical import encode
    from runstate.engine import SystemClock

    if as_json:
        return lambda line: write_json(encode(line))
    out, now = console(), SystemClock().now_ms
    if not out.is_terminal:
        return lambda line: say("".join(text for text, _ in words(line, now_ms=now())))

    from rich.text import Text

    return lambda line: out.print(Text.assemble(*words(line, now_ms=now())), soft_wrap=True)


def words(line: Line, *, now_ms: int) -> list[tuple[str, str]]:
    """Return how a line reads, in parts with their styles."""
    if line["stage"] is None:
        return [(f"{when(line['at'], now_ms=now_ms)} ", "dim"), (f"… {printable(line['text'])}", "yellow")]
    style = LEVELS.get(line["level"], "")
    nth = f", attempt {line['attempt']}" if line["attempt"] > 1 else ""
    loud = f"{line['level']}: " if line["level"] not in ("info", "debug") else ""
    return [
        (f"{when(line['at'], now_ms=now_ms)} ", "dim"),
        (f"{line['stage']}{nth} | ", "cyan"),
        (loud, style),
        (printable(line["text"].rstrip()), style if style == "dim" else ""),
    ]

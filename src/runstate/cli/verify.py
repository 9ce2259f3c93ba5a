"""`verify`: proof, at a live server, that every reader sees the same; see `runstate.verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import show_page, tell, write_json
from runstate.cli.failures import DONE, FAILED
from runstate.cli.options import DEFAULT_URL, AsJson, Token, Url, parse_token

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runstate.verify import Outcome

MAX_SECONDS = 86_400.0
_COLOURS = {"kept": "green", "broken": "red bold", "nothing proved": "yellow", "not finished": "dim"}


def verify(
    *,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="N", min=1, max=MAX_SECONDS, help="How long to read; judging ends in 10 s."),
    ] = 10.0,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Cut, stall and resume our own connections at random.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="What all chance comes from; without it, drawn and printed."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="PIPELINE", help="Start a run first, so that there is something to see."),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Prove that a live server keeps its promises: every reader sees the same bytes, and misses nothing.

    Reads by poll, long-poll, event stream, WebSocket and the Python client at once while runs go on, and holds what they saw
    against each other and against the history. It changes nothing. Exits 0 when every promise was held against something
    and kept, 1 when one is broken or nothing was proved, 3 when no server is there.
    """
    from random import SystemRandom

    from runstate.core.canonical import encode
    from runstate.verify import verify as check

    number = SystemRandom().getrandbits(32) if seed is None else seed
    if not as_json:
        tell(f"reading {url} for {seconds:g} s{', with chaos' if chaos else ''}, seed {number}")
    import asyncio

    outcome = asyncio.run(
        check(url, seed=number, token=parse_token(token), seconds=seconds, chaos=chaos, start=start, tell=tell)
    )
    if as_json:
        write_json(encode(outcome.to_dict()))
    else:
        show_page(_page(outcome))
    return DONE if outcome.verdict == "kept" else FAILED


def _page(outcome: Outcome) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from runstate.verify import PROMISES

    readers = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    readers.add_column("reader", no_wrap=True)
    readers.add_column("messages", justify="right")
    readers.add_column("bytes", justify="right")
    readers.add_column("what it did to itself", style="dim")
    for one in outcome.readers:
        acts = ", ".join(f"{what} {count}" for what, count in one.acts.items() if count)
        readers.add_row(one.name, f"{one.messages:,}", "" if one.received is None else f"{one.received:,}", acts)

    promises = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    promises.add_column("promise", no_wrap=True)
    promises.add_column("checks", justify="right")
    promises.add_column("verdict", no_wrap=True)
    promises.add_column("", style="dim")
    for name, text in PROMISES.items():
        verdict = outcome.verdict_of(name)
        promises.add_row(name, f"{outcome.checks.get(name, 0):,}", Text(verdict, style=_COLOURS[verdict]), text)
    return Group(readers, Text(), promises, Text(), *_verdict(outcome))


def _verdict(outcome: Outcome) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    lines: list[RenderableType] = [Text(f"note: {note}", style="dim") for note in outcome.notes]
    broken = outcome.broken
    if broken is not None:
        lines += [Text(f"BROKEN: {broken.promise}: {broken.what}", style="red")]
        lines += [Padding(Text(line, overflow="fold"), (0, 0, 0, 2)) for line in broken.seen]
        lines += [Text(f"again: {outcome.asked.command}")]
    elif not outcome.commits:
        lines += [Text("nothing proved: nothing was committed while we looked; see --start and --seconds")]
    elif outcome.unproved:
        lines += [Text(f"nothing proved of {', '.join(outcome.unproved)}: nothing to hold against it; read longer")]
    else:
        joint = f", {outcome.joint_commits:,} of them of several documents" if outcome.joint_commits else ""
        lines += [Text(f"kept: {outcome.commits:,} commits{joint}, seed {outcome.asked.seed}", style="green")]
    return lines

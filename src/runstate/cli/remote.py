"""A server from the command line's side: what commands ask of it, over `runstate.client`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from runstate.cli.failures import Failure, Usage
from runstate.cli.options import parse_token
from runstate.cli.seen import Seen
from runstate.client import Client, Problem, View, connect
from runstate.core.errors import NotFound
from runstate.core.model import RunContext
from runstate.engine import SystemClock

AnswerT = TypeVar("AnswerT")

LOOKED_THROUGH = 1000  # runs in which a prefix is looked for
_RUN_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_SHOWN_MATCHES = 4


class NotLetIn(Failure):
    """The server wants to know who asks; the text says how to tell it."""

    code = "unauthorized"


def ask(url: str, token: str | None, answer: Callable[[Client], Awaitable[AnswerT]]) -> AnswerT:
    """Return what `answer` makes of the server at `url`.

    Raises:
        ServerUnreachable: Nobody answers there.
        NotLetIn: It wants a token, or another one.
        Problem: The server refuses.
        InvalidValue: `url` is not one.
        Usage: `token` is none that can be sent.
    """
    secret = parse_token(token)

    async def main() -> AnswerT:
        async with connect(url, secret) as server:
            return await answer(server)

    try:
        return asyncio.run(main())
    except Problem as refusal:
        if refusal.code != "unauthorized":
            raise
        if secret is None:
            raise NotLetIn(f"the server at {url} wants a token; give it with --token or RUNSTATE_TOKEN") from refusal
        raise NotLetIn(
            f"the server at {url} does not take this token; give a valid one with --token or RUNSTATE_TOKEN"
        ) from refusal


async def find_run(server: Client, name: str) -> str:
    """Return the id of the run that `name` means: `latest`, an id, or the unique beginning of one.

    Raises:
        NotFound: No run is meant.
        Usage: Several are.
    """
    if name == "latest":
        newest = (await server.runs(limit=1)).runs
        if not newest:
            raise NotFound("there is no run yet; start one with runstate start PIPELINE")
        return str(newest[0].run_id)
    wanted = name.upper()
    if _RUN_ID.fullmatch(wanted):
        return wanted
    if not re.fullmatch(r"[0-9A-Z]+", wanted):
        raise Usage(f"{name!r} is neither a run's id nor the beginning of one; runstate runs lists them")
    page = await server.runs(limit=LOOKED_THROUGH)
    found = [str(run.run_id) for run in page.runs if str(run.run_id).startswith(wanted)]
    if not found:
        raise NotFound(f"no run of the latest {LOOKED_THROUGH} begins with {name}; runstate runs lists them")
    if len(found) > 1:
        more = f" and {len(found) - _SHOWN_MATCHES} more" if len(found) > _SHOWN_MATCHES else ""
        raise Usage(f"{name} is the beginning of several runs: {', '.join(found[:_SHOWN_MATCHES])}{more}")
    return found[0]


async def watch(server: Client, topics: str) -> AsyncIterator[Seen]:
    """Yield what is so now, and again whenever that or the link changes.

    Args:
        topics: As in PROTOCOL §4, with commas between them.

    Raises:
        Problem: The server refuses the topics.
    """
    now_ms = SystemClock().now_ms
    async for moment in server.watch(*topics.split(",")):
        yield _seen(moment, now_ms())


async def see_now(server: Client, topics: str) -> Seen:
    """Return what is so now.

    Raises:
        ServerUnreachable: Nobody answers.
        Problem: The server refuses the topics.
    """
    await reach(server)
    async for seen in watch(server, topics):
        if seen.is_fresh:
            return seen
    raise AssertionError("a watch has no end of its own")


async def reach(server: Client) -> None:
    """Show that a server is there.

    Raises:
        ServerUnreachable: Nobody answers.
    """
    try:
        await server.get_status()
    except Problem as refusal:
        if refusal.code != "not_found":  # a server without pipelines is one all the same
            raise


def _seen(moment: View, now_ms: int) -> Seen:
    return Seen(
        link=moment.link,
        as_of_ms=None if moment.age_ms is None else now_ms - moment.age_ms,
        position=None if moment.position is None else str(moment.position),
        pipelines=tuple(entry.document for entry in moment.pipelines.values()),
        runs=tuple(entry.document for entry in moment.runs.values()),
        trouble="" if moment.trouble is None else moment.trouble.detail,
    )


async def start_or_join(server: Client, pipeline: str) -> RunContext:
    """Start a run, or return the one that is under way."""
    try:
        return (await server.start(pipeline)).document
    except Problem as refusal:
        if refusal.code != "already_running":
            raise
        return await server.get_status(pipeline)

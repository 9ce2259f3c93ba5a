"""`webhooks`: who is told what happens, what waits for its next try, and what was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import say, write_json
from runstate.cli.failures import DONE
from runstate.cli.options import DEFAULT_URL, AsJson, Token, Url
from runstate.cli.words import printable
from runstate.core.canonical import Json, encode

if TYPE_CHECKING:
    from runstate.client import Client


def webhooks(
    *,
    redeliver: Annotated[
        str | None, typer.Option("--redeliver", metavar="ID", help="Try again what was given up for this one.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Show the receivers of webhooks: what they are told of, what they did not take yet, and what was given up.

    An event that a receiver does not take is tried again with growing pauses, twelve times in about two hours; then it is
    given up and listed here until --redeliver.
    """
    from runstate.cli.remote import ask

    async def answer(server: Client) -> Json:
        if redeliver is not None:
            return {"events": await server.redeliver(redeliver)}
        return await server.webhooks()

    told = ask(url, token, answer)
    if as_json:
        write_json(encode(told))
    elif redeliver is not None:
        say(f"{told['events']} events are tried again")
    else:
        for line in _lines(told["webhooks"]) or ["this server tells nobody: its runstate.toml names no [[webhook]]"]:
            say(line)
    return DONE


def _lines(shown: list[dict[str, Json]]) -> list[str]:
    lines = []
    for hook in shown:
        lines.append(f"{hook['id']} {printable(hook['receiver'])} on {', '.join(hook['on'])}")
        lines += [f"  waits     {_event(one)}; next try {one['next_try_at'] or 'now'}" for one in hook["waiting"]]
        lines += [f"  given up  {_event(one)} at {one['given_up_at']}" for one in hook["dead"]]
    return lines


def _event(one: dict[str, Json]) -> str:
    what = f"{one['type']} of {one['subject']} version {one['version']}, " if one["type"] else ""
    return printable(f"{what}{one['tries']} tries: {one['error'] or 'not sent yet'}")

"""`watch`: what a server does, live; resumed over its restarts, and never shown as live when it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import typer

from runstate.cli.console import show_page, write_json
from runstate.cli.failures import DONE
from runstate.cli.options import DEFAULT_URL, AsJson, Token, Url
from runstate.cli.seen import Seen

if TYPE_CHECKING:
    from runstate.client import Client

Topic = Annotated[
    str,
    typer.Argument(metavar="[TOPIC]", help="`*`, pipeline:NAME or run:ID; several with commas.", show_default="*"),
]


def watch(
    topic: Topic = "*",
    once: Annotated[bool, typer.Option("--once", help="Print the present state and leave.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Watch runs live: their states, and a bar per stage with rate and remaining time.

    Goes on over restarts of the server; what is not live is grey and says how old it is. With --json it prints one line
    per change: {"link": …, "position": …, "documents": [pipelines and runs]}. Ctrl-C ends it. Exits 3 when no server is there
    to begin with.
    """
    from runstate.cli.remote import ask, reach
    from runstate.cli.remote import watch as follow

    async def answer(server: Client) -> None:
        await reach(server)
        with _Show(once=once, as_json=as_json) as shown:
            async for seen in follow(server, topic):
                shown.take(seen)
                if once and seen.is_fresh:
                    return

    ask(url, token, answer)
    return DONE


class _Show:
    """Takes what is seen to stdout: JSON lines, a page, or a view that lives."""

    def __init__(self, *, once: bool, as_json: bool) -> None:
        from runstate.cli.follow import view
        from runstate.engine import SystemClock

        self._once, self._as_json, self._now = once, as_json, SystemClock().now_ms
        self._view = None if once or as_json else view(self._now, err=False, ends=True)
        self._written: dict[str, object] | None = None

    def __enter__(self) -> Self:
        if self._view is not None:
            self._view.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._view is not None:
            self._view.close()

    def take(self, seen: Seen) -> None:
        if self._view is not None:
            self._view.show(seen.shown(), seen)
        elif self._once and not seen.is_fresh:
            return
        elif self._as_json:
            self._write(seen)
        else:
            self._print(seen)

    def _write(self, seen: Seen) -> None:
        from runstate.core.canonical import encode

        shown: dict[str, object] = {"link": seen.link, "documents": [*seen.pipelines, *seen.runs]}
        if shown != self._written:  # that the store has gone on elsewhere is no change
            write_json(encode(shown | {"position": seen.position}))
        self._written = shown

    def _print(self, seen: Seen) -> None:
        from runstate.cli.tables import status_page

        show_page(status_page(seen.shown(), seen.owners, now_ms=self._now()))

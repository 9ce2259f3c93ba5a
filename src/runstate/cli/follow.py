"""Showing runs while they go on: bars that live in a terminal, or one line per change of state where there is none.

A view is told the truth as it stands; it may skip what was in between, never the latest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from runstate.cli.console import console, say, tell
from runstate.cli.lines import news, outcome, owner_news
from runstate.cli.seen import Seen
from runstate.cli.words import clock_time
from runstate.core.canonical import Json
from runstate.core.machine import is_over

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Now = Callable[[], int]  #: Wall time, milliseconds since the Unix epoch.
REFRESHES_PER_S = 10


class View(Protocol):
    """Where runs are shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, runs: Sequence[Mapping[str, Json]], seen: Seen | None = None) -> None:
        """Show these runs.

        Args:
            seen: How far they can be trusted, where they come over a link.
        """

    def note(self, text: str) -> None:
        """Say something above the runs."""

    def close(self) -> None:
        """Leave the terminal as it was; safe to call twice."""


class Lines:
    """One line per change of state."""

    def __init__(self, now: Now, write: Callable[[str], None] = tell, *, ends: bool = False) -> None:
        self._now, self._write, self._ends = now, write, ends
        self._shown: dict[str, Mapping[str, Json]] = {}
        self._owners: Mapping[str, Mapping[str, Json]] = {}
        self._link = "live"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, runs: Sequence[Mapping[str, Json]], seen: Seen | None = None) -> None:
        now_ms = self._now()
        if seen is not None:
            self._note_link(seen, now_ms)
        begun = [document for document in runs if document["run_id"] is not None]
        for document in begun:
            before = self._shown.get(document["run_id"])
            for line in news(before, document, now_ms=now_ms):
                self.note(line)
            if self._ends and before and before["state"] != document["state"] and is_over(document["state"]):
                self.note(outcome(document, now_ms=now_ms))
        self._shown |= {document["run_id"]: document for document in begun}
        if seen is not None:
            for name, owner in seen.owners.items():
                for line in owner_news(self._owners.get(name), owner, now_ms=now_ms):
                    self.note(line)
            self._owners = seen.owners

    def _note_link(self, seen: Seen, now_ms: int) -> None:
        link = "live" if seen.is_fresh else seen.link
        if link not in (self._link, "connecting"):
            self.note(f"link: {seen.link_words(now_ms=now_ms)}")
            self._link = link

    def note(self, text: str) -> None:
        self._write(f"{clock_time(self._now())} {text}")

    def close(self) -> None:
        """Nothing to tidy up."""


class Bars:
    """A bar per stage, redrawn in place; what is said stands above."""

    def __init__(self, now: Now, on: Console) -> None:
        from rich.live import Live

        self._now, self._console = now, on
        self._runs: Sequence[Mapping[str, Json]] = ()
        self._seen: Seen | None = None
        # What is printed stands above the bars, but an answer on its way into a pipe or a file goes there.
        self._live = Live(
            console=on,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_S,
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, runs: Sequence[Mapping[str, Json]], seen: Seen | None = None) -> None:
        self._runs, self._seen = runs, seen

    def note(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.constrain import Constrain

        from runstate.cli.bars import link_line, owner_view, run_view

        now_ms, seen, runs = self._now(), self._seen, self._runs
        fresh = seen is None or seen.is_fresh
        # What is not live stands still at the moment up to which it is known.
        at_ms = now_ms if seen is None or fresh or seen.as_of_ms is None else seen.as_of_ms
        heading = [] if seen is None else [link_line(seen, now_ms=now_ms)]
        owners = {} if seen is None else seen.owners
        parts = [
            part
            for document in runs
            for part in (
                run_view(document, now_ms=at_ms, fresh=fresh),
                *owner_view(document, owners, now_ms=at_ms, fresh=fresh),
            )
        ]
        page = Group(*heading, *parts)
        return Constrain(page, self._console.width - 4)  # room for the terminal's own ^C, which else breaks the line


def view(now: Now, *, err: bool = True, ends: bool = False) -> View:
    """Return the view that stderr (or stdout) can show.

    Args:
        ends: Say in a line how a run ended; not for those who say so themselves.
    """
    on = console(err=err)
    if on.is_terminal and not on.is_dumb_terminal:
        return Bars(now, on)
    return Lines(now, tell if err else say, ends=ends)

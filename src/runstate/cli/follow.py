"""Showing runs while they go on: bars that live in a terminal, or one line per change of state where there is none.

A view is told the truth as it stands; it may skip what was in between, never the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from runstate.cli.console import console, tell
from runstate.cli.lines import news
from runstate.cli.words import clock_time
from runstate.core.canonical import Json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Now = Callable[[], int]  #: Wall time, milliseconds since the Unix epoch.
REFRESHES_PER_S = 10


class View(Protocol):
    """Where a run is shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, documents: Sequence[Mapping[str, Json]]) -> None:
        """Show these runs; those shown before and not among them are gone."""

    def note(self, text: str) -> None:
        """Say something above the runs."""

    def close(self) -> None:
        """Leave the terminal as it was; safe to call twice."""


class Lines:
    """One line per change of state."""

    def __init__(self, now: Now, write: Callable[[str], None] = tell) -> None:
        self._now, self._write = now, write
        self._shown: dict[str, Mapping[str, Json]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, documents: Sequence[Mapping[str, Json]]) -> None:
        now_ms = self._now()
        for document in documents:
            if document["run_id"] is not None:
                for line in news(self._shown.get(document["run_id"]), document, now_ms=now_ms):
                    self.note(line)
        self._shown = {document["run_id"]: document for document in documents if document["run_id"] is not None}

    def note(self, text: str) -> None:
        self._write(f"{clock_time(self._now())} {text}")

    def close(self) -> None:
        """Nothing to tidy up."""


class Bars:
    """A bar per stage, redrawn in place; what is said stands above."""

    def __init__(self, now: Now, on: Console) -> None:
        from rich.live import Live

        self._now, self._documents = now, list[Mapping[str, Json]]()
        self._console = on
        self._live = Live(console=on, get_renderable=self._render, refresh_per_second=REFRESHES_PER_S)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, documents: Sequence[Mapping[str, Json]]) -> None:
        self._documents = list(documents)

    def note(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group

        from runstate.cli.bars import run_view

        now_ms = self._now()
        return Group(*(run_view(document, now_ms=now_ms) for document in self._documents))


def view(now: Now) -> View:
    """Return the view that stderr can show."""
    on = console(err=True)
    return Bars(now, on) if on.is_terminal and not on.is_dumb_terminal else Lines(now)

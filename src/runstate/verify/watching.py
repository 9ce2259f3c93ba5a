"""The Python client as a reader: what it shows is judged like what any other reader saw."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from runstate.client import Client, View
from runstate.core.replica import Entry
from runstate.verify.frames import row_of
from runstate.verify.judging import Row, Shown
from runstate.verify.recorder import Key, Order, Recorder


@dataclass
class Watcher:
    """A program that watches everything."""

    client: Client
    recorder: Recorder
    leave_at_s: list[float]  #: When it leaves the watch, to begin another.
    name: str = "python-client"
    views: int = 0
    leaves: int = 0
    position: Order | None = None
    latest: dict[Key, int] = field(default_factory=dict)
    _shown: Mapping[Key, Entry] = field(default_factory=dict)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            limit = self.leave_at_s[0] if self.leave_at_s else None
            at = None if limit is None else asyncio.get_running_loop().time() + limit - self.recorder.now_ms() / 1000
            try:
                async with asyncio.timeout_at(at) as ours, aclosing(self.client.watch("*")) as views:
                    async for view in views:
                        self.take(view)
            except TimeoutError:
                if not ours.expired():
                    raise
                self.leave_at_s.pop(0)
                self.leaves += 1
                self._shown = {}

    def has_reached(self, position: Order, versions: Mapping[Key, int]) -> bool:
        """Return whether all up to `position`, or these versions, are shown."""
        if self.position is not None and self.position >= position:
            return True
        return all(self.latest.get(key, 0) >= version for key, version in versions.items())

    def take(self, view: View) -> None:
        """Judge what is shown.

        Raises:
            Violation: It breaks a promise.
        """
        self.views += 1
        if view.link == "integrity":
            self.recorder.fail(
                "byte-identical", "the client shows something whose digest it could not verify", self.name
            )
        entries = {("pipeline", name): entry for name, entry in view.pipelines.items()}
        entries |= {("run", name): entry for name, entry in view.runs.items()}
        changed = {key: entry for key, entry in entries.items() if self._shown.get(key) is not entry}
        rows = tuple(self._row(key, entry) for key, entry in changed.items())
        self.latest |= {row.key: row.version for row in rows}
        self._shown = entries
        position = view.position
        self.recorder.judge(
            Shown(
                client=self.name,
                at_ms=self.recorder.now_ms(),
                position=None if position is None else str(position),
                rows=rows,
                state=view.link,
            )
        )
        if position is not None:
            self.position = position.order

    def _row(self, key: Key, entry: Entry) -> Row:
        row = row_of(key, entry.version, str(entry.position), entry.digest, entry.encoded)
        self.recorder.saw(self.name, row, entry.encoded)
        return row

"""What a watcher is shown: the documents, how far they go, and what to think of the link (PROTOCOL F12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runstate.core.commit import Kind
from runstate.core.link import Link, LinkState, Transport
from runstate.core.model import RunContext, decode_run
from runstate.core.position import Position
from runstate.core.replica import Entry, Replica, Trouble


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a subscription; frozen, and complete up to `position`."""

    link: LinkState
    link_ms: int  #: How long `link` has been so, when this view was made.
    age_ms: int | None  #: Since a frame last confirmed what is shown; None before the first snapshot.
    source_age_ms: int | None  #: How long ago the server last knew that its journal works.
    transport: Transport | None  #: None while there is no connection.
    trouble: Trouble | None  #: Why the server refused the last connection, where it said so.
    position: Position | None
    pipelines: Mapping[str, Entry]  #: By name.
    runs: Mapping[str, Entry]  #: By run id: each pipeline's current run, and the runs subscribed by name.

    @property
    def run(self) -> RunContext | None:
        """The run that is shown, where it is one: the current run of a pipeline, or a run subscribed alone."""
        return decode_run(next(iter(self.runs.values())).encoded) if len(self.runs) == 1 else None

    def has_reached(self, position: str) -> bool:
        """Return whether everything up to `position` (of a receipt, say) is shown."""
        return self.position is not None and self.position.order >= Position.parse(position).order


def view_of(link: Link, now_ms: int) -> View:
    """Return what `link` shows now."""
    return View(
        link=link.state,
        link_ms=now_ms - link.since,
        age_ms=None if link.confirmed_at is None else now_ms - link.confirmed_at,
        source_age_ms=link.source_age_ms,
        transport=link.transport if link.phase == "open" else None,
        trouble=link.trouble,
        position=link.replica.position,
        pipelines=_of_kind(link.replica, "pipeline"),
        runs=_of_kind(link.replica, "run"),
    )


def is_change(before: Link, after: Link) -> bool:
    """Return whether a watcher wants to hear of the step; that the same was confirmed once more is no news."""
    if (before.state, before.trouble) != (after.state, after.trouble):
        return True
    if after.confirmed_at is None and (before.failures, after.failures) == (0, 1):
        return True  # nothing was shown yet, and now that takes longer
    old, new = before.replica, after.replica
    return (old.position, old.entries) != (new.position, new.entries)


def _of_kind(replica: Replica, kind: Kind) -> Mapping[str, Entry]:
    return MappingProxyType({key.id: entry for key, entry in replica.entries.items() if key.kind == kind})

"""Retention: history is thinned by settings, beside the traffic; no run is deleted, each keeps its latest version."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from runstate.core.errors import StoreUnavailable
from runstate.ports import Clock, Compaction, Retention
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.state")

DAY_MS = 24 * 3600 * 1000
EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What history keeps; None keeps everything."""

    days: float | None = None  #: Versions older than this go.
    versions: int | None = None  #: Of each document the latest so many stay.

    def at(self, now_ms: int) -> Retention:
        """Return what this means now."""
        return Retention(self.versions, None if self.days is None else now_ms - round(self.days * DAY_MS))


async def compact(manager: PipelineStateManager, retention: Retention) -> Compaction:
    """Remove the versions that `retention` gives up, turn by turn beside the traffic; return what was done in all.

    Raises:
        StoreUnavailable: The journal refuses writes now; what was removed so far stays removed.
    """
    done, after = Compaction(0, 0, 0, 0, None), 0
    while True:
        turn = await manager.compact_turn(retention, after)
        versions, commits = done.versions + turn.versions, done.commits + turn.commits
        done = Compaction(versions, commits, max(done.damaged, turn.damaged), turn.floor, None)
        if turn.next is None:
            return done
        after = turn.next


async def keep_retention(manager: PipelineStateManager, keep: Keep, clock: Clock) -> None:
    """Compact now and then, for ever."""
    if keep == Keep():
        return
    while True:
        try:
            done = await compact(manager, keep.at(clock.now_ms()))
            if done.versions:
                log.info("removed %d old versions", done.versions, extra={"event": "compacted"})
        except StoreUnavailable as refusal:
            log.warning("history was not compacted: %s", refusal, extra={"event": "compaction_failed"})
        await asyncio.sleep(EVERY_S)

"""Retention: history is thinned by settings, beside the traffic; no run is deleted, each keeps its latest version."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from runstate.core.errors import StoreUnavailable
from runstate.ports import Clock, Retention
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


async def keep_retention(manager: PipelineStateManager, keep: Keep, clock: Clock) -> None:
    """Compact now and then, for ever."""
    if keep == Keep():
        return
    while True:
        try:
            done = await manager.compact(keep.at(clock.now_ms()))
            if done.versions:
                log.info("removed %d old versions", done.versions, extra={"event": "compacted"})
        except StoreUnavailable as refusal:
            log.warning("history was not compacted: %s", refusal, extra={"event": "compaction_failed"})
        await asyncio.sleep(EVERY_S)

"""The store's upkeep over HTTP: what `runstate journal compact` asks of a server that holds the directory."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstate.ports import Clock
from runstate.server.problems import Problem
from runstate.server.query import body_of, query_of
from runstate.state.manager import PipelineStateManager
from runstate.state.retention import Keep, compact

MAX_VERSIONS = 2**53 - 1
MAX_DAYS = 36_500


class Maintenance:
    """The upkeep route."""

    def __init__(self, manager: PipelineStateManager, clock: Clock) -> None:
        self._manager, self._clock = manager, clock

    async def compact(self, request: Request) -> Response:
        """`POST /api/journal/compact` with `keep_versions`, `keep_days` or both; answers when it is done."""
        query_of(request)
        body = await body_of(request, {"keep_versions": int, "keep_days": (int, float)})
        versions, days = body.get("keep_versions"), body.get("keep_days")
        if versions is None and days is None:
            raise Problem("invalid", "say what to keep: keep_versions, keep_days, or both")
        is_wrong = isinstance(versions, bool) or isinstance(days, bool)
        if (
            is_wrong
            or not 1 <= (1 if versions is None else versions) <= MAX_VERSIONS
            or not 0 <= (days or 0) <= MAX_DAYS
        ):
            raise Problem(
                "invalid",
                f"keep_versions is a whole number from 1 to {MAX_VERSIONS}, keep_days a number from 0 to {MAX_DAYS}",
            )
        done = await compact(self._manager, Keep(days, versions).at(self._clock.now_ms()))
        answer = {"versions": done.versions, "commits": done.commits, "floor": done.floor, "damaged": done.damaged}
        return Response(msgspec.json.encode(answer), 200, {"Cache-Control": "no-store"}, "application/json")

"""A run's log over HTTP (PROTOCOL H8): a page after an offset, or followed live as SSE until the run is over."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runstate.core import sse
from runstate.core.machine import is_over
from runstate.core.model import RunContext
from runstate.pipeline.runlog import RunLogs
from runstate.server.problems import Problem
from runstate.server.query import number_of, query_of
from runstate.state.manager import PipelineStateManager

FOLLOW_LIMIT = 1000  # lines read at once
LOOK_S = 5.0  # of silence before a follower hears that the link is alive
MAX_OFFSET = 2**53 - 1
MAX_LINES = 10_000  # in one answer

_OFFSET = re.compile(r"[0-9]{1,15}")


class Logs:
    """The log routes."""

    def __init__(self, manager: PipelineStateManager, logs: RunLogs) -> None:
        self._manager, self._logs = manager, logs

    async def read(self, request: Request) -> Response:
        """`GET /api/runs/{run_id}/logs`."""
        query = query_of(request, ("after", "limit", "follow", "stage", "tail"))
        if query.get("follow", "0") not in ("0", "1"):
            raise Problem("bad_query", f"follow is {query['follow']!r}; use 0 or 1")
        if "tail" in query and not {"after", "limit", "follow"}.isdisjoint(query):
            raise Problem("bad_query", "tail asks for the last lines; leave out after, limit and follow")
        after = number_of(query, "after", default=0, least=0, most=MAX_OFFSET)
        limit = number_of(query, "limit", default=1000, least=1, most=MAX_LINES)
        document = await self._manager.find_run(request.path_params["run_id"])
        run_id, stages = document.key.id, _stages_of(query, document.run)
        if query.get("follow") == "1":
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            after = _last_event(request, after)
            left = limit if "limit" in query else MAX_OFFSET
            return StreamingResponse(self._follow(run_id, after, left, stages), 200, headers, "text/event-stream")
        if "tail" in query:
            count = number_of(query, "tail", default=1, least=1, most=MAX_LINES)
            page = await asyncio.to_thread(self._logs.read_last, run_id, count=count, stages=stages)
        else:
            page = await asyncio.to_thread(self._logs.read, run_id, after=after, limit=limit, stages=stages)
        lines = b",".join(row.encoded for row in page.rows)
        body = b'{"first":%d,"lines":[%b],"next":%d}' % (page.first, lines, page.next)
        return Response(body, 200, {"Cache-Control": "no-cache"}, "application/json")

    async def _follow(self, run_id: str, after: int, left: int, stages: Sequence[str] | None) -> AsyncIterator[bytes]:
        """Yield an event per line, at most `left`, its id the offset; an event without lines says that the link is alive.

        It holds one page at most: who reads slowly reads later what stands in the files then, and a gap where that is less.
        """
        with self._logs.following(run_id) as written:
            while not self._manager.bus.is_draining:
                is_over = self._is_over(run_id)
                if is_over:
                    await asyncio.to_thread(self._logs.flush)  # its last lines may still be on their way
                written.clear()
                page = await asyncio.to_thread(
                    self._logs.read, run_id, after=after, limit=min(left, FOLLOW_LIMIT), stages=stages
                )
                for row in page.rows:
                    yield sse.encode(row.encoded, id=str(row.offset))
                after, left = page.next, left - len(page.rows)
                if left == 0:
                    return
                if page.rows:
                    continue
                if is_over:
                    yield sse.encode(b'{"lines":[],"over":true}')
                    return
                if not await self._something_new(run_id, written):
                    yield sse.encode(b'{"lines":[]}')

    async def _something_new(self, run_id: str, written: asyncio.Event) -> bool:
        """Wait for lines, or the end of the run or the server; False if there was nothing for a while."""
        ended = self._manager.until(lambda: self._is_over(run_id) or self._manager.bus.is_draining)
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(written.wait()), group.create_task(ended)]
            done, _ = await asyncio.wait(waits, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return bool(done)

    def _is_over(self, run_id: str) -> bool:
        document = self._manager.head.run(run_id)
        return document is None or is_over(document.run.state)


def _stages_of(query: Mapping[str, str], run: RunContext) -> list[str] | None:
    """Return the stages whose lines are wanted; None: all.

    Raises:
        Problem: The run has no such stage.
    """
    if "stage" not in query:
        return None
    wanted = query["stage"].split(",")
    for name in wanted:
        if name not in run.stage_order:
            raise Problem("bad_query", f"the run has no stage {name!r}; it has {', '.join(run.stage_order)}")
    return wanted


def _last_event(request: Request, after: int) -> int:
    """Return where a browser's EventSource that comes back goes on."""
    told = request.headers.get("last-event-id", "")
    return max(after, int(told)) if _OFFSET.fullmatch(told) else after

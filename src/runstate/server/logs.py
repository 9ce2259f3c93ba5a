"""A run's log over HTTP (PROTOCOL H8): a page after an offset, or followed live as SSE until the run is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runstate.core import sse
from runstate.core.machine import is_terminal
from runstate.pipeline.runlog import RunLogs
from runstate.server.problems import Problem
from runstate.server.query import number_of, query_of
from runstate.state.manager import PipelineStateManager

FOLLOW_LIMIT = 1000  # lines read at once
LOOK_S = 5.0  # of silence before a follower hears that the link is alive
MAX_OFFSET = 2**53 - 1


class Logs:
    """The log routes."""

    def __init__(self, manager: PipelineStateManager, logs: RunLogs) -> None:
        self._manager, self._logs = manager, logs

    async def read(self, request: Request) -> Response:
        """`GET /api/runs/{run_id}/logs`."""
        query = query_of(request, ("after", "limit", "follow"))
        after = number_of(query, "after", default=0, least=0, most=MAX_OFFSET)
        limit = number_of(query, "limit", default=1000, least=1, most=10_000)
        if query.get("follow", "0") not in ("0", "1"):
            raise Problem("bad_query", f"follow is {query['follow']!r}; use 0 or 1")
        run_id = (await self._manager.find_run(request.path_params["run_id"])).key.id
        if query.get("follow") == "1":
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(self._follow(run_id, after), 200, headers, "text/event-stream")
        page = await asyncio.to_thread(self._logs.read, run_id, after=after, limit=limit)
        body = {"first": 0, "next": page.next, "lines": page.lines}
        return Response(msgspec.json.encode(body), 200, {"Cache-Control": "no-cache"}, "application/json")

    async def _follow(self, run_id: str, after: int) -> AsyncIterator[bytes]:
        """Yield an event per line, its id the offset; an event without lines says that the link is alive."""
        with self._logs.following(run_id) as written:
            while not self._manager.bus.is_draining:
                is_over = self._is_over(run_id)
                if is_over:
                    await asyncio.to_thread(self._logs.flush)  # its last lines may still be on their way
                written.clear()
                page = await asyncio.to_thread(self._logs.read, run_id, after=after, limit=FOLLOW_LIMIT)
                for line in page.lines:
                    yield sse.encode(msgspec.json.encode(line), id=str(line["offset"]))
                after = page.next
                if page.lines:
                    continue
                if is_over:
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
        return document is None or is_terminal(document.run.state)

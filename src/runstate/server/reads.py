"""Reading over HTTP (PROTOCOL H1, H2, H5, H6, H7, H10): the body is the stored bytes, the headers prove them."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstate.core.commit import Document
from runstate.core.errors import InvalidValue, NotFound
from runstate.core.machine import phase_of
from runstate.core.times import format_time
from runstate.ports import HistoryEntry, RunsFilter
from runstate.server.problems import Problem
from runstate.server.query import number_of, position_of, query_of
from runstate.server.waiting import OPTIONS, Condition, check_not_draining, condition_of, newer, reach
from runstate.state.manager import PipelineStateManager

_STATUSES = ("idle", "running", "stopped", "error")
_IMMUTABLE = "private, max-age=31536000, immutable"
MAX_REVISION = 2**53 - 1


class Reads:
    """The GET routes over one manager."""

    def __init__(self, manager: PipelineStateManager) -> None:
        self._manager = manager

    async def status(self, request: Request) -> Response:
        """`GET /api/pipeline/status`, `GET /api/pipelines/{name}/status` (H1, D5)."""
        name = request.path_params.get("name")
        return await self._now(request, lambda: self._manager.head.status(name))

    async def pipeline(self, request: Request) -> Response:
        """`GET /api/pipelines/{name}` (H1)."""
        name = request.path_params["name"]
        return await self._now(request, lambda: self._manager.head.pipeline(name))

    async def run(self, request: Request) -> Response:
        """`GET /api/runs/{run_id}` (H1)."""
        run_id = request.path_params["run_id"]
        await self._manager.find_run(run_id)
        return await self._now(request, lambda: self._manager.head.run(run_id), lambda: self._manager.find_run(run_id))

    async def _now(
        self,
        request: Request,
        read: Callable[[], Document | None],
        find: Callable[[], Awaitable[Document]] | None = None,
    ) -> Response:
        """Answer with a document as it is, or as soon as it is newer than the reader's (H2, H3, H4).

        Args:
            find: Finds a document that `read` does not have in memory; None where it always has it.
        """

        async def here() -> Document:
            document = read()
            assert document is not None, "pipelines and their current runs are in memory"
            return document

        condition = condition_of(query_of(request, OPTIONS), request.headers)
        document, is_wanted = await newer(self._manager, condition, read, find or here)
        return self.answer(document, condition, is_wanted=is_wanted)

    def answer(self, document: Document, condition: Condition, *, is_wanted: bool) -> Response:
        """Return the answer to a read of one document: whole, or 304 where its reader has it (H2, H3)."""
        headers = self.headers(document) | {"Cache-Control": "no-cache"}
        if condition.wait_s is not None:
            headers["Preference-Applied"] = f"wait={condition.wait_s}"
        if not is_wanted:
            return Response(None, 304, headers)
        return Response(document.encoded, 200, headers, "application/json")

    async def version(self, request: Request) -> Response:
        """`GET /api/runs/{run_id}/versions/{version}` (H5)."""
        query_of(request)
        head = await self._manager.find_run(request.path_params["run_id"])
        text = request.path_params["version"]
        wanted = int(text) if re.fullmatch(r"[1-9][0-9]{0,15}", text) else 0
        document = head if wanted == head.version else None
        if 0 < wanted < head.version:
            document = await asyncio.to_thread(self._manager.journal.version, head.key, wanted)
        if document is None:
            raise NotFound(f"run {head.key.id} has no version {text}; its versions are 1 to {head.version}")
        headers = self.headers(document) | {"Cache-Control": _IMMUTABLE}
        if not condition_of({}, request.headers).is_met(document):
            return Response(None, 304, headers)
        return Response(document.encoded, 200, headers, "application/json")

    async def history(self, request: Request) -> Response:
        """`GET /api/runs/{run_id}/history` (H6)."""
        query = query_of(request, ("after", "limit", "min"))
        await reach(self._manager, position_of(query, "min"))
        after = number_of(query, "after", default=0, least=0, most=MAX_REVISION)
        limit = number_of(query, "limit", default=100, least=1, most=1000)
        head = await self._manager.find_run(request.path_params["run_id"])
        page = await asyncio.to_thread(self._manager.journal.history, head.key, after=after, limit=limit)
        assert page is not None, "a run that was found has a history"
        body = {
            "floor": page.floor,
            "head": head.version,
            # What is durable and not published yet does not exist for readers (V5).
            "commits": [_entry(entry) for entry in page.entries if entry.version <= head.version],
        }
        return self._json(body)

    async def runs(self, request: Request) -> Response:
        """`GET /api/runs` (H7)."""
        query = query_of(request, ("pipeline", "status", "state", "limit", "before", "min"))
        await reach(self._manager, position_of(query, "min"))
        if query.get("status", "idle") not in _STATUSES:
            raise Problem("bad_query", f"status {query['status']!r} is not known; use {', '.join(_STATUSES)}")
        try:
            phase_of(query.get("state", "idle"))
        except InvalidValue as exc:
            raise Problem("bad_query", str(exc)) from exc
        wanted = RunsFilter(
            pipeline=query.get("pipeline"),
            status=query.get("status"),
            state=query.get("state"),
            before=number_of(query, "before", default=0, least=1, most=MAX_REVISION) or None,
            limit=number_of(query, "limit", default=100, least=1, most=1000),
        )
        cut = await asyncio.to_thread(self._manager.journal.runs, wanted)
        # The cut may be ahead of what has been published; nobody may see it before that.
        await self._manager.until(
            lambda: self._manager.head.revision >= cut.revision or self._manager.trouble is not None
        )
        if self._manager.head.revision < cut.revision:
            raise Problem("unavailable", f"the journal refuses writes: {self._manager.trouble}")
        position = f"{self._manager.head.epoch}.{cut.revision}"
        following = None if cut.next is None else str(cut.next)
        return self._json({"position": position, "runs": [_raw(d) for d in cut.documents], "next": following})

    async def pipelines(self, request: Request) -> Response:
        """`GET /api/pipelines` (H7)."""
        await reach(self._manager, position_of(query_of(request, ("min",)), "min"))
        head = self._manager.head
        return self._json({"position": str(head.position), "pipelines": [_raw(d) for d in head.pipelines()]})

    async def health(self, request: Request) -> Response:
        """`GET /health`: the process answers (H10)."""
        query_of(request)
        return _no_store({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """`GET /ready`: commits work, or why not (H10)."""
        query_of(request)
        check_not_draining(self._manager)
        if self._manager.trouble is not None:
            raise Problem("unavailable", f"the journal refuses writes: {self._manager.trouble}")
        return _no_store({"status": "ready", "position": str(self._manager.head.position)})

    def headers(self, document: Document) -> dict[str, str]:
        """Return the headers of H2."""
        proof = base64.b64encode(bytes.fromhex(document.digest.removeprefix("sha-256:"))).decode()
        return {
            "ETag": f'"{document.position}"',
            "Repr-Digest": f"sha-256=:{proof}:",
            "Runstate-Position": str(self._manager.head.position),
        }

    def _json(self, body: object) -> Response:
        headers = {"Runstate-Position": str(self._manager.head.position), "Cache-Control": "no-cache"}
        return Response(msgspec.json.encode(body), 200, headers, "application/json")


def _entry(entry: HistoryEntry) -> dict[str, object]:
    return {
        "version": entry.version,
        "position": entry.commit_position,
        "at": format_time(entry.at_ms),
        "cause": msgspec.Raw(entry.cause),
        "old_state": entry.old_state,
        "new_state": entry.new_state,
        "digest": entry.digest,
        "patch": None if entry.patch is None else msgspec.Raw(entry.patch),
    }


def _raw(document: Document) -> msgspec.Raw:
    return msgspec.Raw(document.encoded)


def _no_store(body: object) -> Response:
    return Response(msgspec.json.encode(body), 200, {"Cache-Control": "no-store"}, "application/json")

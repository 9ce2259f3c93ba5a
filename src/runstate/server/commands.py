"""Commands over HTTP (PROTOCOL §5): 202 with the document after the commit, or a problem and nothing changed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from runstate.core.canonical import Json
from runstate.core.commit import Document
from runstate.core.errors import AlreadyRunning
from runstate.pipeline.orchestrator import Orchestrator
from runstate.server.problems import Problem
from runstate.server.query import body_of, check_headers, query_of
from runstate.server.reads import Reads


class Commands:
    """The POST routes over one orchestrator."""

    def __init__(self, orchestrator: Orchestrator, reads: Reads) -> None:
        self._orchestrator, self._reads = orchestrator, reads

    async def start(self, request: Request) -> Response:
        """`POST /api/pipeline/start`, `POST /api/pipelines/{name}/start` (C1, C4)."""
        self._orchestrator.manager.head.pipeline(request.path_params.get("name"))
        body = await _command(request, {"metadata": dict, "stages": list, "override": bool})
        try:
            document = await self._orchestrator.start(
                request.path_params.get("name"), metadata=body.get("metadata"), stages=body.get("stages")
            )
        except AlreadyRunning as refusal:
            running = self._orchestrator.manager.head.run(refusal.run_id)
            raise Problem(refusal.code, str(refusal), document=running.encoded if running else None) from refusal
        return self._accepted(document)

    async def stop(self, request: Request) -> Response:
        """`POST /api/runs/{run_id}/stop` (C1, C5)."""
        await self._orchestrator.manager.find_run(request.path_params["run_id"])
        return await self._stop(request, request.path_params["run_id"])

    async def stop_current(self, request: Request) -> Response:
        """`POST /api/pipeline/stop`: the current run of the default pipeline."""
        current = self._orchestrator.manager.head.pipeline().pipeline
        if current.current_run_id is None:
            raise Problem("not_allowed", f"pipeline {current.pipeline} has never run; there is nothing to stop")
        return await self._stop(request, current.current_run_id)

    async def _stop(self, request: Request, run_id: str) -> Response:
        body = await _command(request, {"reason": str})
        return self._accepted(await self._orchestrator.stop(run_id, reason=body.get("reason")))

    def _accepted(self, document: Document) -> Response:
        headers = self._reads.headers(document) | {"Cache-Control": "no-store"}
        return Response(document.encoded, 202, headers, "application/json")


async def _command(request: Request, members: dict[str, type | tuple[type, ...]]) -> dict[str, Json]:
    query_of(request)
    check_headers(request)
    return await body_of(request, members)

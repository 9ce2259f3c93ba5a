"""Files that a run made (PROTOCOL H11): only what a finished stage declared by naming its path in its outputs.

A path is absolute or relative to the run's folder. The URL has it without a leading slash. Whatever it holds is shown
without rights: no sniffing, sandboxed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from runstate.core.canonical import Json
from runstate.core.errors import NotFound
from runstate.core.model import RunContext, is_external
from runstate.server.query import query_of
from runstate.state.manager import PipelineStateManager

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
    "Cache-Control": "no-cache",
    "Accept-Ranges": "none",
}


class Files:
    """The file route."""

    def __init__(self, manager: PipelineStateManager, directory: Path) -> None:
        self._manager, self._directory = manager, directory

    async def read(self, request: Request) -> Response:
        """`GET /api/runs/{run_id}/files/{path}`."""
        query_of(request)
        run = (await self._manager.find_run(request.path_params["run_id"])).run
        if is_external(run):
            # Else whoever may report could name any file of this machine, and read it.
            raise NotFound(f"run {run.run_id} was executed elsewhere, and so its files are not here")
        wanted = request.path_params["path"]
        declared = next((text for text in declared_texts(run) if text.lstrip("/") == wanted), None)
        if declared is None:
            raise NotFound(f"no finished stage of run {run.run_id} declared the file {wanted} in its outputs")
        path = self._directory / str(run.run_id) / declared
        if not await asyncio.to_thread(path.is_file):
            raise NotFound(f"the file {declared} was declared and is not there any more")
        # RFC 9110 14.2 allows to answer in whole, always; a range that is none would be answered in another form than H9's.
        request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
        return FileResponse(path, headers=HEADERS)


def declared_texts(run: RunContext) -> Iterator[str]:
    """Yield every text in the outputs of finished stages; those that are paths of files can be read."""
    for record in run.stages.values():
        if record.state == "success":
            yield from _texts(record.outputs.to_dict())


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)

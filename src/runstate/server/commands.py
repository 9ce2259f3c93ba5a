"""Commands over HTTP (PROTOCOL §5): 202 with the document after the commit, or a problem and nothing changed."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from runstate.core.canonical import Json
from runstate.core.commit import Document
from runstate.core.errors import AlreadyRunning, Blocked, Conflict
from runstate.pipeline.orchestrator import Orchestrator
from runstate.pipeline.schedule import MEMBERS
from runstate.server.idempotency import Command, IdempotencyKeys
from runstate.server.problems import Problem
from runstate.server.query import body_of, query_of
from runstate.server.waiting import field_of
from runstate.state.demands import Demands

_TAG = re.compile(r'"([^"]*)"')


class Taken(NamedTuple):
    """A document after a command's commit."""

    encoded: bytes
    digest: str
    position: str


def taken_as(document: Document) -> Taken:
    """Return what is answered of a document."""
    return Taken(document.encoded, document.digest, str(document.position))


class Commands:
    """The POST routes over one orchestrator."""

    def __init__(self, orchestrator: Orchestrator, keys: IdempotencyKeys) -> None:
        self._orchestrator, self._manager, self._keys = orchestrator, orchestrator.manager, keys

    async def start(self, request: Request) -> Response:
        """`POST /api/pipeline/start`, `POST /api/pipelines/{name}/start` (C1, C4)."""
        name = request.path_params.get("name")
        owner = self._manager.head.pipeline(name).key.id
        body = await body_with(request, {"metadata": dict, "stages": list, "override": bool})

        async def start(demands: Demands) -> Document:
            return await self._orchestrator.start(
                owner,
                metadata=body.get("metadata"),
                stages=body.get("stages"),
                override=body.get("override", False),
                by=who(request),
                demands=demands,
            )

        return await self.answer(request, body, start, lambda: self._manager.head.status(owner))

    async def set_schedule(self, request: Request) -> Response:
        """`PUT /api/pipelines/{name}/schedule` (C1)."""
        owner = self._manager.head.pipeline(request.path_params["name"]).key.id
        body = await body_with(request, MEMBERS)

        async def set_schedule(demands: Demands) -> Document:
            return await self._orchestrator.settings.set_schedule(owner, body, by=who(request), demands=demands)

        return await self.answer(request, body, set_schedule, lambda: self._manager.head.pipeline(owner))

    async def acknowledge(self, request: Request) -> Response:
        """`POST /api/pipelines/{name}/acknowledge` (C1)."""
        owner = self._manager.head.pipeline(request.path_params["name"]).key.id
        body = await body_with(request, {"reason": str})

        async def acknowledge(demands: Demands) -> Document:
            reason = body.get("reason", "")
            return await self._orchestrator.settings.acknowledge(owner, reason, by=who(request), demands=demands)

        return await self.answer(request, body, acknowledge, lambda: self._manager.head.pipeline(owner))

    async def stop(self, request: Request) -> Response:
        """`POST /api/runs/{run_id}/stop` (C1, C5)."""
        return await self._stop(request, await self._manager.find_run(request.path_params["run_id"]))

    async def stop_current(self, request: Request) -> Response:
        """`POST /api/pipeline/stop`: the current run of the default pipeline."""
        current = self._manager.head.pipeline().pipeline
        if current.current_run_id is None:
            raise Problem("not_allowed", f"pipeline {current.pipeline} has never run; there is nothing to stop")
        return await self._stop(request, await self._manager.find_run(current.current_run_id))

    async def _stop(self, request: Request, found: Document) -> Response:
        run_id = found.key.id
        body = await body_with(request, {"reason": str})

        async def stop(demands: Demands) -> Document:
            return await self._orchestrator.stop(run_id, reason=body.get("reason"), by=who(request), demands=demands)

        return await self.answer(request, body, stop, lambda: self._manager.head.run(run_id) or found)

    async def retry(self, request: Request) -> Response:
        """`POST /api/runs/{run_id}/retry` (C1, C6)."""
        run_id = request.path_params["run_id"]
        kept = await self._manager.find_run(run_id)
        body = await body_with(request, {})

        async def retry(demands: Demands) -> Document:
            return await self._orchestrator.retry(run_id, by=who(request), demands=demands)

        return await self.answer(request, body, retry, lambda: self._manager.head.run(run_id) or kept)

    async def answer(
        self, request: Request, body: dict[str, Json], command: Command, current: Callable[[], Document | None]
    ) -> Response:
        """Run a command and answer with the document after its commit, or show why not."""
        return accepted(await self.taken(request, body, command, current))

    async def taken(
        self, request: Request, body: dict[str, Json], command: Command, current: Callable[[], Document | None]
    ) -> Taken:
        """Run a command, at most once per key, and return the document after its commit.

        Args:
            current: Finds what is shown where the document has moved on (C2).
        """
        try:
            document, kept = await self._keys.run(request, body, _demands(request), command)
        except AlreadyRunning as refusal:
            run_id = refusal.run_id
            await self._shown(lambda: self._manager.head.run(run_id) is not None)
            running = self._manager.head.run(run_id)
            raise Problem(refusal.code, str(refusal), document=running.encoded if running else None) from refusal
        except Blocked as refusal:
            # That it was refused is committed, and readers see it.
            owner = self._manager.head.pipeline(refusal.pipeline)
            raise Problem(refusal.code, str(refusal), document=owner.encoded) from refusal
        except Conflict as refusal:
            revision = refusal.revision
            await self._shown(lambda: self._manager.head.revision >= revision)
            there = current()
            raise Problem(refusal.code, str(refusal), document=there.encoded if there else None) from refusal
        if kept is not None:
            return Taken(bytes(kept.document), kept.digest, kept.position)
        assert document is not None, "a command that was run has its document"
        return taken_as(document)

    async def _shown(self, condition: Callable[[], bool]) -> None:
        """Wait until what refused the command is durable: nothing else may be shown (V5)."""
        await self._manager.until(lambda: condition() or self._manager.trouble is not None)
        if not condition():
            raise Problem("unavailable", f"the journal refuses writes: {self._manager.trouble}")


def accepted(taken: Taken, status: int = 202) -> Response:
    """Return the answer to a command that was taken (PROTOCOL C1)."""
    proof = base64.b64encode(bytes.fromhex(taken.digest.removeprefix("sha-256:"))).decode()
    headers = {
        "ETag": f'"{taken.position}"',
        "Repr-Digest": f"sha-256=:{proof}:",
        "Runstate-Position": taken.position,
        "Cache-Control": "no-store",
    }
    return Response(taken.encoded, status, headers, "application/json")


def _demands(request: Request) -> Demands:
    header = field_of(request.headers, "if-match")
    if header is None or header.strip() == "*":
        return Demands()
    # RFC 9110 13.1.1: If-Match compares strongly, so a weak tag never matches.
    strong = [tag for tag in header.split(",") if not tag.strip().startswith("W/")]
    return Demands(frozenset(_TAG.findall(",".join(strong))))


def who(request: Request) -> str | None:
    """Return the name of the token that came with a request; None where nobody needs one."""
    return getattr(request.scope.get("runstate.token"), "name", None)


async def body_with(request: Request, members: dict[str, type | tuple[type, ...]]) -> dict[str, Json]:
    """Return the body of a command, which takes no query; raises what `body_of` raises."""
    query_of(request)
    return await body_of(request, members)

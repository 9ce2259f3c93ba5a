"""Runs executed elsewhere, over HTTP (PROTOCOL C8): one route opens a run, one takes its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from runstate.core.canonical import Json
from runstate.core.commit import Document
from runstate.core.errors import ReporterRefused
from runstate.core.model import RunContext, decode_run
from runstate.core.reports import ReportedFact, read_facts
from runstate.pipeline.external import ExternalRuns
from runstate.pipeline.leases import LEASE_S
from runstate.pipeline.orchestrator import user_name
from runstate.server.commands import Commands, accepted, body_with, taken_as, who
from runstate.server.problems import Problem
from runstate.state.demands import Demands
from runstate.state.manager import PipelineStateManager

TOKEN = "Runstate-Token"  # noqa: S105  # because it names the header
MAX_SEQ = 2**53 - 1


class InProcess:
    """The door of a `Runstate` in this process, for `runstate.client.track`: no HTTP, the same facts."""

    def __init__(self, external: ExternalRuns) -> None:
        self._external = external

    async def open_run(
        self, pipeline: str, *, stages: Sequence[str], metadata: Mapping[str, Json], lease_s: float, override: bool
    ) -> tuple[RunContext, str]:
        """Open a run; return its document and its fencing token."""
        document = await self._external.open(
            pipeline, stages=stages, metadata=metadata, lease_s=lease_s, override=override, by=user_name()
        )
        token = self._external.token(document.key.id)
        assert token is not None, "it was made with the run"
        return document.run, token

    async def report(self, run_id: str, token: str, seq: int, facts: Sequence[ReportedFact]) -> RunContext:
        """Take a report; return the run's document after it."""
        return (await self._external.report(run_id, token, seq, facts)).run


class External:
    """The routes over one engine's external runs."""

    def __init__(self, external: ExternalRuns, commands: Commands, manager: PipelineStateManager) -> None:
        self._external, self._commands, self._manager = external, commands, manager

    async def open(self, request: Request) -> Response:
        """`POST /api/pipelines/{name}/runs`: 201 with the document, and the fencing token in `Runstate-Token`."""
        name = request.path_params["name"]
        body = await body_with(request, {"stages": list, "metadata": dict, "lease_s": (int, float), "override": bool})
        if "stages" not in body:
            raise Problem(
                "invalid", 'member stages is missing; it lists what the run will go through, such as ["load"]'
            )

        async def open_run(demands: Demands) -> Document:
            return await self._external.open(
                name,
                stages=body["stages"],
                metadata=body.get("metadata"),
                lease_s=body.get("lease_s", LEASE_S),
                override=body.get("override", False),
                by=who(request),
                demands=demands,
            )

        taken = await self._commands.taken(request, body, open_run, lambda: self._current(name))
        token = self._external.token(decode_run(taken.encoded).run_id or "")
        if token is None:
            raise Problem("not_allowed", "the run that this key opened is long over, and its token is no longer known")
        answer = accepted(taken, 201)
        answer.headers[TOKEN] = token
        return answer

    async def report(self, request: Request) -> Response:
        """`POST /api/runs/{run_id}/facts`: 200 with the document after the facts."""
        run_id = request.path_params["run_id"]
        body = await body_with(request, {"seq": int, "facts": list})
        token = request.headers.get(TOKEN)
        if token is None:
            raise ReporterRefused(
                f"the header {TOKEN} is missing; it says what the answer said that opened run {run_id}"
            )
        if "seq" not in body or "facts" not in body:
            raise Problem("invalid", "members seq and facts are needed: a number that counts up by one, and a list")
        seq = body["seq"]
        if isinstance(seq, bool) or not 0 <= seq <= MAX_SEQ:
            raise Problem("invalid", f"member seq is {seq}; a whole number from 0 is needed, one more than the last")
        document = await self._external.report(run_id, token, seq, read_facts(body["facts"]))
        return accepted(taken_as(document), 200)

    def _current(self, name: str) -> Document | None:
        known = {document.key.id for document in self._manager.head.pipelines()}
        return self._manager.head.status(name) if name in known else None

"""`runstate.client.connect`: what a program may ask a server; how it watches one stands in `client/watches.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from random import random as system_random
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from runstate.client.clock import Clock, MonotonicClock
from runstate.client.http import TIMEOUT_S, Http, PipelineReceipt, Receipt, RunList
from runstate.client.reporting import LEASE_S, PATIENCE_S, PROGRESS_INTERVAL_S
from runstate.client.track import TrackedRun, track
from runstate.client.transports import LOOPBACK
from runstate.client.view import View
from runstate.client.watches import Watches
from runstate.core.canonical import Json
from runstate.core.errors import InvalidValue
from runstate.core.link import Transport
from runstate.core.model import PipelineDocument, RunContext
from runstate.core.reports import ReportedFact

TRANSPORTS: tuple[Transport, ...] = ("websocket", "sse", "long-poll")


@asynccontextmanager
async def connect(
    url: str,
    token: str | None = None,
    *,
    transports: tuple[Transport, ...] = TRANSPORTS,
    delta: bool = True,
    clock: Clock | None = None,
    random: Callable[[], float] = system_random,
) -> AsyncGenerator[Client]:
    """Give a client of the server at `url`; nothing is sent before it is asked something.

    Args:
        url: Where the server is, such as `http://127.0.0.1:8642`, or below a path of another application.
        token: Sent with every request, stream and poll.
        transports: For `watch`, in order of preference; it falls back by itself, and finds its way up again.
        delta: Take patches where the server has them; each is verified, and a wrong one ends that (F10).
        clock: Time, for tests.
        random: Drawn evenly from [0, 1), for tests.

    Raises:
        InvalidValue: `url` is not one.
    """
    base = _base(url)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    failure: BaseException | None = None
    async with (
        httpx.AsyncClient(
            base_url=base, headers=headers, timeout=TIMEOUT_S, trust_env=base.host not in LOOPBACK
        ) as http,
        asyncio.TaskGroup() as followers,
    ):
        clock = clock or MonotonicClock()
        watches = Watches(http, followers, transports=transports, delta=delta, clock=clock, random=random)
        try:
            yield Client(Http(http, clock=clock, random=random), watches)
        except BaseException as exc:  # noqa: BLE001 - goes on below, outside the group that would wrap it
            failure = exc
        watches.end()
    if failure is not None:
        raise failure


class Client:
    """A program's side of one server. Every request raises ServerUnreachable or Problem where it fails."""

    def __init__(self, http: Http, watches: Watches) -> None:
        self._http, self._watches = http, watches

    async def get_status(self, pipeline: str | None = None) -> RunContext:
        """Return the current run of a pipeline (None: of the first), or its status document if it never ran."""
        return await self._http.run(
            "api/pipeline/status" if pipeline is None else f"api/pipelines/{_part(pipeline)}/status"
        )

    async def get_pipeline(self, pipeline: str) -> PipelineDocument:
        """Return a pipeline's document."""
        return await self._http.pipeline(f"api/pipelines/{_part(pipeline)}")

    async def pipelines(self) -> tuple[PipelineDocument, ...]:
        """Return every pipeline's document, of one consistent cut (PROTOCOL H7)."""
        return await self._http.pipelines()

    async def get_run(self, run_id: str) -> RunContext:
        """Return a run."""
        return await self._http.run(f"api/runs/{_part(run_id)}")

    async def get_version(self, run_id: str, version: int) -> RunContext:
        """Return a run as it was at `version`."""
        return await self._http.version(f"api/runs/{_part(run_id)}/versions/{version}")

    async def history(self, run_id: str, *, after: int | None = None, limit: int | None = None) -> dict[str, Json]:
        """Return a page of a run's commits (PROTOCOL H6)."""
        return await self._http.object(f"api/runs/{_part(run_id)}/history", {"after": after, "limit": limit})

    async def compact(self, *, keep_versions: int | None = None, keep_days: float | None = None) -> dict[str, Json]:
        """Thin the server's history beside its traffic; return what went: `versions`, `commits`, `floor`, `damaged`."""
        asked = {"keep_versions": keep_versions, "keep_days": keep_days}
        return await self._http.upkeep("api/journal/compact", {k: v for k, v in asked.items() if v is not None})

    async def logs(
        self,
        run_id: str,
        *,
        after: int | None = None,
        limit: int | None = None,
        tail: int | None = None,
        stages: Sequence[str] | None = None,
    ) -> dict[str, Json]:
        """Return a page of a run's log lines after an offset, or the last `tail` of them (PROTOCOL H8).

        A line with `gap` stands where lines are missing. `stages` leaves out the lines of others.
        """
        asked = {"after": after, "limit": limit, "tail": tail, "stage": None if stages is None else ",".join(stages)}
        return await self._http.log(f"api/runs/{_part(run_id)}/logs", asked)

    async def follow_logs(
        self, run_id: str, *, after: int = 0, stages: Sequence[str] | None = None
    ) -> AsyncGenerator[dict[str, Json]]:
        """Yield a run's log lines after an offset, as they are written, until the run is over or the server ends.

        A line with `gap` stands where lines are missing: dropped to keep the log in its bounds, or lost.

        Raises:
            ServerUnreachable: The connection broke; go on after the last line's `offset`.
        """
        async for line in self._http.log_lines(f"api/runs/{_part(run_id)}/logs", after, stages):
            yield line

    async def webhooks(self) -> dict[str, Json]:
        """Return who is told what happens, what waits for its next try, and what was given up."""
        return await self._http.log("api/webhooks", {})

    async def redeliver(self, webhook: str) -> int:
        """Try again what was given up for a webhook; return how many events those are."""
        return int((await self._http.upkeep(f"api/webhooks/{_part(webhook)}/redeliver", {}))["events"])

    async def runs(
        self,
        *,
        pipeline: str | None = None,
        status: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        before: str | None = None,
    ) -> RunList:
        """Return a page of runs, newest first (PROTOCOL H7)."""
        asked = {"pipeline": pipeline, "status": status, "state": state, "limit": limit, "before": before}
        return await self._http.runs(asked)

    async def start(
        self,
        pipeline: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        stages: Sequence[str] | None = None,
        *,
        override: bool = False,
        if_match: str | None = None,
    ) -> Receipt:
        """Start a run of a pipeline (None: of the first), of all stages or of some; return once every open watch shows it.

        Like every command it is sent again when no answer comes or the server is away for a moment, and is done once (C3).

        Args:
            override: Start also while the pipeline is degraded or unstable and its run policy is `gated`.
            if_match: Only if this is still the position of what would be replaced: the status document (C2).

        Raises:
            InvalidValue: `metadata` is not a JSON object, or `stages` are not names; nothing was sent.
        """
        body: dict[str, Json] = {} if metadata is None else {"metadata": _members(metadata)}
        if stages is not None:
            body["stages"] = _names(stages)
        if override:
            body["override"] = True
        path = "api/pipeline/start" if pipeline is None else f"api/pipelines/{_part(pipeline)}/start"
        return await self._command(path, body, if_match)

    async def stop(self, run_id: str, reason: str | None = None, *, if_match: str | None = None) -> Receipt:
        """Ask a run to stop; it is stopped when its worker is dead."""
        body: dict[str, Json] = {} if reason is None else {"reason": reason}
        return await self._command(f"api/runs/{_part(run_id)}/stop", body, if_match)

    async def retry(self, run_id: str, *, if_match: str | None = None) -> Receipt:
        """Go on with a run that failed or was stopped, from the stage that did not finish."""
        return await self._command(f"api/runs/{_part(run_id)}/retry", {}, if_match)

    def track(
        self,
        pipeline: str,
        *,
        stages: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
        lease_s: float = LEASE_S,
        override: bool = False,
        progress_interval_s: float = PROGRESS_INTERVAL_S,
        patience_s: float = PATIENCE_S,
    ) -> AbstractAsyncContextManager[TrackedRun]:
        """Execute a run in this program and report it to the server, as long as the block lasts; see `client/track.py`."""
        return track(
            self,
            pipeline,
            stages=stages,
            metadata=metadata,
            lease_s=lease_s,
            override=override,
            progress_interval_s=progress_interval_s,
            patience_s=patience_s,
        )

    async def open_run(
        self,
        pipeline: str,
        *,
        stages: Sequence[str],
        metadata: Mapping[str, Any],
        lease_s: float = LEASE_S,
        override: bool = False,
    ) -> tuple[RunContext, str]:
        """Open a run that this program executes; return its document and its fencing token (PROTOCOL C8)."""
        body = {"stages": _names(stages), "metadata": _members(metadata), "lease_s": lease_s, "override": override}
        return await self._http.open_run(f"api/pipelines/{_part(pipeline)}/runs", body)

    async def report(self, run_id: str, token: str, seq: int, facts: Sequence[ReportedFact]) -> RunContext:
        """Report a run, once; the same `seq` may be sent again. Return its document after the report."""
        body = {"seq": seq, "facts": msgspec.to_builtins(facts)}
        return await self._http.report(f"api/runs/{_part(run_id)}/facts", token, body)

    async def set_schedule(
        self,
        pipeline: str,
        *,
        cron: str | None = None,
        tz: str | None = None,
        enabled: bool | None = None,
        missed: str | None = None,
        overlap: str | None = None,
        if_match: str | None = None,
    ) -> PipelineReceipt:
        """Set a pipeline's schedule, or parts of it; what is None stays as it is."""
        asked = {"cron": cron, "tz": tz, "enabled": enabled, "missed": missed, "overlap": overlap}
        members = {name: value for name, value in asked.items() if value is not None}
        return await self._change("PUT", f"api/pipelines/{_part(pipeline)}/schedule", members, if_match)

    async def acknowledge(self, pipeline: str, reason: str, *, if_match: str | None = None) -> PipelineReceipt:
        """Take note of what a pipeline's runs did, so that they count no more for its health."""
        return await self._change("POST", f"api/pipelines/{_part(pipeline)}/acknowledge", {"reason": reason}, if_match)

    async def _change(self, method: str, path: str, body: Mapping[str, Json], if_match: str | None) -> PipelineReceipt:
        receipt = await self._http.pipeline_command(method, path, body, if_match=if_match)
        await self._watches.reach(receipt.position)
        return receipt

    async def _command(self, path: str, body: Mapping[str, Json], if_match: str | None) -> Receipt:
        receipt = await self._http.command(path, body, if_match=if_match)
        await self._watches.reach(receipt.position)
        return receipt

    async def watch(self, *topics: str) -> AsyncGenerator[View]:
        """Yield what is so now, and again whenever the documents, the position or the state of the link change.

        Connections that break are made again for ever; a view tells whether it can be trusted (`view.link`). Whoever is
        slower than the changes is given the latest. Before the first documents there is a view only if there is trouble.

        Args:
            topics: `*` (the default), `pipeline:<name>`, `run:<id>`.

        Raises:
            Problem: The server refuses this subscription, or the token it begins with.
        """
        async with aclosing(self._watches.watch(topics or ("*",))) as views:
            async for view in views:
                yield view


def _base(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url.rstrip("/") + "/")
    except httpx.InvalidURL as exc:
        raise InvalidValue(f"{url!r} is not the address of a server: {exc}") from exc
    if base.scheme not in ("http", "https") or not base.host:
        raise InvalidValue(f"{url!r} is not the address of a server; it looks like http://127.0.0.1:8642")
    return base


def _members(metadata: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidValue(f"metadata is a mapping of names to JSON values, not {metadata!r}")
    return dict(metadata)


def _names(stages: Sequence[str]) -> list[str]:
    if isinstance(stages, str) or not isinstance(stages, Sequence):
        raise InvalidValue(f"stages is a list of stage names, not {stages!r}")
    return list(stages)


def _part(name: str) -> str:
    return quote(name, safe="")

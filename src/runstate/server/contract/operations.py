"""What can be asked over HTTP, one entry per route: `tests/meta/test_contract.py` fails for a route without one.

Law: a table and nothing else. An entry says what may be sent and which answers come; that 400 (`bad_query`), 401, 403,
404 and 405 may come everywhere below `/api` is said once, in `openapi.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from runstate.core.machine import Status
from runstate.core.reader import Mode
from runstate.server.contract.schemas import POSITION, Schema, many, one_of, record, ref, text, whole
from runstate.server.external import MAX_SEQ
from runstate.server.maintenance import MAX_DAYS, MAX_VERSIONS

MAX_EXACT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header."""

    name: str
    schema: Schema
    about: str
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes when all is well."""

    schema: Schema | None = None  #: None: no body.
    kind: str = "application/json"
    status: int = 200
    proves: bool = False  #: Whether ETag and Repr-Digest come with it (H2).


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    about: str  #: One sentence; the numbers are the rules of docs/protocol.md.
    answer: Answer
    tag: str
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] | None = None  #: The members of the request's JSON object, each optional; None: no body.
    needed: tuple[str, ...] = ()  #: Members of the body that are not optional.
    codes: tuple[str, ...] = ()  #: Problems beside those that may come everywhere.
    unchanged: bool = field(default=False)  #: Whether 304 may come.


def _document(name: str, status: int = 200) -> Answer:
    return Answer(ref(name), status=status, proves=True)


_POSITION = text(POSITION)
_MIN = Parameter("min", _POSITION, "The server's head is not older than this (H4).")
_NOW = (
    _MIN,
    Parameter("after", _POSITION, "Answer as soon as the document is newer (H3)."),
    Parameter("wait", whole(), "Seconds to wait for that; more than 60 is taken as 60 (H3)."),
    Parameter("If-None-Match", text(), "What the reader has; 304 where nothing is newer (H2).", "header"),
    Parameter("Prefer", text(), "`wait=N`: as `wait`, from the tag on (RFC 7240, H3).", "header"),
)
_COMMAND = (
    Parameter("If-Match", text(), "Refuse with 412 if the document has moved (C2).", "header"),
    Parameter("Idempotency-Key", text(), "The same key and body get the first answer again (C3).", "header"),
)
_STREAM = (
    Parameter("topics", text(), "Comma list of *, pipeline:<name>, run:<id>; missing: *."),
    Parameter("resume", _POSITION, "Go on after this position (F6)."),
    Parameter("delta", one_of(["0", "1"]), "1: patches where the reader has the base (F9)."),
    Parameter("mode", one_of(get_args(Mode)), "Each version, or the latest (F8)."),
    Parameter("Last-Event-ID", _POSITION, "As `resume`; what a browser sends by itself (F7).", "header"),
)
_LIMIT = Parameter("limit", whole(1, 1000), "At most so many; 100 where it is missing.")
_STATUS = Parameter("status", one_of(get_args(Status)), "Only runs of this coarse word (D3).")
_WAITS = ("behind", "unavailable")
_CHANGES = ("bad_json", "not_allowed", "conflict", "too_large", "unsupported_media_type", "invalid", "unavailable")
_STARTS = (*_CHANGES, "already_running", "blocked")


def _start(about: str) -> Operation:
    body = {"metadata": {"type": "object"}, "stages": many(text()), "override": {"type": "boolean"}}
    return Operation(about, _document("Run", 202), "commands", _COMMAND, body, codes=_STARTS)


def _stop(about: str) -> Operation:
    return Operation(about, _document("Run", 202), "commands", _COMMAND, {"reason": text()}, codes=_CHANGES)


def _read(about: str, name: str) -> Operation:
    return Operation(about, _document(name), "reading", _NOW, codes=_WAITS, unchanged=True)


def _plain(
    about: str, schema: Schema, *codes: str, parameters: tuple[Parameter, ...] = (), tag: str = "reading"
) -> Operation:
    return Operation(about, Answer(schema), tag, parameters, codes=codes)


OPERATIONS: Mapping[str, Operation] = {
    "GET /api/pipeline/status": _read("The document of the default pipeline's current run (H1, D5).", "Run"),
    "POST /api/pipeline/start": _start("Start a run of the default pipeline (C1, C4)."),
    "POST /api/pipeline/stop": _stop("Ask the default pipeline's current run to stop (C5)."),
    "GET /api/pipelines": _plain("All pipelines at one position (H7).", ref("Pipelines"), *_WAITS, parameters=(_MIN,)),
    "GET /api/pipelines/{name}": _read("A pipeline's document (H1, D8).", "Pipeline"),
    "GET /api/pipelines/{name}/status": _read("The document of a pipeline's current run (H1, D5).", "Run"),
    "POST /api/pipelines/{name}/start": _start("Start a run (C1, C4)."),
    "PUT /api/pipelines/{name}/schedule": Operation(
        "Set what a person wants of the schedule; it wins over the definition until that changes (§5).",
        _document("Pipeline", 202),
        "commands",
        _COMMAND,
        {
            "cron": text(),
            "tz": text(),
            "enabled": {"type": "boolean"},
            "missed": one_of(["skip", "run_once"]),
            "overlap": one_of(["skip", "queue"]),
        },
        codes=_CHANGES,
    ),
    "POST /api/pipelines/{name}/acknowledge": Operation(
        "Clear a health block (§5).",
        _document("Pipeline", 202),
        "commands",
        _COMMAND,
        {"reason": text()},
        ("reason",),
        _CHANGES,
    ),
    "POST /api/pipelines/{name}/runs": Operation(
        "Open a run that is executed elsewhere; its token comes in the header Runstate-Token (C8).",
        _document("Run", 201),
        "runs executed elsewhere",
        _COMMAND,
        {
            "stages": many(text()),
            "metadata": {"type": "object"},
            "lease_s": {"type": "number"},
            "override": {"type": "boolean"},
        },
        ("stages",),
        _STARTS,
    ),
    "POST /api/runs/{run_id}/facts": Operation(
        "Report what became of such a run: all facts or none (C8).",
        _document("Run"),
        "runs executed elsewhere",
        (Parameter("Runstate-Token", text(), "What the opening answered with.", "header"),),
        {"seq": whole(0, MAX_SEQ), "facts": many(ref("Fact"))},
        ("seq", "facts"),
        _CHANGES,
    ),
    "GET /api/runs": _plain(
        "Runs at one position, newest first (H7).", ref("Runs"), *_WAITS,
        parameters=(
            Parameter("pipeline", text(), "Only runs of this pipeline."),
            _STATUS,
            Parameter("state", text(), "Only runs in this state (D2)."),
            _LIMIT,
            Parameter("before", whole(1, MAX_EXACT), "The last page's `next`."),
            _MIN,
        ),
    ),
    "GET /api/runs/{run_id}": _read("A run's document (H1).", "Run"),
    "GET /api/runs/{run_id}/versions/{version}": Operation(
        "A run's document as it was at a version (H5).", _document("Run"), "reading",
        (Parameter("If-None-Match", text(), "What the reader has.", "header"),),
        codes=("compacted",), unchanged=True,
    ),
    "GET /api/runs/{run_id}/history": _plain(
        "A run's commits, oldest first (H6).", ref("History"), *_WAITS,
        parameters=(Parameter("after", whole(0, MAX_EXACT), "Only versions after this one."), _LIMIT, _MIN),
    ),
    "POST /api/runs/{run_id}/stop": _stop("Ask a run to stop; it is stopped only when nothing of it is alive (C5)."),
    "POST /api/runs/{run_id}/retry": Operation(
        "Go on from the stage that did not finish (C6).", _document("Run", 202), "commands", _COMMAND, {}, codes=_STARTS
    ),
    "GET /api/runs/{run_id}/logs": _plain(
        "A run's log lines after an offset; with follow=1 as server-sent events (H8).", ref("Logs"),
        parameters=(
            Parameter("after", whole(0, MAX_EXACT), "Only lines after this offset."),
            Parameter("limit", whole(1, 10_000), "At most so many; 1 000 where it is missing."),
            Parameter("follow", one_of(["0", "1"]), "1: an event per line, live, until the run is over."),
            Parameter("stage", text(), "Comma list: only lines of these stages, and gaps."),
            Parameter("tail", whole(1, 10_000), "The last so many instead; not with the others but `stage`."),
            Parameter("Last-Event-ID", whole(0, MAX_EXACT), "With follow=1: as `after`, if later.", "header"),
        ),
    ),
    "GET /api/runs/{run_id}/files/{path}": Operation(
        "A file that a finished stage declared in its outputs (H11).", Answer({}, "*/*"), "reading"
    ),
    "POST /api/journal/compact": Operation(
        "Thin the history: at least one of the two says what stays.", Answer(ref("Compacted")), "upkeep",
        body={"keep_versions": whole(1, MAX_VERSIONS), "keep_days": {"type": "number", "minimum": 0, "maximum": MAX_DAYS}},
        codes=("bad_json", "too_large", "unsupported_media_type", "invalid", "unavailable"),
    ),
    "GET /api/webhooks": _plain(
        "Who is told what happens, what waits for its next try, and what was given up.", ref("Webhooks"), tag="upkeep"
    ),
    "POST /api/webhooks/{id}/redeliver": Operation(
        "Try again what was given up.", Answer(record({"events": whole()})), "upkeep", body={},
        codes=("bad_json", "too_large", "unsupported_media_type", "invalid", "unavailable"),
    ),
    "POST /api/session": Operation(
        "Trade a token for a browser's cookie (§6).", Answer(status=204), "access",
        body={"token": text()}, needed=("token",),
        codes=("bad_json", "too_large", "unsupported_media_type", "invalid"),
    ),
    "GET /api/stream": Operation(
        "The frames of asyncapi.json as server-sent events (F1–F9).", Answer(text(), "text/event-stream"), "streams",
        _STREAM, codes=("behind",),
    ),
    "GET /api/openapi.json": _plain("This document.", {"type": "object"}, tag="upkeep"),
    "GET /api/asyncapi.json": _plain("The streams of this server, as AsyncAPI 3.", {"type": "object"}, tag="upkeep"),
    "GET /health": _plain("The process answers (H10).", ref("Alive"), tag="upkeep"),
    "GET /ready": _plain("Commits work, or why not (H10).", ref("Ready"), "unavailable", tag="upkeep"),
}  # fmt: skip

"""JSON Schema (2020-12) of everything that goes over the wire: documents, frames, lists, problems (PROTOCOL §2–§4).

Law: what the code knows is taken from the code: the documents' members from their types, states, reasons and codes from
the tables that decide. `tests/server/test_contract.py` holds the rest against what a server really says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from msgspec import inspect

from runstate.core import frames
from runstate.core.canonical import FrozenJson
from runstate.core.machine import Phase
from runstate.core.model import PipelineDocument, RunContext
from runstate.core.reader import Mode
from runstate.core.reports import ReportedFact
from runstate.server.problems import STATUS_OF

Schema = dict[str, Any]

EPOCH = r"^(0|[1-9][0-9]{0,14})-[0-9a-f]{8}$"
POSITION = EPOCH.removesuffix("$") + r"\.(0|[1-9][0-9]{0,14})$"
DIGEST = r"^sha-256:[0-9a-f]{64}$"
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"


def ref(name: str, root: str = "#/components/schemas/") -> Schema:
    """Return a reference to the schema of that name."""
    return {"$ref": root + name}


def text(pattern: str | None = None, **more: object) -> Schema:
    """Return the schema of a text."""
    return {"type": "string", **({} if pattern is None else {"pattern": pattern}), **more}


def whole(least: int = 0, most: int | None = None, **more: object) -> Schema:
    """Return the schema of a whole number."""
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most}), **more}


def one_of(words: Sequence[str]) -> Schema:
    """Return the schema of one of these words."""
    return {"type": "string", "enum": list(words)}


def maybe(schema: Schema) -> Schema:
    """Return the schema of that or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": schema}


def record(members: Mapping[str, Schema], optional: Sequence[str] = (), about: str = "") -> Schema:
    """Return the schema of an object that has all `members` but the `optional` ones always."""
    required = [name for name in members if name not in optional]
    described = {"description": about} if about else {}
    return {"type": "object", **described, "properties": dict(members), "required": required}


def all_schemas() -> dict[str, Schema]:
    """Return every schema by name; they refer to each other below `#/components/schemas/`."""
    return {**_documents(), **_frames(), **_answers()}


def _documents() -> dict[str, Schema]:
    """Return the documents as their types have them; every member is always there (PROTOCOL §2)."""
    schemas = {"Run": _of_struct(RunContext), "Pipeline": _of_struct(PipelineDocument)}
    run, pipeline = schemas["Run"]["properties"], schemas["Pipeline"]["properties"]
    phases = "|".join(phase.value for phase in Phase if phase is not Phase.RUNNING)
    run["state"] = text(rf"^({phases}|running_.+)$")
    run["schema"] = pipeline["schema"] = {"const": 1}
    run["epoch"] = pipeline["epoch"] = text(EPOCH)
    return schemas


def schema_of(kind: object) -> Schema:
    """Return the schema of what a peer may send as that type; members with a default may be missing."""
    return _of_type(inspect.type_info(kind), is_sent=True)


def _of_struct(kind: type) -> Schema:
    return _of_type(inspect.type_info(kind))


def _record_of(found: inspect.StructType, *, is_sent: bool) -> Schema:
    members = {field.encode_name: _of_type(field.type, is_sent=is_sent) for field in found.fields}
    optional = [field.encode_name for field in found.fields if is_sent and not field.required]
    if found.tag_field is not None:
        members = {found.tag_field: {"const": found.tag}, **members}
    return record(members, optional) | {"additionalProperties": not found.forbid_unknown_fields}


def _of_type(kind: inspect.Type, *, is_sent: bool = False) -> Schema:
    match kind:
        case inspect.StructType():
            return _record_of(kind, is_sent=is_sent)
        case inspect.UnionType():
            return {"anyOf": [_of_type(one, is_sent=is_sent) for one in kind.types]}
        case inspect.LiteralType():
            return {"enum": list(kind.values)}
        case inspect.VarTupleType():
            return many(_of_type(kind.item_type, is_sent=is_sent))
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _of_type(kind.value_type, is_sent=is_sent)}
        case inspect.CustomType(cls=cls) if cls is FrozenJson:
            return {"type": "object"}
        case inspect.AnyType():
            return {}
        case _:
            return {"type": _PLAIN[type(kind)]}


_PLAIN: Mapping[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
}


def _frames() -> dict[str, Schema]:
    position, state = text(POSITION), text()
    digest, time = text(DIGEST), text(TIME)
    patch = many(record({"op": one_of(["add", "replace", "remove"]), "path": text(), "value": {}}, optional=["value"]))
    base = record({"version": whole(1), "digest": digest}, about="The version that the patch starts from (F9).")
    moved = {"old_state": maybe(state), "new_state": state}
    common = {"position": position, "version": whole(1), "digest": digest, "timestamp": time}

    def change(event: str, kind: str, data: Schema) -> Schema:
        what = {"run_id": text(), "stage": {"const": "pipeline"}} if kind == "run" else {"pipeline": text()}
        return record({"event": {"const": event}, "kind": {"const": kind}, **what, **common, "data": data})

    gone = {"event": {"const": "gone"}, "kind": one_of(["run", "pipeline"]), "run_id": text(), "pipeline": text()}
    changes = {
        "RunChange": change("state_change", "run", record({**moved, "canonical_state": ref("Run")})),
        "RunDelta": change("state_change", "run", record({**moved, "base": base, "patch": patch})),
        "PipelineChange": change("pipeline_change", "pipeline", record({"document": ref("Pipeline")})),
        "PipelineDelta": change("pipeline_change", "pipeline", record({"base": base, "patch": patch})),
        "Gone": record({**gone, "reason": one_of(["deleted", "forbidden"])}, optional=["run_id", "pipeline"]),
    }
    full = {"anyOf": [ref("RunChange"), ref("PipelineChange")]}

    def frame(kind: str, about: str, **members: Schema) -> Schema:
        return record({"type": {"const": kind}, **members}, about=about)

    return changes | {
        "Hello": frame(
            "hello", "The first frame of every stream (F1).",
            protocol={"const": frames.PROTOCOL}, server=text(), epoch=text(EPOCH), position=position,
            heartbeat_ms={"const": frames.HEARTBEAT_MS},
        ),
        "Snapshot": frame(
            "snapshot", "A part of all that the reader asked for; the last part says more: false (F1).",
            reason=one_of(get_args(frames.SnapshotReason)), position=position, more={"type": "boolean"},
            changes=many(full),
        ),
        "Transition": frame(
            "transition", "A step from one position to a later one; without changes the heartbeat (F2, F3).",
            **{"from": position, "to": position}, server_time=time, source_age_ms=whole(),
            changes=many({"anyOf": [ref(name) for name in changes]}),
        ),
        "Bye": frame(
            "bye", "The last frame of a stream that the server ends.",
            code=one_of(get_args(frames.ByeCode)), retry_ms=whole(), resume=position,
        ),
        "ProblemFrame": {"allOf": [ref("Problem")], "properties": {"type": {"const": "problem"}}},
        "Frame": {
            "anyOf": [ref(name) for name in ("Hello", "Snapshot", "Transition", "Bye", "ProblemFrame")],
        },
        "Subscribe": record(
            {
                "type": {"const": "subscribe"}, "topics": text(), "resume": position,
                "delta": {"enum": [0, 1, "0", "1"]}, "mode": one_of(get_args(Mode)),
            },
            optional=["topics", "resume", "delta", "mode"],
            about="Sent by a WebSocket client to replace its subscription.",
        ) | {"additionalProperties": False},
    }  # fmt: skip


def _answers() -> dict[str, Schema]:
    position, at = text(POSITION), text(TIME)
    commit = {
        "version": whole(1), "position": position, "at": at, "cause": {"type": "object"},
        "old_state": maybe(text()), "new_state": text(), "digest": text(DIGEST),
        "patch": maybe(many({"type": "object"})),
    }  # fmt: skip
    line = {
        "offset": whole(), "at": at, "stage": maybe(text()), "attempt": whole(), "level": text(), "text": text(),
        "gap": record({"first": whole(1), "last": whole(1)}, about="Of the lines that are missing here."),
    }  # fmt: skip
    untold = {"type": maybe(text()), "subject": maybe(text()), "version": maybe(whole()), "tries": whole()}
    hook = {
        "id": text(), "receiver": text(), "on": many(text()),
        "waiting": many(record({**untold, "error": maybe(text()), "next_try_at": maybe(at)})),
        "dead": many(record({**untold, "error": text(), "given_up_at": at})),
    }  # fmt: skip
    problem = {
        "type": text(), "title": text(), "status": whole(400, 599), "detail": text(),
        "code": one_of(list(STATUS_OF)), "document": {"anyOf": [ref("Run"), ref("Pipeline")]},
    }  # fmt: skip
    return {
        "Problem": record(problem, optional=["document"], about="RFC 9457; `code` is stable (H9)."),
        "Runs": record({"position": position, "runs": many(ref("Run")), "next": maybe(text())}),
        "Pipelines": record({"position": position, "pipelines": many(ref("Pipeline"))}),
        "History": record({"floor": whole(), "head": whole(), "commits": many(record(commit))}),
        "LogLine": record(line, optional=["gap"]),
        "Webhooks": record({"webhooks": many(record(hook))}),
        "Logs": record({"first": whole(), "next": whole(), "lines": many(ref("LogLine"))}),
        "Compacted": record({"versions": whole(), "commits": whole(), "floor": whole(), "damaged": whole()}),
        "Fact": schema_of(ReportedFact),
        "Alive": record({"status": {"const": "alive"}}),
        "Ready": record({"status": {"const": "ready"}, "position": position}),
    }

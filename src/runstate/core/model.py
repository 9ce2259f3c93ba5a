"""The documents: frozen values with exactly the members of PROTOCOL D1 and D8.

A document is a value; `encoded()` is its one canonical form. Changing one means making another (`core/run.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import msgspec
import rfc8785
from msgspec.structs import force_setattr

from runstate.core.canonical import FrozenJson, Json, check
from runstate.core.errors import InvalidValue

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_OUTPUTS_BYTES = 64 * 1024
MAX_ERROR_BYTES = 8 * 1024
MAX_REASON_BYTES = 2 * 1024  # of a stop's `reason`
SHORT_BYTES = 512  # what errors and reasons are cut to, as JSON, where a document is nearly full
MAX_MESSAGE_BYTES = 2 * 1024  # of `progress.message`; PROTOCOL is silent, a line of text is meant
CUT = "… [cut]"

_SURROGATE = re.compile("[\ud800-\udfff]")

EMPTY = FrozenJson({})


def _to_wire(value: object) -> object:
    if isinstance(value, FrozenJson):
        return msgspec.Raw(value.encoded)
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError(f"no wire form for {type(value)}")  # a bug of ours: the documents hold nothing else


def _from_wire(kind: type, value: Any) -> Any:
    if kind is FrozenJson:
        return FrozenJson(value)
    raise NotImplementedError(f"no value form for {kind}")


_encoder = msgspec.json.Encoder(order="sorted", enc_hook=_to_wire)


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Progress(_Value, frozen=True, kw_only=True):
    """How far a stage is, in its own unit."""

    done: int | float
    total: int | float | None = None
    unit: str | None = None
    message: str | None = None


class StageRecord(_Value, frozen=True, kw_only=True):
    """One stage of one run (PROTOCOL D1, D4)."""

    state: Literal["pending", "running", "retrying", "success", "failed", "stopped", "skipped"] = "pending"
    attempt: int = 0  #: Executions so far, from 1; never restarts.
    started_at: str | None = None  #: Of the current attempt.
    ended_at: str | None = None
    heartbeat_at: str | None = None  #: When its worker was last heard.
    progress: Progress | None = None
    error: str | None = None  #: `TypeName: message` of the current attempt's failure.
    error_code: str | None = None
    outputs: FrozenJson = EMPTY  #: What the stage declared that it wrote.


class Trigger(_Value, frozen=True, kw_only=True):
    """Who or what began a run."""

    kind: Literal["manual", "schedule", "external"]
    by: str | None = None


class StopRequest(_Value, frozen=True, kw_only=True):
    """Somebody asked the run to stop; it stays until the run is retried."""

    at: str
    by: str | None = None
    reason: str | None = None


class Schedule(_Value, frozen=True, kw_only=True):
    """When a pipeline runs by itself (PROTOCOL D8)."""

    cron: str  #: Five fields, or six with seconds first.
    tz: str = "UTC"  #: IANA zone.
    enabled: bool = True
    missed: Literal["skip", "run_once"] = "skip"  #: What becomes of a time at which no server was there.
    overlap: Literal["skip", "queue"] = "skip"  #: What becomes of a time at which a run is active.
    queued_at: str | None = None  #: The time whose run waits for the active one.
    next_run_at: str | None = None  #: None while it is not enabled.
    last_run_id: str | None = None
    last_skip_reason: str | None = None  #: `overlap`, `blocked`, `missed` or `disabled`.


class Health(_Value, frozen=True, kw_only=True):
    """What recent runs say about a pipeline."""

    state: Literal["healthy", "degraded", "unstable", "blocked"] = "healthy"
    reasons: tuple[str, ...] = ()


HEALTHY = Health()


class _DocumentValue(_Value, frozen=True, kw_only=True):
    def encoded(self) -> bytes:
        """Return the canonical bytes (RFC 8785)."""
        if self._has_floats():
            return rfc8785.dumps(msgspec.json.decode(_encoder.encode(self)))
        return _encoder.encode(self)

    def _has_floats(self) -> bool:
        return False

    def to_dict(self) -> dict[str, Json]:
        """Return the document as a fresh dict; changing it changes nothing else."""
        return msgspec.json.decode(self.encoded(), type=dict[str, Any])


class RunContext(_DocumentValue, frozen=True, kw_only=True):
    """The canonical state of one run at one version (PROTOCOL D1); frozen through and through."""

    schema: int = 1
    epoch: str
    pipeline: str
    run_id: str | None
    version: int
    state: str
    status: Literal["idle", "running", "stopped", "error"]
    current_stage: str | None = None
    started_at: str | None = None
    updated_at: str | None = None
    ended_at: str | None = None
    retry_count: int = 0
    error: str | None = None
    error_code: str | None = None
    metadata: FrozenJson = EMPTY
    trigger: Trigger | None = None
    stop_requested: StopRequest | None = None
    stage_order: tuple[str, ...]
    stages: Mapping[str, StageRecord]

    def __post_init__(self) -> None:
        # A plain dict would let a reader of `get_state()` change the truth.
        if not isinstance(self.stages, MappingProxyType):
            force_setattr(self, "stages", MappingProxyType(dict(self.stages)))

    def _has_floats(self) -> bool:
        return any(
            type(record.progress.done) is float or type(record.progress.total) is float
            for record in self.stages.values()
            if record.progress is not None
        )


def is_external(context: RunContext) -> bool:
    """Return whether the run is executed elsewhere (PROTOCOL C8)."""
    return context.trigger is not None and context.trigger.kind == "external"


class PipelineDocument(_DocumentValue, frozen=True, kw_only=True):
    """A pipeline: its stages, schedule and health, and which run is current (PROTOCOL D8)."""

    schema: int = 1
    epoch: str
    pipeline: str
    version: int
    updated_at: str | None
    stage_order: tuple[str, ...]
    current_run_id: str | None = None
    schedule: Schedule | None = None
    health: Health = HEALTHY


class Worker(_Value, frozen=True, kw_only=True):
    """A process that executes an attempt, told apart from a later process with the same pid."""

    pid: int  #: Also its process group.
    start_time: int | float  #: As the operating system gives it; compared for equality only.
    boot_id: str


class Ledger(_Value, frozen=True, kw_only=True):
    """What the orchestrator must remember of a run's current stage, beside the document; journalled with it."""

    failures: int = 0  #: Failed attempts that used up one of the stage's retries.
    interruptions: int = 0  #: Attempts that ended because the server went away.
    worker: Worker | None = None  #: The process that may still be alive after a crash.
    retried_at: str | None = None  #: When a person last let the run go on; the whole run's, not the stage's.


Value = RunContext | PipelineDocument
DocumentT = TypeVar("DocumentT", RunContext, PipelineDocument)

_run_decoder = msgspec.json.Decoder(RunContext, dec_hook=_from_wire)
_pipeline_decoder = msgspec.json.Decoder(PipelineDocument, dec_hook=_from_wire)
_ledger_decoder = msgspec.json.Decoder(Ledger)


def decode_run(encoded: bytes) -> RunContext:
    """Return the run document that `encoded` spells.

    Raises:
        InvalidValue: It is not one.
    """
    try:
        return _run_decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidValue(f"not a run document: {exc}") from exc


def decode_pipeline(encoded: bytes) -> PipelineDocument:
    """Return the pipeline document that `encoded` spells.

    Raises:
        InvalidValue: It is not one.
    """
    try:
        return _pipeline_decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidValue(f"not a pipeline document: {exc}") from exc


def encode_ledger(ledger: Ledger) -> bytes:
    """Return the ledger as it is journalled."""
    return msgspec.json.encode(ledger)


def decode_ledger(encoded: bytes) -> Ledger:
    """Return the ledger that `encode_ledger` wrote."""
    return _ledger_decoder.decode(encoded)


def cut_text(text: str, limit_bytes: int) -> str:
    """Return `text`, cut at a character and marked where its UTF-8 is longer than `limit_bytes`.

    Lone surrogates (Python's way to hold undecodable bytes) become U+FFFD, so any text may stand in a document.
    """
    encoded = text.encode() if text.isascii() else _SURROGATE.sub("\ufffd", text).encode()
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[: limit_bytes - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def reserve_bytes(stages: int) -> int:
    """Return the room that a user's values must leave in a run's document of so many stages.

    It is for what must always fit: each stage's times and numbers, a stop, and the end of the run with its short error.
    """
    return 6 * 1024 + 256 * stages


def progress_reserve_bytes(stages: int) -> int:
    """Return the room that progress must leave: all but what its numbers may take of `reserve_bytes`."""
    return 4 * 1024 + 128 * stages


def shorten(text: str) -> str:
    """Return `text` so that it takes at most `SHORT_BYTES` as JSON."""
    limit = SHORT_BYTES
    while len(msgspec.json.encode(text)) > SHORT_BYTES:
        text = cut_text(text, limit)
        limit //= 2
    return text


def make_progress(
    done: int | float, total: int | float | None = None, unit: str | None = None, message: str | None = None
) -> Progress:
    """Return the progress of PROTOCOL D1, checked.

    Raises:
        InvalidValue: A number is not one, or outside PROTOCOL §2.
    """
    return Progress(
        done=_number(done, "progress.done"),
        total=None if total is None else _number(total, "progress.total"),
        unit=None if unit is None else cut_text(str(unit), MAX_MESSAGE_BYTES),
        message=None if message is None else cut_text(str(message), MAX_MESSAGE_BYTES),
    )


def _number(value: int | float, where: str) -> int | float:
    if type(value) not in (int, float):
        # numpy and Decimal numbers say what they are through __index__ and __float__.
        if isinstance(value, bool) or not (hasattr(value, "__index__") or hasattr(value, "__float__")):
            raise InvalidValue(f"{where} is {value!r}; a number is needed")
        value = value.__index__() if hasattr(value, "__index__") else float(value)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    check(value, where)
    return value

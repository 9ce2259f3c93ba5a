"""What travels between the server, its fork server and a worker: JSON lines, one struct each.

Law: both ends are ours and of one version, so there is nothing to negotiate; a line that does not fit ends its sender.
"""

from __future__ import annotations

from typing import Any

import msgspec

from runstate.core.canonical import FrozenJson
from runstate.core.facts import (
    Fact,
    Failed,
    HeartbeatHeard,
    LineLogged,
    MetadataPatched,
    Outcome,
    ProgressMade,
    Skipped,
    Succeeded,
)
from runstate.core.model import Progress, Worker

MAX_MESSAGE_BYTES = 2 * 1024 * 1024  # a metadata patch of 256 KiB, JSON-escaped at worst


class _Message(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    pass


# server -> fork server
class Prepare(_Message, frozen=True, tag="prepare"):
    """The first line: what to be like."""

    path: list[str]  #: The server's `sys.path`.
    pythonpath: str | None  #: The server's own PYTHONPATH.
    preload: list[tuple[str, str | None]]  #: Modules to import before the first fork: name, file.


class Fork(_Message, frozen=True, tag="fork"):
    """Make a worker; its control socket, stdout and stderr travel with this line."""


class Kill(_Message, frozen=True, tag="kill"):
    """End a worker and everything it started."""

    pid: int


# fork server -> server
class Ready(_Message, frozen=True, tag="ready"):
    """Modules are preloaded; forks are quick from now on."""


class Unfit(_Message, frozen=True, tag="unfit"):
    """What was preloaded cannot be forked; a fork server without it is needed."""

    why: str


class Forked(_Message, frozen=True, tag="forked"):
    """A worker waits for its `Go`. Answers come in the order of the requests."""

    worker: Worker


class Refused(_Message, frozen=True, tag="refused"):
    """No worker could be made."""

    why: str


class Ended(_Message, frozen=True, tag="ended"):
    """Nothing of a worker is alive."""

    pid: int
    returncode: int  #: Negative: the signal that ended it.


# server -> worker
class CallFunction(_Message, frozen=True, tag="function"):
    """The stage is a function."""

    module: str
    file: str | None
    qualname: str


class RunCommand(_Message, frozen=True, tag="command"):
    """The stage is a shell command."""

    text: str  #: With the values of its placeholders.
    env: dict[str, str]
    cwd: str | None


class Go(_Message, frozen=True, tag="go"):
    """The attempt to execute."""

    run_id: str
    pipeline: str
    stage: str
    attempt: int
    metadata: msgspec.Raw
    outputs: dict[str, msgspec.Raw]
    workdir: str
    progress_interval_s: float
    heartbeat_s: float
    patience_s: float  #: How long a stage that polls `stopping` may take to look again.
    work: CallFunction | RunCommand


class Stop(_Message, frozen=True, tag="stop"):
    """The stage shall end."""


# worker -> server
class ProgressLine(_Message, frozen=True, tag="progress"):
    """`ProgressMade`."""

    progress: Progress


class HeartbeatLine(_Message, frozen=True, tag="heartbeat"):
    """`HeartbeatHeard`."""


class MetadataLine(_Message, frozen=True, tag="metadata"):
    """`MetadataPatched`."""

    patch: msgspec.Raw


class LogLine(_Message, frozen=True, tag="log"):
    """`LineLogged`."""

    level: str
    text: str


class SucceededLine(_Message, frozen=True, tag="succeeded"):
    """The last line: `Succeeded`."""

    outputs: msgspec.Raw


class FailedLine(_Message, frozen=True, tag="failed"):
    """The last line: `Failed`."""

    failed: Failed


class SkippedLine(_Message, frozen=True, tag="skipped"):
    """The last line: `Skipped`."""

    skipped: Skipped


ToForkServer = Prepare | Fork | Kill
FromForkServer = Ready | Unfit | Forked | Refused | Ended
ToWorker = Go | Stop
FromWorker = ProgressLine | HeartbeatLine | MetadataLine | LogLine | SucceededLine | FailedLine | SkippedLine


def encode_line(message: _Message) -> bytes:
    """Return the message as a line."""
    return msgspec.json.encode(message) + b"\n"


def encode_fact(fact: Fact) -> bytes:
    """Return the line that carries `fact`."""
    match fact:
        case ProgressMade(progress):
            return encode_line(ProgressLine(progress))
        case HeartbeatHeard():
            return encode_line(HeartbeatLine())
        case MetadataPatched(patch):
            return encode_line(MetadataLine(msgspec.Raw(patch.encoded)))
        case LineLogged(level, text):
            return encode_line(LogLine(level, text))


def encode_outcome(outcome: Outcome) -> bytes:
    """Return the line that carries `outcome`."""
    match outcome:
        case Succeeded(outputs):
            return encode_line(SucceededLine(msgspec.Raw(outputs.encoded)))
        case Failed():
            return encode_line(FailedLine(outcome))
        case Skipped():
            return encode_line(SkippedLine(outcome))


def said_by(line: FromWorker) -> Fact | Outcome:
    """Return what a worker's line says.

    Raises:
        InvalidValue, msgspec.DecodeError: It says nothing that may stand in a document.
    """
    match line:
        case ProgressLine(progress):
            return ProgressMade(progress)
        case HeartbeatLine():
            return HeartbeatHeard()
        case MetadataLine(patch):
            return MetadataPatched(FrozenJson(msgspec.json.decode(patch, type=dict[str, Any]), "metadata"))
        case LogLine(level, text):
            return LineLogged(level=level, text=text)
        case SucceededLine(outputs):
            return Succeeded(FrozenJson(msgspec.json.decode(outputs, type=dict[str, Any]), "outputs"))
        case FailedLine(failed):
            return failed
        case SkippedLine(skipped):
            return skipped

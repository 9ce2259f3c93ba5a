"""Facts: what whoever executes a stage says about it, and how an attempt ended.

A task in the loop, a child process and a remote worker report the same facts under the same rules; the manager cannot
tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from runstate.core.canonical import FrozenJson
from runstate.core.model import Progress


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """The stage is this far."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class HeartbeatHeard:
    """The worker is alive."""


@dataclass(frozen=True, slots=True)
class MetadataPatched:
    """The stage changes the run's metadata by a merge patch (RFC 7396)."""

    patch: FrozenJson


@dataclass(frozen=True, slots=True)
class LineLogged:
    """The stage logged a line; it goes to the run's log, never into a document (PROTOCOL D7)."""

    level: str
    text: str


Fact = ProgressMade | HeartbeatHeard | MetadataPatched | LineLogged


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The stage returned."""

    outputs: FrozenJson


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt ended without success.

    `code` is a word of PROTOCOL D9 or the stage's own.
    """

    error: str  #: `TypeName: message`.
    code: str
    final: bool = False  #: No retry can help (`Fatal`).
    #: The names of the exception's classes, nearest first: what `retry_on` is held against. Evidence, no part of the end.
    kinds: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Skipped:
    """The stage had nothing to do (`Skip`)."""

    reason: str


Outcome = Succeeded | Failed | Skipped

"""A stage: what it is to the person who writes it, and what it sees of its run while it executes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from runstate.core.canonical import Json

LEASE_S = 30.0  # of silence, before a process that has a heartbeat is taken for one that hangs

StageFunction = Callable[..., Any]  # (StageContext) -> object | None, or the same as a coroutine function


class StageContext(Protocol):
    """What a stage sees of its run, and how it says how far it is.

    Every method may be called from any thread of a plain stage; from the event loop's thread in an async one.
    """

    @property
    def run_id(self) -> str: ...
    @property
    def pipeline(self) -> str: ...
    @property
    def stage(self) -> str: ...

    @property
    def attempt(self) -> int:
        """This execution's number, from 1; retries and resumes count on."""

    @property
    def metadata(self) -> Any:
        """The run's metadata when the attempt began, as a read-only mapping."""

    @property
    def workdir(self) -> Path:
        """The run's own folder, shared by its stages; it exists."""

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the run to stop; a plain stage may poll it and return early."""

    def progress(
        self, done: int | float, total: int | float | None = None, unit: str | None = None, message: str | None = None
    ) -> None:
        """Say how far the stage is. Cheap: calls within `progress_interval_s` are folded, the last is never lost.

        Raises:
            InvalidValue: A number is NaN, infinite or beyond 2^53−1.
        """

    def update_metadata(self, patch: dict[str, Json]) -> None:
        """Change the run's metadata by a merge patch (RFC 7396): None removes a member.

        Raises:
            InvalidValue: The patch is not a JSON object.
        """

    def outputs(self, stage: str) -> dict[str, Json]:
        """Return what an earlier stage of this run returned.

        Raises:
            KeyError: No such stage has finished in this run.
        """

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the run's log."""


class Fatal(Exception):
    """Raised by a stage: it failed and no retry can help.

    `code` becomes the `error_code` (PROTOCOL D9).
    """

    def __init__(self, message: str, code: str = "exception") -> None:
        super().__init__(message)
        self.code = code


class Skip(Exception):
    """Raised by a stage: there was nothing to do; the stage is `skipped` and the run goes on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a function can be imported from, in another process."""

    module: str
    file: str | None
    qualname: str


@dataclass(frozen=True, slots=True)
class AsyncFunction:
    """A coroutine function: a task in the server's loop."""

    function: StageFunction


@dataclass(frozen=True, slots=True)
class PlainFunction:
    """A function: a child process."""

    place: Place


@dataclass(frozen=True, slots=True)
class Command:
    """A shell command: a child process, too."""

    text: str  #: As written, with its placeholders.
    env: tuple[tuple[str, str], ...]  #: Added to the server's environment.
    cwd: str | None  #: Where it starts; None: where the server did.


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a pipeline."""

    name: str
    work: AsyncFunction | PlainFunction | Command
    retries: int  #: Further attempts after a failed one.
    retry_on: tuple[str, ...] | None  #: Which failures: codes, and names of exception classes; None: all.
    backoff_s: float  #: Pause before the first retry; doubles with each.
    backoff_max_s: float  #: No pause is longer.
    timeout_s: float | None  #: An attempt that takes longer is ended.
    grace_s: float  #: Between asking an attempt to stop and killing it.
    on_interrupt: Literal["resume", "fail"]  #: What happens when the server went away under it.
    lease_s: float | None = None  #: Of silence, after which its process is `lost`; None: `LEASE_S`.

    @property
    def is_async(self) -> bool:
        """Whether it runs in the server's loop; everything else runs in a child process."""
        return isinstance(self.work, AsyncFunction)

"""Every error that runstate raises on purpose, split by whose fault it is.

    RunstateError
    ├── CallerError            you asked for something that is not allowed; nothing changed
    │   ├── DefinitionError    a pipeline is defined wrongly
    │   ├── InvalidValue       a value cannot stand in a document
    │   ├── TransitionRejected the state machine has no such move (PROTOCOL D2)
    │   ├── StaleAttempt       a fact of an attempt that is no longer the current one
    │   ├── NotStartable       a stage cannot be started (PROTOCOL D9)
    │   ├── AlreadyRunning     the pipeline has an active run (PROTOCOL C4)
    │   ├── Blocked            the run policy lets no run start now
    │   ├── Conflict           the document is not the one that the caller has seen (PROTOCOL C2)
    │   ├── NotFound           no such pipeline, run or version
    │   └── Compacted          the version is below the retention floor (PROTOCOL H5)
    ├── PeerError              what arrived breaks the protocol
    └── StoreError             the world failed
        ├── StoreUnavailable   the journal refuses writes now; the commit may or may not be durable
        ├── StoreInUse         another process holds the data directory
        └── StoreDamaged       the journal's content does not verify

Each has a stable `code`, the same word on the wire and in the docs. Our own bugs are AssertionErrors.
"""

from __future__ import annotations


class RunstateError(Exception):
    """Root of the tree; never raised itself."""

    code = "error"


class CallerError(RunstateError):
    """The caller asked for something that is not allowed; nothing changed."""

    code = "invalid"


class DefinitionError(CallerError):
    """A pipeline is defined wrongly; the text names the place and what to do."""


class InvalidValue(CallerError):
    """A value cannot stand in a document (PROTOCOL §2); the text names the member."""


class TransitionRejected(CallerError):
    """The state machine has no such move (PROTOCOL D2); nothing changed."""

    code = "not_allowed"

    def __init__(self, old_state: str, new_state: str) -> None:
        self.old_state, self.new_state = old_state, new_state
        super().__init__(f"a run cannot go from {old_state} to {new_state}")


class StaleAttempt(CallerError):
    """A fact came from an attempt that is not the current one; it is refused (PROTOCOL C5)."""

    code = "not_allowed"


class ReporterRefused(CallerError):
    """Who reports a run is not who executes it, or reports out of order (PROTOCOL C8); nothing changed."""

    code = "not_allowed"


class ExecutedElsewhere(CallerError):
    """The run's work is done outside this server, which can neither begin nor repeat it (PROTOCOL C8)."""

    code = "not_allowed"


class AlreadyRunning(CallerError):
    """The pipeline has an active run (PROTOCOL C4)."""

    code = "already_running"

    def __init__(self, pipeline: str, run_id: str) -> None:
        self.pipeline, self.run_id = pipeline, run_id
        super().__init__(f"pipeline {pipeline} is already running run {run_id}; stop it or wait for its end")


class Blocked(CallerError):
    """The pipeline's health and its run policy let no run start now; nothing began (PROTOCOL H9)."""

    code = "blocked"

    def __init__(self, pipeline: str, why: str) -> None:
        self.pipeline = pipeline
        super().__init__(f"pipeline {pipeline} {why}")


class Conflict(CallerError):
    """The document has moved on since the caller saw it (PROTOCOL C2); nothing changed.

    Attributes:
        revision: Of the document as it is decided now; readers see it once that is durable.
    """

    code = "conflict"

    def __init__(self, what: str, revision: int) -> None:
        self.revision = revision
        super().__init__(f"{what} has changed since the version in If-Match; look at it and try again")


class NotFound(CallerError):
    """No such pipeline, run or version."""

    code = "not_found"


class Compacted(CallerError):
    """The version lies below the retention floor (PROTOCOL H5)."""

    code = "compacted"


class PeerError(RunstateError):
    """What arrived breaks the protocol."""

    code = "bad_frame"


class NotStartable(CallerError):
    """A stage cannot be started; the text says why (PROTOCOL D9)."""

    code = "not_startable"


class StoreError(RunstateError):
    """The journal or its directory failed; not the caller's fault."""

    code = "unavailable"


class StoreUnavailable(StoreError):
    """The journal refuses writes now. A commit answered so may still turn out durable."""


class StoreInUse(StoreError):
    """Another process holds the data directory.

    Attributes:
        pid: The owner's process id, or None where it could not be read.
        url: Where the owner serves, or None if it is not a server.
    """

    code = "in_use"

    def __init__(self, directory: str, pid: int | None, url: str | None) -> None:
        self.directory, self.pid, self.url = directory, pid, url
        owner = f"process {pid}" if pid is not None else "another process"
        where = f", which serves {url}" if url else ""
        super().__init__(
            f"data directory {directory} is in use by {owner}{where}; use that one or name another with --data"
        )


class StoreDamaged(StoreError):
    """The journal's content does not verify; the text names the revision and the way out."""

    code = "damaged"

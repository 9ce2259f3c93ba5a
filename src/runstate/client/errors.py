"""What can go wrong between a client and its server, beside `runstate.core.errors`.

RunstateError
├── ServerUnreachable   nobody answers; whether a command was taken is not known
├── Problem             the server refused; nothing changed
│   └── ServerAway      it cannot take anything now
└── Stopped             somebody wants the run that this program executes to stop
"""

from __future__ import annotations

from runstate.core.canonical import Json
from runstate.core.errors import RunstateError


class ServerUnreachable(RunstateError):
    """No server answers at the address; whether a command was taken is not known."""

    code = "unreachable"

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        super().__init__(f"no runstate server answers at {self.url}; is `runstate serve` running there?")


class Problem(RunstateError):
    """The server refused (RFC 9457); nothing changed."""

    def __init__(self, code: str, status: int, detail: str, document: Json = None, *, retry_after_ms: int = 0) -> None:
        self.code = code  #: The stable word of PROTOCOL H9.
        self.status = status  #: HTTP status.
        self.detail = detail  #: One sentence.
        self.document = document  #: The current document, where the refusal is about it.
        self.retry_after_ms = retry_after_ms  #: Ask again no sooner; 0 where the server did not say.
        super().__init__(detail)


class ServerAway(Problem):
    """The server says 503: it cannot take the request now, and will be able to."""


class Stopped(RunstateError):
    """Somebody asked a run to stop that this program executes; raised by whoever tracks it (`runstate.client.track`)."""

    code = "stopped"

    def __init__(self, run_id: str, reason: str | None) -> None:
        self.run_id, self.reason = run_id, reason
        super().__init__(f"run {run_id} was asked to stop" + (f": {reason}" if reason else ""))

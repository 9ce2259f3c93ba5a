"""uvicorn's HTTP protocol as `runstate serve` uses it, on both of its paths (ADR 5)."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from runstate.server.problems import Problem
from runstate.server.stream import ABORT

#: What the transport holds back before a stream waits: little, so that a reader who does not read is soon known (F8).
WRITE_BUFFER_BYTES = 4 * 1024


class Http(HttpToolsProtocol):
    """uvicorn's, that buffers little and lets a stream leave a reader who does not read: `close` would wait for it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection; a WebSocket that it becomes is handed the same state."""
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.app_state = {**self.app_state, ABORT: transport.abort}
        super().connection_made(transport)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not ours
        """Refuse what is not HTTP, as every refusal reads (PROTOCOL H9), and close."""
        refusal = Problem("bad_query", "this is not an HTTP/1.1 request that can be read; the connection ends here")
        status, rest = render(refusal.response({"Connection": "close"}))
        dates = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(status + dates + rest)
        self.transport.close()


def render(response: Response) -> tuple[bytes, bytes]:
    """Return a whole answer as uvicorn writes it: the status line, and everything after uvicorn's own headers."""
    headers = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
    return STATUS_LINE[response.status_code], headers + b"\r\n" + bytes(response.body)

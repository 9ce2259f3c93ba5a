"""uvicorn's HTTP protocol as `runstate serve` uses it, on both of its paths (ADR 5)."""

from __future__ import annotations

import asyncio

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request
from websockets.server import ServerProtocol

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

    def data_received(self, data: bytes) -> None:
        """Read what came in.

        The parser leaves out the body of a request that offers an upgrade. One that we do not take (RFC 9110 7.8), such as
        the `h2c` of Java's client and of `curl --http2`, is read once more without the offer.
        """
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                elif self._is_offered():
                    data = self._head_without_offer() + data[upgrade.args[0] :]
                    self.parser = HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                    continue
            except HttpParserError:
                self.send_400_response("")
            return

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the request is going to be read once more."""
        if not self._is_offered():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless it is going to be read once more."""
        if not self._is_offered():
            super().on_message_complete()

    def _is_offered(self) -> bool:
        """Return whether the request that was read offers an upgrade that is not taken."""
        offers = self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)
        return offers and not self._should_upgrade()

    def _head_without_offer(self) -> bytes:
        head = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join((*head, b"\r\n"))

    def _should_upgrade(self) -> bool:
        # What opens no WebSocket is a plain request: the application refuses it, and in the form that refusals have.
        return super()._should_upgrade() and opens_socket(self.parser.get_method(), self.headers)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not ours
        """Refuse what is not HTTP, as every refusal reads (PROTOCOL H9), and close."""
        refusal = Problem("bad_query", "this is not an HTTP/1.1 request that can be read; the connection ends here")
        status, rest = render(refusal.response({"Connection": "close"}))
        dates = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(status + dates + rest)
        self.transport.close()


def opens_socket(method: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a request that asks for a WebSocket asks for it in the way that opens one (RFC 6455)."""
    if method != b"GET":
        return False
    spelled = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    try:
        ServerProtocol().process_request(Request("/", spelled))
    except InvalidHandshake:
        return False
    return True


def render(response: Response) -> tuple[bytes, bytes]:
    """Return a whole answer as uvicorn writes it: the status line, and everything after uvicorn's own headers."""
    headers = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
    return STATUS_LINE[response.status_code], headers + b"\r\n" + bytes(response.body)

"""Requests that are known to be in the server's hands, whatever becomes of the server next."""

from __future__ import annotations

import contextlib
import http.client
from urllib.parse import urlsplit

from tests.acceptance.judge import get
from tests.acceptance.puppets import PATIENCE_S


class Parked:
    """A GET that the server has begun to answer: it was sent on a connection in use, and later requests were answered."""

    def __init__(self, server, path: str, headers: dict[str, str] | None = None) -> None:
        where = urlsplit(server.url)
        self._link = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE_S)
        self._link.request("GET", "/health")
        assert b"alive" in self._link.getresponse().read()
        self._link.request("GET", path, headers=headers or {})
        for _ in range(3):
            get(server.http, "/health")

    def answer(self, status: int) -> tuple[http.client.HTTPResponse, bytes]:
        with contextlib.closing(self._link):
            answer = self._link.getresponse()
            body = answer.read()
        assert answer.status == status, body
        return answer, body

"""The load of polls: some connections that each ask again as soon as they are answered."""

from __future__ import annotations

import re
import select
import socket
import time
from dataclasses import dataclass, field

from benchmarks.harness.viewers import GET, RECEIVE_BYTES

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HAVE = re.compile(rb"If-None-Match: [^\r]*")
MOVES = (
    500  # answers to a tag of before: a run that goes on commits a sign of life now and then, seen by each connection
)
ETAG = re.compile(rb'\r\netag: *("[^"]*")', re.IGNORECASE)


@dataclass
class Answered:
    """What the pollers got."""

    answers: int = 0
    latencies_ms: list[float] = field(default_factory=list)


def request(path: str, etag: bytes | None = None) -> bytes:
    """Return a GET, conditional where there is a tag."""
    return GET % (path.encode(), b"" if etag is None else b"If-None-Match: %b\r\n" % etag)


def tag_of(port: int, path: str) -> bytes:
    """Return the ETag of what a server answers now."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(request(path))
        head = _answer(one)
    found = ETAG.search(head)
    assert found is not None, head
    return found[1]


def _answer(one: socket.socket) -> bytes:
    got = b""
    while not is_whole(got):
        got += one.recv(RECEIVE_BYTES)
    return got


def is_whole(data: bytes) -> bool:
    """Return whether these bytes are one whole answer."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if data[9:12] == b"304":
        return True
    found = LENGTH.search(data, 0, end)
    return found is not None and len(data) >= end + 4 + int(found[1])


def poll(port: int, asked: bytes, *, connections: int, seconds: float, status: bytes) -> Answered:
    """Ask for some seconds; every answer has to have the status that is meant, but where the document moved."""
    waiting = select.epoll()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    by_number = {each.fileno(): each for each in sockets}
    whole = moves = 0
    result = Answered()
    took, clock = result.latencies_ms, time.perf_counter
    sent = {}
    got: dict[int, bytes] = {}
    for each in sockets:
        waiting.register(each, select.EPOLLIN)
        sent[each.fileno()] = clock()
        each.sendall(asked)
    end = clock() + seconds
    while clock() < end:
        for number, _ in waiting.poll(1.0):
            each = by_number[number]
            data = got.pop(number, b"") + each.recv(RECEIVE_BYTES)
            if len(data) != whole:
                if not data:
                    raise ConnectionError("the server closed a connection")
                if not is_whole(data):
                    got[number] = data
                    continue
                whole = len(data)
            if status == b"304" and data[9:12] == b"200" and moves < MOVES and (tag := ETAG.search(data)):
                asked, moves = HAVE.sub(b"If-None-Match: " + tag[1], asked), moves + 1
            elif data[9:12] != status:
                raise ConnectionError(f"answered {data[:200]!r}, {status.decode()} was meant")
            now = clock()
            took.append((now - sent[number]) * 1000)
            sent[number] = now
            each.send(asked)
        result.answers = len(took)
    for each in sockets:
        each.close()
    waiting.close()
    return result

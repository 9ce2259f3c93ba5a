"""kill -9 between a run's end and its receiver's answer: the event comes, at least once, under one id."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.acceptance.harness import Server
from tests.acceptance.puppets import PATIENCE_S

DEFINITION = """
[[webhook]]
url = "{url}/hook"
on = ["success"]

[[pipeline.work.stage]]
name = "count"
command = "true"
"""


class Receiver:
    """Takes every POST, and answers once it is let."""

    def __init__(self) -> None:
        came = self.came = queue.Queue[tuple[str, bytes]]()
        may_answer = self.may_answer = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                came.put((self.headers["webhook-id"], body))
                if may_answer.wait(PATIENCE_S):
                    self.send_response(204)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self) -> tuple[str, bytes]:
        return self.came.get(timeout=PATIENCE_S)

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def run_of(event: tuple[str, bytes]) -> str:
    return json.loads(event[1])["subject"]


def test_events_outlive_kill_9(bench, receiver):
    """Nothing is lost of what was on its way, waiting, or just answered; what comes again is the same, byte for byte."""
    file = bench.folder / "runstate.toml"
    file.write_text(DEFINITION.format(url=receiver.url))
    server = Server(file, bench.data)
    bench.servers.append(server)
    runs = []
    for _ in range(2):
        runs.append(server.start_run()["run_id"])
        server.wait_over(runs[-1])
    unanswered = receiver.next()
    assert run_of(unanswered) == runs[0]
    server.kill()
    receiver.may_answer.set()

    server.restart()
    came = [receiver.next()]
    while {run_of(event) for event in came} != set(runs):
        came.append(receiver.next())
    assert unanswered in came, "the same id and the same bytes"
    server.kill()  # perhaps before it wrote down that the last was taken

    server.restart()
    runs.append(server.start_run()["run_id"])
    while run_of(event := receiver.next()) != runs[2]:
        assert event == came[-1], "no other than the one whose answer may have been lost comes again"
    assert event[0] not in dict(came)

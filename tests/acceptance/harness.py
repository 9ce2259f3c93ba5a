"""The real server as a child process, and everything a reader can see of it.

No test waits for time to pass: the ready line, the frames of a stream and the stages' own connections say when it is so.
`PATIENCE_S` only bounds how long a broken server can hold a test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from tests.acceptance.puppets import PATIENCE_S, Puppets
from tests.acceptance.watching import SseWatch, WsWatch

HERE = Path(__file__).parent
RUNSTATE = Path(sys.executable).with_name("runstate")
TERMINAL = ("success", "failed", "stopped")

PRELUDE = """
import asyncio, os, sys, time
from pathlib import Path
from runstate import Fatal, Pipeline, Skip
import puppet
"""

TWO_STAGES = """
work = Pipeline("work", progress_interval_s=0)
work.stage(name="fetch")(puppet.task)
work.stage(name="crunch")(puppet.plain)
"""


class Lines(threading.Thread):
    """Reads a pipe to its end, so that nobody blocks on it; keeps the lines."""

    def __init__(self, pipe) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False
        self.start()

    def run(self) -> None:
        with self._pipe:
            for line in self._pipe:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def wait_for(self, word: str) -> str | None:
        """Return the first line with `word`; None when the pipe ends without one."""

        def found() -> str | None:
            return next((line for line in self.lines if word in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._has_ended, PATIENCE_S)
            return found()


class Server:
    """One server process on one data directory."""

    def __init__(self, file: Path, data: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.file, self.data, self.options = file, data, options
        self._env = dict(os.environ) | (env or {})
        self._watches: list[WsWatch | SseWatch] = []
        self.start()

    def start(self) -> None:
        """Start the process and wait until it serves."""
        command = [RUNSTATE, "serve", self.file, "--port", "0", "--data", self.data, *self.options]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env=self._env, start_new_session=True,
        )  # fmt: skip
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        ready = self.out.wait_for("runstate is serving")
        assert ready is not None, f"the server did not start: {self.err.lines}"
        self.url = ready.split()[-1]
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False)

    # Ends

    def kill(self) -> None:
        """kill -9, and wait until the process is no more."""
        self.process.kill()
        self._gone()

    def terminate(self) -> None:
        """SIGTERM: a clean end; the process must end by itself with status 0."""
        self.process.send_signal(signal.SIGTERM)
        assert self._gone() == 0, self.err.lines

    def _gone(self) -> int:
        self.http.close()
        return self.process.wait(PATIENCE_S)

    def restart(self) -> None:
        """Start again on the same directory (after `kill` or `terminate`)."""
        self.start()

    def close(self) -> None:
        for watch in self._watches:
            watch.close()
        if self.process.poll() is None:
            self.kill()
        for reader in (self.out, self.err):
            reader.join(PATIENCE_S)

    # Commands and reads

    def start_run(self, pipeline: str | None = None, **body) -> dict:
        """Start a run; return its first document."""
        path = f"/api/pipelines/{pipeline}/start" if pipeline else "/api/pipeline/start"
        answer = self.http.post(path, json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def stop_run(self, run_id: str, **body) -> httpx.Response:
        return self.http.post(f"/api/runs/{run_id}/stop", json=body)

    def run(self, run_id: str) -> dict:
        answer = self.http.get(f"/api/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ws(self, query: str = "") -> WsWatch:
        """Return a WebSocket that is read from now on."""
        watch = WsWatch(self.url.replace("http", "ws") + "/api/ws" + query)
        self._watches.append(watch)
        return watch

    def sse(self, query: str = "", headers: dict[str, str] | None = None) -> SseWatch:
        """Return an SSE stream that is read from now on."""
        watch = SseWatch(self.url + "/api/stream" + query, headers)
        self._watches.append(watch)
        return watch

    def wait_run(self, run_id: str, condition) -> dict:
        """Wait until a version of the run meets `condition`; return its document."""
        with self.ws(f"?topics=run:{run_id}") as watch:
            return watch.wait_document(lambda document: document.get("run_id") == run_id and condition(document))

    def wait_state(self, run_id: str, *states: str) -> dict:
        """Wait until the run is in one of the states; return its document."""
        return self.wait_run(run_id, lambda document: document["state"] in states)

    def wait_over(self, run_id: str) -> dict:
        """Wait until the run is over; return its document."""
        return self.wait_state(run_id, *TERMINAL)


class Bench:
    """What a test works with: a folder for its pipelines, its data directory, its puppets."""

    def __init__(self, folder: Path, puppets: Puppets) -> None:
        self.folder, self.puppets = folder, puppets
        self.servers: list[Server] = []
        self.data = folder / "data"
        shutil.copy(HERE / "puppet.py", folder)

    def write(self, source: str, name: str = "pipelines.py") -> Path:
        path = self.folder / name
        path.write_text(PRELUDE + source)
        return path

    def serve(
        self, source: str = TWO_STAGES, *options: str, data: Path | None = None, name: str = "pipelines.py"
    ) -> Server:
        """Return a server of the pipelines in `source`."""
        env = {"PUPPET_PORT": str(self.puppets.port)}
        server = Server(self.write(source, name), data or self.data, *options, env=env)
        self.servers.append(server)
        return server

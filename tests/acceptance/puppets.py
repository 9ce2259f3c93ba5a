"""The test's end of `puppet.py`: wait for a stage to begin, tell it what to do, see it die."""

from __future__ import annotations

import json
import queue
import socket
import threading

PATIENCE_S = 60.0  # a bound for failures, never a pace


class Puppet:
    """One attempt that has begun and does nothing unless it is told."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        link.settimeout(PATIENCE_S)
        self._said = link.makefile("rb")
        hello = json.loads(self._said.readline())
        self.run_id, self.stage, self.attempt, self.pid = (
            hello[name] for name in ("run_id", "stage", "attempt", "pid")
        )

    def say(self, do: str, code: str) -> None:
        self._link.sendall(json.dumps({"do": do, "code": code}).encode() + b"\n")

    def do(self, code: str):
        """Execute `code` in the stage; return what it left in `answer`."""
        answer = self.ask(code)
        assert "raised" not in answer, answer
        return answer["value"]

    def ask(self, code: str) -> dict:
        """Execute `code` in the stage; return its answer, also where that is an exception."""
        self.say("exec", code)
        line = self._said.readline()
        assert line, f"the stage ended instead of doing {code!r}"
        return json.loads(line)

    def returns(self, code: str = "None") -> None:
        """Let the stage return the value of an expression."""
        self.say("return", code)

    def raises(self, code: str) -> None:
        """Let the stage raise the value of an expression."""
        self.say("raise", code)

    def wait_dead(self) -> None:
        """Wait until the stage holds its end of the connection no more."""
        try:
            assert self._said.readline() == b""
        except ConnectionResetError:
            pass

    def is_alive(self) -> bool:
        """Return whether its process can still be asked something."""
        try:
            return "value" in self.ask("answer = 1")
        except (AssertionError, OSError):
            return False

    def close(self) -> None:
        self._said.close()
        self._link.close()


class Puppets:
    """Where stages connect to; `with` it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._begun: queue.Queue[Puppet] = queue.Queue()
        self._all: list[Puppet] = []

    def __enter__(self) -> Puppets:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)
        for puppet in self._all:
            puppet.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            try:
                puppet = Puppet(link)
            except (OSError, ValueError):
                link.close()
                continue
            self._all.append(puppet)
            self._begun.put(puppet)

    def next(self, stage: str | None = None, *, attempt: int | None = None, run_id: str | None = None) -> Puppet:
        """Wait for the next stage that begins (with `run_id`: of that run); it must be the one that is named."""
        puppet = self._begun.get(timeout=PATIENCE_S)
        while run_id not in (None, puppet.run_id):
            puppet = self._begun.get(timeout=PATIENCE_S)
        assert stage in (None, puppet.stage), f"{stage} was expected, {puppet.stage} began"
        assert attempt in (None, puppet.attempt), f"attempt {attempt} of {stage} was expected, not {puppet.attempt}"
        return puppet

    def nobody(self) -> bool:
        """Return whether no stage has begun that was not asked for with `next`."""
        return self._begun.empty()

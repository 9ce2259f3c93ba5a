"""The log lines of runs: one file of JSON lines per run, beside the journal and never in a document (PROTOCOL D7).

A thread writes, so a slow disk holds only those who log much, never the event loop. What stands here is bounded: a run's
log ends with a marker once it is full.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from queue import Full, Queue
from typing import BinaryIO, NamedTuple

import msgspec

from runstate.core.times import format_time

MAX_LOG_BYTES = 64 * 1024 * 1024  # of one run
MAX_OPEN_FILES = 64
MAX_WAITING_LINES = 10_000


class Line(NamedTuple):
    """One line of a run's log."""

    run_id: str
    at_ms: int  #: Wall time, milliseconds since the Unix epoch.
    stage: str
    attempt: int
    level: str
    text: str


class RunLogs:
    """Writes lines below one directory; `close` returns once all are in their files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._queue: Queue[Line | None] = Queue(MAX_WAITING_LINES)
        self._files: dict[str, BinaryIO] = {}
        self._thread = threading.Thread(target=self._run, name="runstate-logs", daemon=True)
        self._thread.start()

    def path(self, run_id: str) -> Path:
        """Return where a run's log stands."""
        return self._directory / f"{run_id}.jsonl"

    async def add(self, line: Line) -> None:
        """Queue a line; waits while too many wait already."""
        try:
            self._queue.put_nowait(line)
        except Full:
            await asyncio.to_thread(self._queue.put, line)

    def close(self) -> None:
        """Write what is queued and close the files."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._write(line)
            except OSError:
                # A full disk must not end the thread; the journal's own trouble is what the server reports.
                self._files.pop(line.run_id, None)
        for file in self._files.values():
            file.close()

    def _write(self, line: Line) -> None:
        file = self._files.get(line.run_id) or self._open(line.run_id)
        if file.tell() > MAX_LOG_BYTES:
            return
        record = {
            "at": format_time(line.at_ms),
            "stage": line.stage,
            "attempt": line.attempt,
            "level": line.level,
            "text": line.text,
        }
        file.write(msgspec.json.encode(record) + b"\n")
        if file.tell() > MAX_LOG_BYTES:
            full = record | {"level": "warning", "text": "the log of this run is full; later lines are dropped"}
            file.write(msgspec.json.encode(full) + b"\n")

    def _open(self, run_id: str) -> BinaryIO:
        if len(self._files) >= MAX_OPEN_FILES:
            self._files.pop(next(iter(self._files))).close()
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self.path(run_id).open("ab", buffering=0)  # each line is there for `tail -f` at once
        self._files[run_id] = file
        return file

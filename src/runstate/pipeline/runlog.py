"""The log lines of runs: one file of JSON lines per run, beside the journal and never in a document (PROTOCOL D7).

A thread writes, so a slow disk holds only those who log much, never the event loop. What stands here is bounded: a run's
log ends with a marker once it is full. A line's offset is the number of bytes up to and with it, so reading on after the
last offset one has seen is a seek.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Full, Queue
from typing import Any, BinaryIO, NamedTuple

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


class Page(NamedTuple):
    """Lines of a run's log, each a JSON object with its `offset`."""

    lines: tuple[dict[str, Any], ...]
    next: int  #: Reading on after this offset continues here.


class RunLogs:
    """Writes lines below one directory; `close` returns once all are in their files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._queue: Queue[Line | threading.Event | None] = Queue(MAX_WAITING_LINES)
        self._files: dict[str, BinaryIO] = {}
        self._followers: dict[str, set[asyncio.Event]] = {}
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

    def read(self, run_id: str, *, after: int, limit: int) -> Page:
        """Return up to `limit` lines after an offset; blocks on the disk."""
        try:
            with self.path(run_id).open("rb") as file:
                file.seek(max(0, after - 1))
                if after > 0:
                    file.readline()  # the rest of the line that `after` is the end of, or stands in
                return _page(file, limit)
        except FileNotFoundError:
            return Page((), after)

    def flush(self) -> None:
        """Return once every line that was added before is in its file; blocks."""
        reached = threading.Event()
        self._queue.put(reached)
        reached.wait()

    @contextmanager
    def following(self, run_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever lines of the run have been written, as long as the block lasts."""
        loop, written = asyncio.get_running_loop(), asyncio.Event()
        self._loop = loop
        self._followers.setdefault(run_id, set()).add(written)
        try:
            yield written
        finally:
            self._followers[run_id].discard(written)
            if not self._followers[run_id]:
                del self._followers[run_id]

    def _tell(self, run_id: str) -> None:
        for written in self._followers.get(run_id, ()):
            written.set()

    def close(self) -> None:
        """Write what is queued and close the files."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            if isinstance(line, threading.Event):
                line.set()
                continue
            try:
                self._write(line)
                if line.run_id in self._followers:
                    self._loop.call_soon_threadsafe(self._tell, line.run_id)
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


def _page(file: BinaryIO, limit: int) -> Page:
    lines: list[dict[str, Any]] = []
    offset = file.tell()
    for line in file:
        if len(lines) == limit or not line.endswith(b"\n"):
            break  # a line that is still being written is read the next time
        offset += len(line)
        lines.append({"offset": offset} | msgspec.json.decode(line))
    return Page(tuple(lines), offset)

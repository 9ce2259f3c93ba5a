"""The log lines of runs: beside the journal and never in a document (PROTOCOL D7), in the files of `logfiles.py`.

A thread writes, so a slow disk holds only those who log much, never the event loop. Memory is bounded: whoever logs while
too much waits for the disk waits too. A follower has an offset and an event that says "there is more", never a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from runstate.pipeline.logfiles import Page, Tail, encode_line, read, read_last, written_ms
from runstate.ports import Clock

MAX_LOG_BYTES = 64 * 1024 * 1024  # of one run
MAX_WAITING_BYTES = 4 * 1024 * 1024  # on their way to the disk, of all runs
MAX_OPEN_FILES = 64
MAX_TAILS = 1024
LINE_OVERHEAD_BYTES = 200  # what a waiting line takes beside its text

log = logging.getLogger("runstate.pipeline")


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

    def __init__(self, directory: Path, *, clock: Clock, max_bytes: int = MAX_LOG_BYTES) -> None:
        """Begin to write.

        Args:
            max_bytes: What the log of one run may take; its oldest lines go beyond that.
        """
        self._directory, self._clock, self._max_bytes = directory, clock, max_bytes
        self._waiting: deque[Line | Callable[[], None]] = deque()
        self._waiting_bytes = 0
        self._more = threading.Condition()
        self._room: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None  # for whom waits to log
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self._lost: dict[str, int] = {}  # lines of runs whose log cannot even be begun
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._closing = self._in_trouble = False
        self._thread = threading.Thread(target=self._run, name="runstate-logs", daemon=True)
        self._thread.start()

    def directory(self, run_id: str) -> Path:
        """Return where a run's log stands."""
        return self._directory / run_id

    async def add(self, line: Line) -> None:
        """Take a line; waits while too much is on its way to the disk."""
        while self._waiting_bytes > MAX_WAITING_BYTES:
            loop, room = asyncio.get_running_loop(), asyncio.Event()
            with self._more:
                if self._room is None:
                    self._room = (loop, room)
                room = self._room[1]
                if self._waiting_bytes <= MAX_WAITING_BYTES:
                    break
            await room.wait()
        self._put(line, LINE_OVERHEAD_BYTES + len(line.text))

    def read(self, run_id: str, *, after: int, limit: int, stages: Sequence[str] | None = None) -> Page:
        """Return up to `limit` lines after an offset; blocks on the disk."""
        now_ms = self._clock.now_ms()
        return read(self.directory(run_id), after=after, limit=limit, stages=stages, now_ms=now_ms)

    def read_last(self, run_id: str, *, count: int, stages: Sequence[str] | None = None) -> Page:
        """Return the last lines; blocks on the disk."""
        return read_last(self.directory(run_id), count=count, stages=stages, now_ms=self._clock.now_ms())

    def flush(self) -> None:
        """Return once every line that was added before is in its file; blocks."""
        reached = threading.Event()
        self._put(reached.set)
        reached.wait()

    def older_than(self, before_ms: int) -> list[str]:
        """Return the runs whose logs have lines, and were last written before a wall time; blocks on the disk."""
        if not self._directory.exists():
            return []
        found = []
        for directory in sorted(self._directory.iterdir()):
            written = written_ms(directory) if directory.is_dir() else None
            if written is not None and written < before_ms:
                found.append(directory.name)
        return found

    def forget(self, run_id: str) -> None:
        """Let go of a run's lines, in turn with what is written; a gap stays in their place."""
        self._put(lambda: self._tail(run_id).forget())

    @contextmanager
    def following(self, run_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever lines of the run have been written, as long as the block lasts."""
        self._loop, written = asyncio.get_running_loop(), asyncio.Event()
        self._followers.setdefault(run_id, set()).add(written)
        try:
            yield written
        finally:
            self._followers[run_id].discard(written)
            if not self._followers[run_id]:
                del self._followers[run_id]

    def close(self) -> None:
        """Write what waits and close the files."""
        with self._more:
            self._closing = True
            self._more.notify()
        self._thread.join()

    def _tell(self, run_id: str) -> None:
        for written in self._followers.get(run_id, ()):
            written.set()

    def _put(self, work: Line | Callable[[], None], size: int = 0) -> None:
        with self._more:
            self._waiting.append(work)
            self._waiting_bytes += size
            self._more.notify()

    def _run(self) -> None:
        while True:
            with self._more:
                while not self._waiting and not self._closing:
                    self._more.wait()
                work, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
                room, self._room = self._room, None
            if not work:
                break
            if room is not None:
                _call(room[0], room[1].set)
            try:
                self._do(work)
            except Exception:
                # The top of the thread: were it to end, everybody who logs would wait for ever without a word.
                log.exception("the logs' thread met a bug", extra={"event": "log_failed"})
        for tail in self._tails.values():
            tail.close()

    def _do(self, work: deque[Line | Callable[[], None]]) -> None:
        lines: dict[str, list[Line]] = {}
        for piece in work:
            if isinstance(piece, Line):
                lines.setdefault(piece.run_id, []).append(piece)
            else:
                self._write(lines)
                lines = {}
                with self._trouble_told():
                    piece()
        self._write(lines)

    def _write(self, lines: dict[str, list[Line]]) -> None:
        for run_id, of_run in lines.items():
            self._lost[run_id] = self._lost.get(run_id, 0) + len(of_run)
            with self._trouble_told():
                tail = self._tail(run_id)
                tail.lost += self._lost.pop(run_id) - len(of_run)
                encoded = (encode_line(i.at_ms, i.stage, i.attempt, i.level, i.text) for i in of_run)
                tail.write(encoded, now_ms=of_run[-1].at_ms)
                if tail.lost:
                    raise OSError(f"{tail.lost} lines of run {run_id} could not be written")
            if run_id in self._followers:
                _call(self._loop, self._tell, run_id)

    @contextmanager
    def _trouble_told(self) -> Iterator[None]:
        """Let a full disk neither end the thread nor fill the server's own log; what is lost leaves a gap in the run's."""
        try:
            yield
        except OSError as error:
            if not self._in_trouble:
                log.warning("log lines are lost: %s", error, extra={"event": "log_lines_lost"})
            self._in_trouble = True
        else:
            self._in_trouble = False

    def _tail(self, run_id: str) -> Tail:
        if run_id not in self._tails:
            self._tails[run_id] = Tail.open(self.directory(run_id), self._max_bytes, now_ms=self._clock.now_ms())
            if len(self._tails) > MAX_TAILS:
                self._tails.popitem(last=False)[1].close()
        self._tails.move_to_end(run_id)
        open_ones = [tail for tail in self._tails.values() if tail.file is not None]
        for tail in open_ones[: max(0, len(open_ones) - MAX_OPEN_FILES)]:
            tail.close()
        return self._tails[run_id]


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: str) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits in it any more
        loop.call_soon_threadsafe(function, *args)

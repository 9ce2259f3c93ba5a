"""Reading what a worker writes, without ever holding more of it than one piece.

Law: the next piece is read when the last one was taken, so a worker that floods waits in its own `write`. After `finish`
(the worker is dead) what lies in the pipe is still read, but nobody is waited for: a copy of the pipe's other end may be
open somewhere for ever.
"""

from __future__ import annotations

import asyncio
import os

from runstate.core.model import cut_text
from runstate.pipeline.runners.outcome import MAX_LINE_BYTES

PIECE_BYTES = 16 * 1024  # some hundred lines: the loop is free again after a millisecond


class PipeReader:
    """The reading end of a pipe or socket in the event loop; owns the descriptor."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._is_finished = False
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end."""
        while True:
            try:
                piece = os.read(self._fd, PIECE_BYTES)
            except BlockingIOError:
                if self._is_finished:
                    return b""
                await self._readable()
                continue
            except ConnectionResetError:  # the peer died with something of ours unread
                return b""
            await asyncio.sleep(0)  # a flood is always readable, and the loop has other readers
            return piece

    def finish(self) -> None:
        """Let `read` end once nothing is left to read."""
        self._is_finished = True
        self._wake()

    def close(self) -> None:
        """Release the descriptor; nobody may be reading."""
        os.close(self._fd)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        loop.add_reader(self._fd, self._wake)
        try:
            await self._waiter
        finally:
            loop.remove_reader(self._fd)
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class LineCutter:
    """Pieces of output in, lines of text out; holds at most one line, cut at `MAX_LINE_BYTES`.

    A line ends at LF, CR LF, or a CR alone (progress bars). One that begins with `long_prefix` is cut at `long_bytes`.
    """

    def __init__(self, long_prefix: bytes | None = None, long_bytes: int = MAX_LINE_BYTES) -> None:
        self._begun = b""
        self._long_prefix, self._long_bytes = long_prefix, long_bytes

    def feed(self, piece: bytes) -> list[str]:
        """Return the lines that `piece` completes."""
        lines = (self._begun + piece).splitlines(keepends=True)
        # A CR at the end may be half of a CR LF.
        is_open = bool(lines) and not lines[-1].endswith(b"\n")
        # One byte beyond the limit, so that the cut is marked; the rest of an over-long line is dropped as it comes.
        last = lines.pop() if is_open else b""
        limit = self._limit_of(last)
        self._begun = last[: limit + 1] + (b"\r" if last.endswith(b"\r") and len(last) > limit + 1 else b"")
        return [self._text(line) for line in lines]

    def rest(self) -> list[str]:
        """Return the last line where the output ended without a line end."""
        return [self._text(self._begun)] if self._begun else []

    def _limit_of(self, line: bytes) -> int:
        is_long = self._long_prefix is not None and line.startswith(self._long_prefix)
        return self._long_bytes if is_long else MAX_LINE_BYTES

    def _text(self, line: bytes) -> str:
        return cut_text(line.rstrip(b"\r\n").decode(errors="replace"), self._limit_of(line))

"""The files of one run's log: segments of JSON lines, the oldest of which go when the run has used up its budget.

    logs/<run_id>/000000000000000.jsonl     a head line, then the lines with the offsets 1, 2, 3 …
    logs/<run_id>/000000000008123.jsonl     … 8124, 8125 …

Law: a line's offset is its number in the run, from 1, and never means another line. A segment's name says how many came
before it, so the name alone tells what is missing where the files before it are gone. Whatever is lost is said by a line
with `gap` in its place. A segment that a dead machine may have lost the end of is never written on: the next begins
beyond all offsets that may have been shown of it.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from runstate.core.times import format_time
from runstate.pipeline.runners.process import boot_id

SEGMENT_BYTES = 1024 * 1024
SEGMENTS_OF_BUDGET = 16  # at least so many make a budget, so that little goes at once
MOST_LINES = 32_768  # of a segment: a line takes more than 64 bytes, and a segment ends with the line that fills it
PAGE_BYTES = 2 * 1024 * 1024  # what a page holds in memory, whatever its limit
SUFFIX = ".jsonl"
_STAGE_AT = len('{"at":"2026-11-23T17:36:00.123Z","stage":')


class Row(NamedTuple):
    """One line of a log as readers get it."""

    offset: int
    encoded: bytes  #: A JSON object, its `offset` included.


class Page(NamedTuple):
    """Lines of a run's log (PROTOCOL H8)."""

    first: int  #: Offset of the oldest line that is kept; where there is none, of the next to come.
    rows: tuple[Row, ...]
    next: int  #: Reading on after this offset continues here.

    @property
    def lines(self) -> tuple[dict[str, Any], ...]:
        """The rows as fresh dicts."""
        return tuple(msgspec.json.decode(row.encoded) for row in self.rows)


class Segment(NamedTuple):
    """One file."""

    before: int  #: Lines of the run that came before it.
    size: int  #: In bytes.


def encode_line(at_ms: int, stage: str | None, attempt: int, level: str, text: str, **more: Any) -> bytes:
    """Return a line as it stands in its file; its offset is its place there."""
    record = {"at": format_time(at_ms), "stage": stage, "attempt": attempt, "level": level, "text": text} | more
    return msgspec.json.encode(record) + b"\n"


def gap_line(at_ms: int, first: int, last: int, why: str) -> bytes:
    """Return the line that stands for the lost lines from `first` to `last`."""
    count = "a line is" if first == last else f"{last - first + 1} lines are"
    text = f"{count} missing here ({first} to {last}): {why}"
    return encode_line(at_ms, None, 0, "warning", text, gap={"first": first, "last": last})


@dataclass(slots=True)
class Tail:
    """Where a run's log goes on; the thread that writes is the only one that has it."""

    directory: Path
    budget: int  #: In bytes, over all segments.
    segments: deque[Segment]
    next: int  #: Lines of the run so far.
    file: int | None = None  #: Descriptor of the last segment.
    lost: int = 0  #: Lines that the disk refused since.
    size: int = field(default=0)  #: Of the last segment.

    @classmethod
    def open(cls, directory: Path, budget: int, *, now_ms: int) -> Tail:
        """Take up a log where whoever wrote it before left it.

        Raises:
            OSError: It cannot be read or made.
        """
        directory.mkdir(parents=True, exist_ok=True)
        tail = cls(directory, budget, deque(_segments(directory)), 0)
        if not tail.segments:
            tail._begin(0)
            return tail
        last = tail.segments[-1]
        content = tail._path(last.before).read_bytes()
        head, _, lines = content.partition(b"\n")
        tail.next, tail.size = last.before + lines.count(b"\n"), len(content)
        if not content.endswith(b"\n") and head == content:
            tail._begin(last.before)  # it was only just begun
        elif head != _head():
            beyond = last.before + MOST_LINES
            why = "the machine went down, and nobody knows how many there were"
            tail._begin(beyond, gap_line(now_ms, tail.next + 1, beyond, why))
        elif not content.endswith(b"\n"):
            cut = tail.next + 1
            tail._begin(cut, gap_line(now_ms, cut, cut, "it was cut short when the server died"))
        return tail

    def write(self, lines: Iterable[bytes], *, now_ms: int) -> None:
        """Append lines; the oldest segments go where they would exceed the budget. What the disk refuses is counted."""
        waiting, count = bytearray(), 0
        for line in lines:
            waiting += line
            count += 1
            if self.size + len(waiting) >= self._segment_bytes:
                self._put(bytes(waiting), count, now_ms)
                waiting, count = bytearray(), 0
        if count:
            self._put(bytes(waiting), count, now_ms)

    def forget(self) -> None:
        """Let go of all lines; how many there were is kept.

        Raises:
            OSError: The disk refuses.
        """
        self._begin(self.next + self.lost)
        self.lost = 0
        self._drop(0)

    def close(self) -> None:
        """Let go of the descriptor; writing on takes it again."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    @property
    def _segment_bytes(self) -> int:
        return min(SEGMENT_BYTES, self.budget // SEGMENTS_OF_BUDGET)

    def _path(self, before: int) -> Path:
        return self.directory / f"{before:015d}{SUFFIX}"

    def _put(self, encoded: bytes, count: int, now_ms: int) -> None:
        try:
            if self.lost:
                first, beyond = self.next + 1, self.next + self.lost
                self._begin(beyond, gap_line(now_ms, first, beyond, "the disk refused them"))
                self.lost = 0
            elif self.size >= self._segment_bytes:
                self._begin(self.next)
            if self.file is None:
                self.file = os.open(self._path(self.segments[-1].before), os.O_WRONLY | os.O_APPEND)
            _write_all(self.file, encoded)
        except OSError:
            self.lost += count
            if self.file is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self.file, self.size)  # a piece of a line may stand there
            return
        self.next += count
        self._grow(len(encoded))
        self._drop(self.budget)

    def _begin(self, before: int, line: bytes = b"") -> None:
        """Begin a segment durably, so that no later one takes the same offsets."""
        self.close()
        begun = _head() + b"\n" + line
        path = self._path(before)
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(self.file, begun)
            _sync_directory(self.directory)
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise
        if self.segments and self.segments[-1].before == before:
            self.segments.pop()  # it had no line
        self.segments.append(Segment(before, 0))
        self.next, self.size = before + (1 if line else 0), 0
        self._grow(len(begun))

    def _grow(self, count: int) -> None:
        self.size += count
        self.segments[-1] = Segment(self.segments[-1].before, self.size)

    def _drop(self, budget: int) -> None:
        while len(self.segments) > 1 and sum(segment.size for segment in self.segments) > budget:
            self._path(self.segments.popleft().before).unlink(missing_ok=True)


def read(directory: Path, *, after: int, limit: int, stages: Sequence[str] | None = None, now_ms: int) -> Page:
    """Return up to `limit` lines after an offset; of some stages only, where `stages` names them.

    A line with `gap` stands where lines are missing, whatever the stages. A page that is large ends earlier than its limit.
    """
    wanted = _wanted(stages)
    while True:
        with contextlib.suppress(FileNotFoundError):  # a segment went while it was read: look again at what is there
            return _read(directory, after=after, limit=limit, wanted=wanted, now_ms=now_ms, page_bytes=PAGE_BYTES)


def read_last(directory: Path, *, count: int, stages: Sequence[str] | None = None, now_ms: int) -> Page:
    """Return the last `count` lines, of some stages only where `stages` names them."""
    wanted = _wanted(stages)
    while True:
        with contextlib.suppress(FileNotFoundError):
            segments = _segments(directory)
            rows: deque[Row] = deque()
            end = 0
            for segment in reversed(segments):
                page = _read(
                    directory,
                    after=segment.before,
                    limit=MOST_LINES,
                    wanted=wanted,
                    now_ms=now_ms,
                    page_bytes=2 * SEGMENT_BYTES,
                    only=segment,
                )
                end = max(end, page.next)
                rows.extendleft(reversed(page.rows))
                if len(rows) >= count:
                    break
            return Page(segments[0].before + 1 if segments else 1, tuple(rows)[-count:], end)


def written_ms(directory: Path) -> int | None:
    """Return when a log with lines was last written; None: it has none."""
    segments = _segments(directory)
    if not segments or (len(segments) == 1 and segments[0].size <= len(_head()) + 1):
        return None
    path = directory / f"{segments[-1].before:015d}{SUFFIX}"
    return path.stat().st_mtime_ns // 1_000_000


def _read(
    directory: Path,
    *,
    after: int,
    limit: int,
    wanted: tuple[bytes, ...] | None,
    now_ms: int,
    page_bytes: int,
    only: Segment | None = None,
) -> Page:
    segments = [only] if only is not None else _segments(directory)
    if not segments:
        return Page(1, (), after)
    rows: list[Row] = []
    floor = segments[0].before
    if after < floor:
        rows.append(_row(floor, gap_line(now_ms, after + 1, floor, "they are no longer kept")))
        after = floor
    held = 0
    begin = max(at for at, segment in enumerate(segments) if segment.before <= after)
    for segment in segments[begin:]:
        with (directory / f"{segment.before:015d}{SUFFIX}").open("rb") as file:
            for offset, line in _lines(file, segment.before):
                if offset <= after:
                    continue
                if len(rows) >= limit or held >= page_bytes:
                    return Page(floor + 1, tuple(rows), after)
                after = offset
                if wanted is None or line.startswith(wanted, _STAGE_AT):
                    rows.append(_row(offset, line))
                    held += len(line)
    return Page(floor + 1, tuple(rows), after)


def _lines(file: BinaryIO, before: int) -> Iterator[tuple[int, bytes]]:
    file.readline()  # the head
    for offset, line in enumerate(file, before + 1):
        if not line.endswith(b"\n"):
            return  # it is still being written, or was when the server died
        yield offset, line


def _row(offset: int, line: bytes) -> Row:
    return Row(offset, b'{"offset":%d,' % offset + line[1:-1])


def _wanted(stages: Sequence[str] | None) -> tuple[bytes, ...] | None:
    return None if stages is None else (b"null", *(msgspec.json.encode(stage) for stage in stages))


def _segments(directory: Path) -> list[Segment]:
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            name, dot, _ = entry.name.partition(SUFFIX)
            if dot and name.isdecimal():
                found.append(Segment(int(name), entry.stat().st_size))
    return sorted(found)


def _head() -> bytes:
    return msgspec.json.encode({"runstate_log": 1, "boot": boot_id()})


def _write_all(file: int, encoded: bytes) -> None:
    left = memoryview(encoded)
    while left:
        left = left[os.write(file, left) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

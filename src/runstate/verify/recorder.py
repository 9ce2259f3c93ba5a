"""What all readers saw, side by side: which version of which document had which digest, and who saw it first.

Law: bounded. Of each version one digest is kept and, in a file that vanishes with the process, its bytes as the first
reader received them; that is what evidence quotes. A promise broken here is raised at once.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Self

from runstate.core.position import Position
from runstate.verify.judging import Broken, Event, Judge, Row, in_words
from runstate.verify.promises import Violation

Key = tuple[str, str]
Order = tuple[int, int]

MAX_SEEN = 2_000_000  # versions, over all readers; some 500 MB
MAX_KEPT_BYTES = 1 << 30  # on disk
_EXCERPT = 40  # bytes on each side of the first difference


@dataclass(frozen=True, slots=True)
class Sighting:
    """A version as it was seen first."""

    row: Row
    reader: str
    at_ms: int
    place: tuple[int, int] | None  #: Of its bytes in the file: offset and length.


class Recorder:
    """Where every reader reports; `with` it."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms  #: Since the beginning.
        self.checks: Counter[str] = Counter()  #: What was held against each promise, beside what the judge counts.
        self.sightings: dict[Key, dict[tuple[str, int], Sighting]] = {}  #: By document, then epoch and version.
        self.seen = 0  #: Versions, each counted for each reader.
        self.commits: dict[
            Order, int
        ] = {}  #: Commits that arrived while we looked, and how many documents they touched.
        self.epochs: set[str] = set()  #: Incarnations of the store that streams named.
        self.late_ms = 0  #: How late this process itself was at most; nobody else is blamed for that.
        self.notes: list[str] = []  #: What was not as it should be and breaks no promise.
        self.failures: dict[
            str, tuple[int, str]
        ] = {}  #: By reader, connections and requests that failed, and the last.
        self.changed = asyncio.Event()  #: Set whenever somebody saw something; whoever waits clears it.
        self._judge = Judge()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with us

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def is_full(self) -> bool:
        """Whether it may take no more."""
        return self.seen >= MAX_SEEN

    def counts(self) -> Counter[str]:
        """Return how often each promise was held against something."""
        judged = Counter(self._judge.checks)
        del judged["atomic"]  # the judge counts parts of snapshots there; commits are what counts
        return self.checks + judged

    def judge(self, event: Event) -> None:
        """Hold the next event of a stream against the rules of streams.

        Raises:
            Violation: It breaks one.
        """
        try:
            self._judge.see(event)
        except Broken as broken:
            what = str(broken).partition("\n  ")[2].rpartition("\n  at ")[0]
            raise Violation(
                broken.promise, " ".join(what.split()), (f"{self._when()}, {in_words(broken.event)}",)
            ) from None
        self.changed.set()

    def saw(self, reader: str, row: Row, encoded: bytes | None = None) -> None:
        """Note that a reader saw a version.

        Args:
            reader: Who.
            row: What.
            encoded: Its bytes as received, None where a patch led to it.

        Raises:
            Violation: The bytes are not what their digest says, or somebody saw other ones.
        """
        self.seen += 1
        self.changed.set()
        seen = f"{self._when()}, {reader}: {_named(row)}"
        epoch = row.position.rpartition(".")[0]
        versions = self.sightings.setdefault(row.key, {})
        first = versions.get((epoch, row.version))
        if row.actual is not None:
            self.checks["byte-identical"] += 1
            if row.actual != row.digest:
                how = "the patch leads to" if encoded is None else "the bytes have"
                what = f"{how} {row.actual}, and {row.digest} was promised"
                raise Violation("byte-identical", what, (seen, *self._quotes(first, encoded)))
        if first is None:
            versions[epoch, row.version] = Sighting(row, reader, self.now_ms(), self._keep(encoded))
            return
        self.checks["byte-identical"] += 1
        both = (f"{first.at_ms / 1000:.3f} s, {first.reader}: {_named(first.row)}", seen)
        if first.row.digest != row.digest:
            raise Violation("byte-identical", "two readers saw different bytes", (*both, *self._differ(first, encoded)))
        if first.row.position != row.position:
            raise Violation("ordered", "one version stands at two positions", both)

    def arrived(self, rows: tuple[Row, ...]) -> None:
        """Note that a transition brought these; they were committed while we looked."""
        touched = Counter(Position.parse(row.position).order for row in rows)
        for order, count in touched.items():
            self.commits[order] = max(count, self.commits.get(order, 0))

    def failed(self, reader: str, what: str) -> None:
        """Note that a connection or a request of a reader failed; it tries again, and no promise is broken by it."""
        count, _ = self.failures.get(reader, (0, ""))
        self.failures[reader] = count + 1, what

    def told(self) -> list[str]:
        """Return all notes."""
        failures = self.failures.items()
        return [*self.notes, *(f"{name}: {count} tries failed, the last: {what}" for name, (count, what) in failures)]

    def fail(self, promise: str, what: str, *seen: str) -> NoReturn:
        """Say that a promise is broken, now.

        Raises:
            Violation: Always.
        """
        raise Violation(promise, what, [f"{self._when()}: {line}" for line in seen])

    def _when(self) -> str:
        return f"{self.now_ms() / 1000:.3f} s"

    def _keep(self, encoded: bytes | None) -> tuple[int, int] | None:
        if encoded is None:
            return None
        offset = self._file.seek(0, 2)
        if offset + len(encoded) > MAX_KEPT_BYTES:
            return None
        self._file.write(encoded)
        return offset, len(encoded)

    def _quotes(self, first: Sighting | None, encoded: bytes | None) -> tuple[str, ...]:
        """Return what wrong bytes are quoted with: the right ones, if somebody has seen them."""
        if encoded is None:
            return ()
        true = () if first is None else self._differ(first, encoded)
        return true or (f"nobody had seen this version before; its bytes: {_cut(encoded)}",)

    def _differ(self, first: Sighting, encoded: bytes | None) -> tuple[str, ...]:
        if first.place is None or encoded is None:
            return ()
        offset, length = first.place
        self._file.seek(offset)
        kept = self._file.read(length)
        at = next((n for n, (a, b) in enumerate(zip(kept, encoded, strict=False)) if a != b), min(length, len(encoded)))
        start = max(0, at - _EXCERPT)
        return (
            f"they differ from byte {at} on:",
            f"  {first.reader}: {_cut(kept[start:], 2 * _EXCERPT)}",
            f"  then: {_cut(encoded[start:], 2 * _EXCERPT)}",
        )


def _named(row: Row) -> str:
    return f"{row.kind} {row.id} v{row.version} at {row.position} {row.digest}"


def _cut(encoded: bytes, length: int = 200) -> str:
    text = encoded[:length].decode("utf-8", "replace")
    return text + "…" if len(encoded) > length else text

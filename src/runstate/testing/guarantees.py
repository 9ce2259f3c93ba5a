"""The judge: what every reader was promised, and the first event of a recording that breaks it.

Law: pure. It takes events in the order in which they were seen, keeps what it needs to judge the next one, and trusts
nobody: what a client was sent and what it showed are held against what the journal made durable. The text of a
violation is the promise. Promises that need the whole store (`Opened`, then each `Committed`) are judged where it is
recorded; the others always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from runstate.core.position import Position
from runstate.core.reader import Topics
from runstate.testing.recorded_store import Key, RecordedStore
from runstate.testing.recording import (
    Asked,
    Committed,
    Connected,
    Event,
    Greeted,
    Left,
    Opened,
    Read,
    Row,
    Settled,
    Shown,
    Snapped,
    Stepped,
)

PROMISES = {
    "ordered": "No reader goes back: positions grow, and within one incarnation of the store versions do.",
    "unique": "No change is sent twice on one connection, and no document twice in one frame.",
    "gap-free": "Each transition begins where the last one ended, or a snapshot says why; mode=every skips no version.",
    "atomic": "All documents of one commit arrive together.",
    "resumable": "A connection that resumes goes on right after that position, or a snapshot says why it cannot.",
    "bookmarkable": "Where a frame says `to` a position, all that concerns the reader up to there was delivered.",
    "byte-identical": "A version of a document has the same bytes and digest, however it was read.",
    "durable": "Nobody sees a version that is not in the journal.",
    "right": "What is shown at a position is what the store held at that position.",
    "honest": "A view that has heard nothing for three heartbeats does not call itself live.",
    "converges": "When all is quiet, every reader shows the head of the store.",
}

STALE_MS = 15_000 + 1  # three heartbeats, and a millisecond for whoever rounds
_REASONS = ("initial", "compacted", "epoch", "subscribe")


class Broken(AssertionError):
    """A promise that was not kept."""

    def __init__(self, promise: str, evidence: str, event: Event) -> None:
        self.promise, self.event = promise, event
        super().__init__(f"{promise} is broken. {PROMISES[promise]}\n  {evidence}\n  at {event}")


def _concerns(row: Row, topics: Topics) -> bool:
    if row.kind == "pipeline":
        return topics.everything or row.id in topics.pipelines
    return topics.everything or row.relative in topics.pipelines or row.id in topics.runs


@dataclass(slots=True)
class _Client:
    """What is known of one client and its connection."""

    topics: Topics = field(default_factory=Topics)
    mode: str = "latest"
    resume: Position | None = None
    hello: Position | None = None
    place: Position | None = None  #: Where the stream is; None: a snapshot must come first.
    asked: int = 0
    parts: list[Row] | None = None  #: Of a snapshot that is arriving.
    parts_position: Position | None = None
    heard_ms: int | None = None
    shown: Shown | None = None
    shown_at: Position | None = None
    versions: dict[Key, tuple[str, int]] = field(default_factory=dict)  #: Shown last: epoch of the view, and version.


class Judge:
    """Judges one event after the other; `checks` counts by promise what was held against it."""

    def __init__(self) -> None:
        self.checks: Counter[str] = Counter()
        self._stores: dict[str, RecordedStore] = {}
        self._clients: dict[str, _Client] = {}
        self._digests: dict[tuple[Key, int, str], str] = {}
        self._durable: set[tuple[Key, int, str, str]] = set()
        self._event: Event

    def see(self, event: Event) -> None:
        """Judge the next event.

        Raises:
            Broken: It breaks a promise.
        """
        self._event = event
        match event:
            case Opened(epoch=epoch, copy_of=original, revision=revision):
                self._open(epoch, original, revision)
            case Committed(position=text, rows=rows):
                position = Position.parse(text)
                store = self._stores.setdefault(position.epoch, RecordedStore())
                self._check("ordered", position.revision == store.revision + 1, "revisions have a hole or go back")
                store.add(position.revision, rows)
                for row in rows:
                    self._durable.add((row.key, row.version, row.position, row.digest))
                    self._same_bytes(row)
            case Settled():
                self._settle(event)
            case Read(row=row):
                self._true(row)
            case _:
                client = self._clients.setdefault(event.client, _Client())
                if isinstance(event, Shown):
                    self._show(client, event)
                else:
                    self._hear(client, event)

    def _open(self, epoch: str, original: str | None, revision: int) -> None:
        known = RecordedStore() if original is None else self._stores[original]
        self._stores[epoch] = known.copy(revision)

    # Streams

    def _hear(self, client: _Client, event: Connected | Asked | Greeted | Snapped | Stepped | Left) -> None:
        if isinstance(event, Connected):
            client.topics, client.mode = Topics.parse(event.topics), event.mode
            client.resume = client.place = None if event.resume is None else Position.parse(event.resume)
            client.hello, client.asked, client.parts = None, 0, None
            return
        if isinstance(event, Asked):
            client.asked += 1
            return
        client.heard_ms = event.at_ms
        if isinstance(event, Greeted):
            self._check("gap-free", client.hello is None, "a second hello on one connection")
            client.hello = Position.parse(event.position)
            return
        self._check("gap-free", client.hello is not None, "the first frame of a connection is no hello")
        match event:
            case Snapped():
                self._snapshot(client, event)
            case Stepped():
                self._step(client, event)
            case Left(code=code, resume=resume):
                self._bye(client, code, resume)

    def _snapshot(self, client: _Client, event: Snapped) -> None:
        position = Position.parse(event.position)
        if client.parts is None:
            self._reason(client, event.reason)
            if client.place is not None:
                self._check("ordered", position.order >= client.place.order, f"a snapshot behind {client.place}")
            client.parts, client.parts_position = [], position
        self._check("atomic", position == client.parts_position, "a snapshot's parts are of two positions")
        for row in event.rows:
            self._true(row)
            self._check("unique", row.key not in {one.key for one in client.parts}, f"{row.key} twice")
            client.parts.append(row)
        if event.more:
            return
        parts, client.parts, client.place, client.resume = client.parts, None, position, None
        store = self._stores.get(position.epoch)
        if store is not None:
            self._equal("bookmarkable", parts, store.cut(client.topics, position.revision))

    def _reason(self, client: _Client, reason: str) -> None:
        self._check("gap-free", reason in _REASONS, "a snapshot gives no known reason")
        if reason == "subscribe":
            self._check("gap-free", client.asked > 0, "nobody asked for this snapshot")
            client.asked -= 1
        elif reason == "initial":
            self._check("gap-free", client.place is None, "an initial snapshot in the middle of a stream")
        elif reason == "epoch":
            other = client.resume is not None and client.hello is not None and client.resume.epoch != client.hello.epoch
            self._check("resumable", other, "it is the same incarnation of the store, and the resume was refused")
        else:
            asked = client.resume is not None or client.mode == "every"
            self._check("gap-free", asked, "nothing that is compacted was asked for")

    def _step(self, client: _Client, event: Stepped) -> None:
        start, end = Position.parse(event.start), Position.parse(event.end)
        self._check("gap-free", client.parts is None, "a transition between the parts of a snapshot")
        promise = "gap-free" if client.resume is None else "resumable"
        self._check(promise, start == client.place, f"the stream is at {client.place}")
        self._check("ordered", start.epoch == end.epoch and end.revision >= start.revision, "it leads back")
        self._check("unique", len({row.key for row in event.rows}) == len(event.rows), "one document twice")
        for row in event.rows:
            self._true(row)
            made = Position.parse(row.position).order
            self._check("unique", start.order < made <= end.order, f"{row.key} v{row.version} is not of this step")
        client.place, client.resume = end, None
        store = self._stores.get(end.epoch)
        if store is not None:
            self._complete(client, store, start.revision, end.revision, event.rows)

    def _complete(self, client: _Client, store: RecordedStore, start: int, end: int, rows: tuple[Row, ...]) -> None:
        """Hold a step against what the store did between its ends."""
        self._check("durable", end <= store.revision, "the store has not come so far")
        sent = {row.key: row for row in rows}
        shown = store.cut(client.topics, end)
        made = store.between(start, end)
        for row in rows:
            latest = store.at(row.key, end)
            self._check("right", latest is not None and latest.version == row.version, f"{row.key} is not the latest")
            for mate in made:
                if mate.position == row.position and shown.get(mate.key) == mate:
                    self._check("atomic", mate.key in sent, f"{mate.key} of {mate.position} is missing")
        for row in made:
            owed = shown.get(row.key) == row
            if client.mode == "every":
                owed = _concerns(row, client.topics)
                has = row.key in sent and sent[row.key].version == row.version
                self._check("gap-free", has or not owed, f"{row.key} v{row.version} was skipped")
            self._check("bookmarkable", row.key in sent or not owed, f"{row.key} v{row.version} was not delivered")

    def _bye(self, client: _Client, code: str, resume: str) -> None:
        if code == "behind":
            far = client.resume is not None and client.hello is not None and client.hello.order < client.resume.order
            self._check("resumable", far, "the server is not behind")
        elif client.place is not None and client.parts is None:
            self._check(
                "bookmarkable", Position.parse(resume).order <= client.place.order, "bye names a later position"
            )

    # Views and answers

    def _show(self, client: _Client, event: Shown) -> None:
        if event.state in ("live", "quiet") and client.heard_ms is not None:
            self._check("honest", event.at_ms - client.heard_ms <= STALE_MS, "it heard nothing for too long")
        if event.position is None or (
            client.shown is not None and (event.position, event.rows) == (client.shown.position, client.shown.rows)
        ):
            return
        position = Position.parse(event.position)
        if client.shown_at is not None:
            self._check("ordered", position.order >= client.shown_at.order, f"the view was at {client.shown_at}")
        store = self._stores.get(position.epoch)
        is_whole = store is not None
        for row in event.rows:
            if not row.verified:
                is_whole = False
                continue
            self._true(row)
            epoch, version = client.versions.get(row.key, ("", 0))
            self._check("ordered", epoch != position.epoch or row.version >= version, f"{row.key} was v{version}")
            client.versions[row.key] = position.epoch, row.version
        client.shown, client.shown_at = event, position
        if store is not None and is_whole:
            self._check("durable", position.revision <= store.revision, "the store has not come so far")
            self._equal("right", event.rows, store.cut(client.topics, position.revision))

    def _settle(self, event: Settled) -> None:
        head = Position.parse(event.position)
        for name in event.clients:
            client = self._clients.get(name, _Client())
            self._check("converges", client.shown_at == head, f"{name} is at {client.shown_at}")
            store = self._stores.get(head.epoch)
            if store is not None and client.shown is not None:
                self._equal("converges", client.shown.rows, store.cut(client.topics, head.revision))

    def _true(self, row: Row) -> None:
        if row.position and self._stores:
            made = (row.key, row.version, row.position, row.digest)
            self._check("durable", made in self._durable, f"{row.key} v{row.version} {row.digest}")
        self._same_bytes(row)

    def _same_bytes(self, row: Row) -> None:
        first = self._digests.setdefault((row.key, row.version, row.position), row.digest)
        self._check("byte-identical", first == row.digest, f"{row.key} v{row.version} was {first}")
        same = row.actual in (None, row.digest)
        self._check("byte-identical", same, f"{row.key} v{row.version}: the bytes have {row.actual}")

    def _equal(self, promise: str, rows: Iterable[Row], expected: dict[Key, Row]) -> None:
        has = {row.key: row.version for row in rows}
        wants = {key: row.version for key, row in expected.items()}
        self._check(promise, has == wants, f"has {has}\n  but {wants}" if has != wants else "")

    def _check(self, promise: str, holds: object, evidence: str) -> None:
        self.checks[promise] += 1
        if not holds:
            raise Broken(promise, evidence, self._event)


def judge(recording: Iterable[Event]) -> Counter[str]:
    """Judge a whole recording; return how often each promise was checked.

    Raises:
        Broken: The first violation.
    """
    judging = Judge()
    for event in recording:
        judging.see(event)
    return judging.checks

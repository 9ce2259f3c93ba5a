"""One reader's stream as it is heard: each message judged as it comes, and what is judged at the end kept.

Law: no I/O. A message comes in as its bytes; what breaks a promise comes out as a Violation. The order of the checks is
that of the question "what went wrong first": the chain, then what belongs together, then versions, then the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runstate.core.canonical import Json, decode, digest, encode
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.patch import apply
from runstate.core.position import Position
from runstate.verify.frames import Change, Frame, parse, row_of
from runstate.verify.judging import Asked, Connected, Greeted, Left, Row, Snapped, Stepped
from runstate.verify.recorder import Key, Order, Recorder

SLACK_MS = 2000  # a frame may be this late: the machine of either side may be busy
PATIENCE = 3  # heartbeats without word of the journal until its age breaks a promise (PROTOCOL F12)
MAX_RUNS = 256  # that patches may start from; a server keeps fewer
_QUOTED = 400  # bytes of a message


@dataclass(frozen=True, slots=True)
class Step:
    """Up to where a frame said that all was delivered, and what it delivered."""

    start: Order | None  #: None: a snapshot.
    end: Order
    rows: Mapping[Key, tuple[int, Order]]  #: Version, and the commit that made it.


@dataclass(slots=True)
class Hearing:
    """One reader of streams; its connections come and go."""

    name: str
    recorder: Recorder
    mode: str = "latest"
    delta: bool = False
    is_sse: bool = False
    place: str | None = None  #: Where the stream is; None: a snapshot must come first.
    heard_ms: int | None = None  #: When the last frame came; None while nobody listens.
    moved_ms: int = 0  #: When `place` last changed.
    heartbeat_ms: int = 5000
    frames: int = 0
    received: int = 0  #: Bytes.
    connections: int = 0
    latest: dict[Key, int] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    _resumed: bool = False
    _in_snapshot: bool = False
    _epoch: str = ""
    _last: tuple[Row, ...] = ()
    _bases: dict[Key, tuple[int, str, Json]] = field(default_factory=dict)
    _parts: dict[Key, tuple[int, Order]] = field(default_factory=dict)

    def connected(self, resume: str | None) -> None:
        """Note that a connection is asked for."""
        self.connections += 1
        self.place, self._resumed, self._in_snapshot, self._last = resume, resume is not None, False, ()
        if resume is None:
            self._bases.clear()
        at_ms = self.recorder.now_ms()
        self.recorder.judge(
            Connected(client=self.name, at_ms=at_ms, topics="*", mode=self.mode, delta=self.delta, resume=resume)
        )

    def asked(self) -> None:
        """Note that a snapshot was asked for on the open connection."""
        self.recorder.judge(Asked(client=self.name, at_ms=self.recorder.now_ms()))

    def disconnected(self) -> None:
        """Note that nobody listens now."""
        self.heard_ms = None

    def hear(self, raw: bytes, event_id: str | None = None) -> Frame | None:
        """Take a message; return its frame.

        Args:
            raw: As received.
            event_id: Of an event stream, the id that a reconnect would name now.

        Raises:
            Violation: It breaks a promise.
        """
        self.frames += 1
        self.received += len(raw)
        if self.heard_ms is not None:
            self.recorder.checks["honest"] += 1
            self.check_silence()
        self.heard_ms = self.recorder.now_ms()
        place = self.place
        try:
            frame = parse(raw)
            if frame is not None:
                self._take(frame)
        except PeerError as broken:
            what = f"a message breaks the protocol: {broken}"
            self.recorder.fail("gap-free", what, f"{self.name}: {raw[:_QUOTED].decode('utf-8', 'replace')}")
        if self.place != place:
            self.moved_ms = self.heard_ms
        is_place = frame is not None and frame.type in ("transition", "snapshot") and not frame.more
        if self.is_sse and is_place and event_id != self.place:
            what = f"the event's id is {event_id}, and a reconnect that names it would not go on at {self.place}"
            self.recorder.fail("resumable", what, self.name)
        return frame

    def check_silence(self) -> None:
        """Hold the time since the last frame against what `hello` promised (F3).

        Raises:
            Violation: It was too long.
        """
        if self.heard_ms is None:
            return
        silent_ms = self.recorder.now_ms() - self.heard_ms
        if silent_ms > self.heartbeat_ms + SLACK_MS + self.recorder.late_ms:
            what = f"nothing came for {silent_ms} ms, and a frame was promised every {self.heartbeat_ms} ms"
            self.recorder.fail("honest", what, f"{self.name}: the stream is at {self.place}")

    def has_reached(self, position: Order, versions: Mapping[Key, int]) -> bool:
        """Return whether all up to `position`, or these versions, have been delivered."""
        if self.place is not None and not self._in_snapshot and Position.parse(self.place).order >= position:
            return True
        return all(self.latest.get(key, 0) >= version for key, version in versions.items())

    def _take(self, frame: Frame) -> None:
        at_ms, judge = self.recorder.now_ms(), self.recorder.judge
        match frame.type:
            case "hello":
                self._greet(frame.epoch)
                self.heartbeat_ms = frame.heartbeat_ms
                judge(Greeted(client=self.name, at_ms=at_ms, epoch=frame.epoch, position=frame.position))
            case "snapshot":
                self._snapshot(frame)
            case "transition":
                self._transition(frame)
            case "bye":
                judge(Left(client=self.name, at_ms=at_ms, code=frame.code, resume=frame.resume))
            case "problem":
                self.recorder.fail("gap-free", f"the server refuses what it must take: {frame.detail}", self.name)

    def _greet(self, epoch: str) -> None:
        if self._epoch and Position(epoch, 0).order < Position(self._epoch, 0).order:
            self.recorder.fail("ordered", f"epoch {epoch} after {self._epoch}", self.name)
        if epoch != self._epoch:
            self.latest.clear()
        self._epoch = epoch
        self.recorder.epochs.add(epoch)

    def _snapshot(self, frame: Frame) -> None:
        if not self._in_snapshot:
            self._parts, self._in_snapshot = {}, True
            self._bases.clear()
        rows = self._rows(frame.changes)
        self._forward(rows)
        self.recorder.judge(
            Snapped(
                client=self.name,
                at_ms=self.recorder.now_ms(),
                position=frame.position,
                more=frame.more,
                reason=frame.reason,
                rows=rows,
            )
        )
        self._parts |= _versions(rows)
        if not frame.more:
            self.steps.append(Step(None, Position.parse(frame.position).order, self._parts))
            self.place, self._resumed, self._in_snapshot, self._last = frame.position, False, False, ()

    def _transition(self, frame: Frame) -> None:
        if not 0 <= frame.source_age_ms <= PATIENCE * self.heartbeat_ms:
            what = f"the journal was last known to work {frame.source_age_ms} ms ago"
            self.recorder.fail("honest", what, f"{self.name}: transition to {frame.end}")
        rows: tuple[Row, ...] = ()
        if frame.start == self.place:  # else the judge says so
            rows = self._rows(frame.changes)
            self._together(rows, frame)
            self._forward(rows)
        event = Stepped(client=self.name, at_ms=self.recorder.now_ms(), start=frame.start, end=frame.end, rows=rows)
        self.recorder.judge(event)
        if frame.start != frame.end:
            start, end = Position.parse(frame.start).order, Position.parse(frame.end).order
            self.steps.append(Step(start, end, _versions(rows)))
            self._last = rows
        self.recorder.arrived(rows)
        self.place, self._resumed = frame.end, False

    def _together(self, rows: tuple[Row, ...], frame: Frame) -> None:
        """Look for a document that comes later than its commit."""
        start = Position.parse(frame.start).order
        for row in rows:
            if Position.parse(row.position).order > start:
                continue
            seen = f"{self.name}: {row.kind} {row.id} v{row.version} of {row.position} in {frame.start} → {frame.end}"
            if self._resumed:
                self.recorder.fail("resumable", "a change from before the position that was resumed at", seen)
            mate = next((one for one in self._last if one.position == row.position and one.key != row.key), None)
            if mate is not None:
                what = f"{mate.kind} {mate.id} v{mate.version} of the same commit came one transition earlier"
                self.recorder.fail("atomic", what, seen)

    def _forward(self, rows: tuple[Row, ...]) -> None:
        """Look for a document that goes back, or in mode=every one that leaps."""
        for row in rows:
            had = self.latest.get(row.key, 0)
            self.recorder.checks["ordered"] += 1
            if row.version < had:
                seen = f"{self.name}: {row.kind} {row.id} v{row.version} at {row.position} after v{had}"
                self.recorder.fail("ordered", "a document went back", seen)
            if self.mode == "every" and not self._in_snapshot and had:
                self.recorder.checks["gap-free"] += 1
                if row.version > had + 1:
                    seen = f"{self.name}: {row.kind} {row.id} v{row.version} at {row.position} after v{had}"
                    self.recorder.fail("gap-free", "mode=every skipped a version", seen)
            self.latest[row.key] = row.version

    def _rows(self, changes: list[Change]) -> tuple[Row, ...]:
        rows = []
        for change in changes:
            if change.event == "gone":
                continue
            encoded = change.data.encoded
            if encoded:
                row = row_of(change.key, change.version, change.position, change.digest, encoded)
                self.recorder.saw(self.name, row, encoded)
                if self.delta:
                    self._keep(row, decode(encoded))
            else:
                row = self._patched(change)
            rows.append(row)
        return tuple(rows)

    def _patched(self, change: Change) -> Row:
        """Return what a patch leads to (F9)."""
        named = change.data.base
        if named is None:
            raise PeerError("a change carries a document, or a patch and its base")
        version, base_digest, document = self._bases.get(change.key, (0, "", None))
        if (version, base_digest) != (named.version, named.digest):
            kind, name = change.key
            has = f"v{version} {base_digest}" if version else "none"
            seen = (
                f"{self.name}: patch to {kind} {name} v{change.version} from v{named.version} {named.digest}, has {has}"
            )
            self.recorder.fail("gap-free", "a patch starts from a version that this reader was not given", seen)
        try:
            patched = apply(document, change.data.patch)
            encoded = encode(patched)
        except InvalidValue as exc:
            raise PeerError(str(exc)) from exc
        kind, name = change.key
        relative = patched.get("pipeline" if kind == "run" else "current_run_id")
        row = Row(kind, name, change.version, change.position, change.digest, actual=digest(encoded), relative=relative)
        self.recorder.saw(self.name, row)
        self._keep(row, patched)
        return row

    def _keep(self, row: Row, document: Json) -> None:
        if row.kind == "run" and row.key not in self._bases:
            runs = [key for key in self._bases if key[0] == "run"]
            for key in runs[: max(0, len(runs) - MAX_RUNS)]:
                del self._bases[key]
        self._bases[row.key] = row.version, row.digest, document


def _versions(rows: tuple[Row, ...]) -> dict[Key, tuple[int, Order]]:
    return {row.key: (row.version, Position.parse(row.position).order) for row in rows}

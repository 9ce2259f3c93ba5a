"""Frames made of plain answers: the last way to follow a server (PROTOCOL F13, over H1 to H4).

An answer proves an interval: its document has been so from its commit (`ETag`) to the server's head at that moment
(`Runstate-Position`). Documents stand together at a position that lies in all their intervals, and nowhere else.

    ask the lead, and wait ──── the head has not moved ────▶ heartbeat
          │ it has                                              ▲
          ▼                                                     │ nothing of ours changed
    ask whoever was last seen before the goal ── all reach it ──┴▶ snapshot, or transition to the least head
          ▲ one changed: the goal is its commit │
          └─────────────────────────────────────┘

Law: `round_of` says what to ask, `take` what came of it; time comes in. A frame never mixes two moments. Digests are
judged by the replica, like those of a stream. What the server thinks of its journal is not in its answers, so
`source_age_ms` is not known here. The lead is the run that changed last: a change of a pipeline's current run touches a
run too (D8), and whatever else moves is seen by the head when the wait ends.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from runstate.core.canonical import Json, decode
from runstate.core.commit import Key
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.position import Position
from runstate.core.replica import Change, Frame, Full, Hello, Left, Snapshot, Transition, Unreadable

PROTOCOL = 1
HEARTBEAT_MS = 5000
WAIT_ALONE_S = 5  # a heartbeat: the answer is the watermark
WAIT_S = 1  # where other documents may change meanwhile
ABREAST = 4  # requests at once: a browser has six connections to a server, for everything
MOST_ROUNDS = 8  # without a moment at which all stand together, until the link is told

Path = tuple[str, ...]
CATALOGUE: Path = ("api", "pipelines")

_SHA_256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")


@dataclass(frozen=True, slots=True)
class Ask:
    """One GET."""

    path: Path  #: Below the server's base; its parts are not yet quoted.
    after: Position | None = None  #: Only a newer document; else the answer is 304.
    least: Position | None = None  #: `min` on the wire.
    wait_s: int = 0  #: How long the server may hold it for that; 0: not at all.


@dataclass(frozen=True, slots=True)
class Round:
    """What to ask now, all at once."""

    asks: tuple[Ask, ...]
    pause_ms: int = 0  #: Before asking.


@dataclass(frozen=True, slots=True)
class Answer:
    """200 or 304; anything else is the end of the connection."""

    body: bytes | None  #: None: 304.
    tag: str | None = None  #: `ETag`, as it came.
    proof: str | None = None  #: `Repr-Digest`.
    head: str | None = None  #: `Runstate-Position`.


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one path."""

    since: Position  #: It has been so from this commit
    until: Position  #: to this one, at least.
    change: Full | None = None  #: The document; None: there is none yet (D5), or it is the catalogue.
    names: tuple[str, ...] = ()  #: Of the pipelines, in the catalogue.


@dataclass(frozen=True, slots=True)
class Poll:
    """One connection; begin with `Poll(topics)`."""

    topics: tuple[str, ...]
    epoch: str | None = None  #: Of the server's answers; None before the first.
    readings: Mapping[Path, Reading] = field(default_factory=lambda: MappingProxyType({}))
    goal: Position | None = None  #: Every path must have been seen at this, or later.
    position: Position | None = None  #: Of the last frame; None before the snapshot.
    shown: Mapping[Key, Full] = field(default_factory=lambda: MappingProxyType({}))
    rounds: int = 0  #: Since the last frame.
    pause_ms: int = 0  #: What the server did not wait, we do.
    has_ended: bool = False  #: The link must begin anew.


def round_of(poll: Poll) -> Round:
    """Return what to ask next, of a poll that has not ended."""
    due = _due(poll)
    if due:
        return Round(tuple(_ask(poll, path) for path in due[:ABREAST]))
    lead = _lead(poll)
    assert lead is not None, "a poll without a lead has ended"
    wait_s = WAIT_ALONE_S if len(_paths(poll)) == 1 else WAIT_S
    return Round((Ask(lead, after=poll.readings[lead].since, wait_s=wait_s),), poll.pause_ms)


def take(poll: Poll, answers: Mapping[Path, Answer], *, elapsed_ms: int) -> tuple[Poll, tuple[Frame, ...]]:
    """Return the poll after a round, and the frames that it came to.

    Args:
        answers: To what `round_of` asked.
        elapsed_ms: From the asking to the last answer.
    """
    wait_s = max(ask.wait_s for ask in round_of(poll).asks)
    try:
        heads = {path: _position(answer.head) for path, answer in answers.items()}
        epochs = {head.epoch for head in heads.values()}
        if epochs != {poll.epoch or min(epochs)}:  # another store: what was read of the old one is worth nothing
            return _count(replace(Poll(poll.topics), rounds=poll.rounds)), ()
        read = {path: _read(poll, path, answer, heads[path]) for path, answer in answers.items()}
    except (PeerError, InvalidValue):
        return replace(poll, has_ended=True), (Unreadable(),)
    frames: tuple[Frame, ...] = () if poll.epoch else (Hello(PROTOCOL, min(epochs), HEARTBEAT_MS),)
    before = poll
    readings = {**poll.readings, **{path: reading for path, reading in read.items() if reading is not None}}
    poll = replace(poll, epoch=min(epochs), readings=MappingProxyType(readings))
    if wait_s:
        (path,) = answers
        is_news = poll.readings[path].since != before.readings[path].since
        poll = replace(poll, goal=heads[path], pause_ms=0 if is_news else max(0, wait_s * 1000 - elapsed_ms))
        if read[path] is None:
            return _count(replace(poll, goal=before.goal)), ()
    known = [reading.since for reading in poll.readings.values()]
    goal = max(known if poll.goal is None else [poll.goal, *known], key=lambda position: position.order)
    poll = replace(poll, goal=goal)
    if _due(poll):
        return _count(poll), frames
    return _together(poll, frames)


def _together(poll: Poll, frames: tuple[Frame, ...]) -> tuple[Poll, tuple[Frame, ...]]:
    """Return the frame of the moment at which everything has been seen."""
    readings = [poll.readings[path] for path in _paths(poll)]
    position = min((reading.until for reading in readings), key=lambda position: position.order)
    shown = {reading.change.key: reading.change for reading in readings if reading.change is not None}
    if poll.position is None:
        frame: Frame = Snapshot(position, more=False, changes=tuple(shown.values()))
    else:
        changes: list[Change] = [
            replace(full, old_state=_old_state(poll.shown.get(key), full))
            for key, full in shown.items()
            if poll.shown.get(key) != full
        ]
        changes += [Left(key) for key in poll.shown if key not in shown]
        frame = Transition(poll.position, position, None, tuple(changes))
    poll = replace(poll, position=position, shown=MappingProxyType(shown), rounds=0, has_ended=_lead(poll) is None)
    return poll, (*frames, frame)


def _old_state(shown: Full | None, full: Full) -> str | None:
    # F9: the state at version − 1, which is known where that is what was shown.
    return shown.new_state if shown is not None and shown.version == full.version - 1 else None


def _paths(poll: Poll) -> tuple[Path, ...]:
    """Return what must be read, in the order in which it is shown."""
    paths: list[Path] = []
    for topic in poll.topics:
        kind, _, name = topic.partition(":")
        if kind == "run":
            paths.append(("api", "runs", name))
        elif kind == "pipeline":
            paths += _paths_of(name)
        else:
            catalogue = poll.readings.get(CATALOGUE)
            paths.append(CATALOGUE)
            paths += [path for known in (catalogue.names if catalogue else ()) for path in _paths_of(known)]
    return tuple(dict.fromkeys(paths))


def _paths_of(pipeline: str) -> tuple[Path, ...]:
    return ("api", "pipelines", pipeline), ("api", "pipelines", pipeline, "status")


def _due(poll: Poll) -> list[Path]:
    found = ((path, poll.readings.get(path)) for path in _paths(poll))
    return [
        path
        for path, reading in found
        if reading is None or (poll.goal is not None and reading.until.order < poll.goal.order)
    ]


def _ask(poll: Poll, path: Path) -> Ask:
    reading = poll.readings.get(path)
    return Ask(path, after=None if reading is None or path == CATALOGUE else reading.since, least=poll.goal)


def _lead(poll: Poll) -> Path | None:
    runs = [path for path in _paths(poll) if path in poll.readings and (len(path) == 4 or path[1] == "runs")]
    return max(runs, key=lambda path: poll.readings[path].since.order, default=None)


def _count(poll: Poll) -> Poll:
    rounds = poll.rounds + 1
    most = MOST_ROUNDS * (1 + len(_paths(poll)) // ABREAST)
    return replace(poll, rounds=rounds, has_ended=rounds > most)


def _read(poll: Poll, path: Path, answer: Answer, head: Position) -> Reading | None:
    """Return what is known of `path` now; None: the answer is older than that, or not to what was asked."""
    known = poll.readings.get(path)
    if known is not None and head.order < known.until.order:
        return None
    if path == CATALOGUE:
        return _read_catalogue(known, _object(answer.body))
    tag = None if answer.tag is None else _position(answer.tag.removeprefix("W/").strip('"'))
    if answer.body is None:
        is_same = known is not None and tag in (None, known.since)
        return replace(known, until=head) if known is not None and is_same else None
    # What something on the way took the tag from is so at the head, and before that perhaps.
    since = tag or head
    if head.order < since.order:
        raise PeerError(f"a document of {since} is later than its server, which is at {head}")
    if known is not None and since == known.since:
        return None  # we asked for what is newer, and that would have been 304: something on the way kept an old answer
    return Reading(since, head, _full(path, answer.body, since, _digest(answer.proof)))


def _read_catalogue(known: Reading | None, page: dict[str, Json]) -> Reading:
    position = _position(page.get("position"))
    listed = page.get("pipelines")
    if not isinstance(listed, list) or not all(isinstance(pipeline, dict) for pipeline in listed):
        raise PeerError("the catalogue lists pipelines")
    names = tuple(_text(pipeline.get("pipeline")) for pipeline in listed)
    if known is not None and known.names == names:
        return replace(known, until=position)
    return Reading(position, position, None, names)


def _full(path: Path, body: bytes, since: Position, digest: str) -> Full | None:
    document = _object(body)
    if path[1] == "pipelines" and len(path) == 3:
        return Full(Key("pipeline", path[2]), _version(document), since, digest, None, None, body)
    run_id = path[2] if path[1] == "runs" else document.get("run_id")
    if run_id is None:
        return None  # D5: never sent on streams, so never shown as a run
    state = _text(document.get("state"))
    return Full(Key("run", _text(run_id)), _version(document), since, digest, state, state, body)


def _digest(proof: str | None) -> str:
    found = _SHA_256.search(proof or "")
    if found is None:
        raise PeerError("a document came without the digest that proves it")
    return "sha-256:" + base64.b64decode(found[1]).hex()


def _object(body: bytes | None) -> dict[str, Json]:
    value = decode(body or b"")
    if not isinstance(value, dict):
        raise PeerError("an answer is a JSON object")
    return value


def _position(value: Json) -> Position:
    return Position.parse(_text(value))


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise PeerError(f"{value!r} is no text")
    return value


def _version(document: dict[str, Json]) -> int:
    version = document.get("version")
    if type(version) is not int:
        raise PeerError("a document has a version")
    return version

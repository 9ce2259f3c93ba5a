"""A world so small that all of it can be seen: two runs, a store, perhaps its copy, one client (`testing/explorer.py`).

Law: a state is frozen, and what may happen next is a list of moves, each a name and the state after it. The client is
`core/link.py` with `core/replica.py`, the server's side is `core/reader.py` and `core/frames.py`; time stands still, so
waits are over at once. What the rules decide is asked of `Rules`; leaving one out is a subclass (`testing/mutants.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, get_args

from runstate.client.frames import parse_frame
from runstate.core import frames
from runstate.core.canonical import FrozenJson, encode
from runstate.core.commit import Commit, Document, Key
from runstate.core.link import (
    PATIENCE,
    Action,
    Connect,
    Disconnect,
    Dropped,
    Event,
    Link,
    Received,
    Resync,
    Start,
    Tick,
    step,
)
from runstate.core.patch import diff
from runstate.core.position import Position
from runstate.core.reader import Base, Mode, Reader, Topics
from runstate.core.replica import Frame, Replica
from runstate.testing.commits import Author, make_pipeline, make_run

EPOCHS = ("1790000000-00000000", "1790000001-11111111")
ROOM = 2  # frames under way, at most, when another one is sent


Log = tuple[str, ...]  #: Names of commits: epoch's number, and "'" where a crash lost the one that stood there before.


@cache
def commits_of(log: Log) -> tuple[Commit, ...]:
    """Return the commits that a log names; the n-th is always of the same kind."""
    if not log:
        return ()
    before = commits_of(log[:-1])
    author = Author(EPOCHS[int(log[-1][0])], revision=len(before))
    author.heads = {change.document.key: change.document for commit in before for change in commit.changes}
    run_id = "A" if len(log) <= 2 else "B"
    metadata = FrozenJson({"again": log[-1].endswith("'")})
    run = make_run(run_id, "starting" if len(log) % 2 else "success", metadata=metadata)
    values = (run, make_pipeline(current_run_id=run_id)) if len(log) % 2 else (run,)
    return (*before, author.commit(*values))


@cache
def heads_of(log: Log) -> dict[Key, Document]:
    """Return what `*` shows at the end of a log: the pipeline and its current run."""
    latest = {change.document.key: change.document for commit in commits_of(log) for change in commit.changes}
    current = {d.pipeline.current_run_id for key, d in latest.items() if key.kind == "pipeline"}
    return {key: d for key, d in latest.items() if key.kind == "pipeline" or key.id in current}


_parse = cache(parse_frame)


@dataclass(frozen=True, slots=True)
class Server:
    """A store and who serves it."""

    epoch: int
    log: Log = ()  #: Durable.
    pending: str | None = None  #: Decided, and not durable.
    crashed: bool = False
    floor: int = 0  #: Commits up to here are compacted.
    serves: bool = True
    grows: bool = True


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection."""

    server: int
    reader: Reader
    under_way: tuple[bytes, ...] = ()  #: To the client.
    asked: bool = False  #: A `subscribe` is under way to the server.
    ended: bool = False  #: The server has said `bye`.
    registered: bool = True  #: Commits mark the reader.


Trouble = Literal["crash", "copy", "cut", "lie", "get", "compact"]
KINDS: frozenset[Trouble] = frozenset(get_args(Trouble))


@dataclass(frozen=True, slots=True)
class Budget:
    """What may still go wrong: each kind once, and so many in all."""

    left: int = 2
    spent: frozenset[Trouble] = frozenset()

    def has(self, kind: Trouble) -> bool:
        """Return whether this may happen."""
        return self.left > 0 and kind not in self.spent

    def without(self, kind: Trouble) -> Budget:
        """Return what is left when it has happened."""
        return Budget(self.left - 1, self.spent | {kind})


@dataclass(frozen=True, slots=True)
class State:
    """The world at one moment."""

    servers: tuple[Server, ...] = (Server(0),)
    link: Link = field(default_factory=Link)
    wire: Wire | None = None
    wants: Connect | None = None  #: The client's request is under way.
    ghosts: tuple[tuple[int, bytes], ...] = ()  #: Late frames of a connection that was cut.
    answer: Document | None = None  #: Of a GET, under way.
    budget: Budget = field(default_factory=Budget)

    def key(self) -> Hashable:
        """Return what tells two states apart."""
        link, wire = self.link, self.wire
        replica = link.replica
        reader = None if wire is None else wire.reader
        return (
            self.servers,
            (link.phase, link.generation, link.ask_at, link.asks, link.connect_at, link.transport),
            (replica.position, replica.following, replica.expecting, replica.faults, replica.parts_position),
            tuple((change.key, getattr(change, "version", 0)) for change in replica.parts),
            tuple(
                (key, entry.version, entry.digest, entry.verified, entry.encoded)
                for key, entry in replica.entries.items()
            ),
            None if wire is None else (wire.server, wire.under_way, wire.asked, wire.ended, wire.registered),
            None if reader is None else (reader.position, _digests(reader.dirty.values()), tuple(reader.bases.items())),
            self.wants,
            self.ghosts,
            None if self.answer is None else self.answer.digest,
            self.budget,
        )


def _digests(documents: Iterable[Document]) -> tuple[str, ...]:
    return tuple(document.digest for document in documents)


Move = tuple[str, State]


class Rules:
    """The rules as they are; a subclass leaves one out."""

    mode: Mode = "latest"
    delta = True
    steps = 3  #: Commits: A begins, A ends, B begins, B ends.
    troubles = 2  #: How much may go wrong in one story.
    kinds: frozenset[Trouble] = KINDS  #: And what.
    registers_at_once = True  #: Snapshot and registration are one step (F1).
    breaks = ""  #: The promise that does not hold without the rule.
    asks = False  #: GETs are sent; where their answers change nothing there is nothing to see.
    spoils_parts = False  #: Snapshots may be garbled too; their parts carry no number, so a client cannot notice.

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Return what the client judges when a frame arrives."""
        return replica, frame

    def generation(self, link: Link, generation: int) -> int:
        """Return the connection that a late frame is of."""
        return generation

    def take_answer(self, replica: Replica, document: Document) -> Replica:
        """Return the store after the answer of a GET (F11)."""
        return replica

    def shows(self, server: Server) -> Log:
        """Return the log as readers are told of it (V5)."""
        return server.log

    def refuses(self, resume: Position, head: Position) -> bool:
        """Return whether a server has not come as far as a reader that resumes (F6)."""
        return resume.order > head.order

    def epoch_of_copy(self, server: Server) -> int:
        """Return the epoch under which a copy is opened (V1)."""
        return server.epoch + 1

    def may_beat(self, reader: Reader) -> bool:
        """Return whether a heartbeat may go out (F3)."""
        return not reader.dirty

    def parcels(self, documents: tuple[Document, ...]) -> list[tuple[Document, ...]]:
        """Return the documents by transition (F5)."""
        return [documents]

    def is_compacted(self, position: Position, server: Server) -> bool:
        """Return whether a reader of every version must be told that some are gone (F6)."""
        return position.revision < server.floor


def begin(rules: Rules) -> State:
    """Return the first state: a client that wants to connect."""
    link = Link(transports=("websocket",), delta=rules.delta)
    return _act(State(link=link, budget=Budget(rules.troubles, KINDS - rules.kinds)), Start())


def moves(rules: Rules, state: State) -> Iterator[Move]:
    """Yield what may happen."""
    yield from _servers_move(rules, state)
    yield from _wire_moves(rules, state)
    yield from _client_moves(rules, state)


def _servers_move(rules: Rules, state: State) -> Iterator[Move]:
    budget, at = state.budget, len(state.servers) - 1
    for number, old in enumerate(state.servers[:-1]):
        if old.serves:
            yield f"server {number} retires", _cut(_with_server(state, number, replace(old, serves=False)), number)
    server = state.servers[at]
    if server.pending is not None:
        log = (*server.log, server.pending)
        grown = _with_server(state, at, replace(server, log=log, pending=None))
        yield f"commit {len(log)} is durable", _publish(rules, grown, at)
        if budget.has("crash"):
            died = _with_server(state, at, replace(server, pending=None, crashed=True))
            yield "crash, the tail is lost", _cut(replace(died, budget=budget.without("crash")), at)
    elif len(server.log) < rules.steps:
        pending = f"{server.epoch}{chr(39) * server.crashed}"
        decided = _with_server(state, at, replace(server, pending=pending))
        yield f"commit {len(server.log) + 1} is decided", _publish(rules, decided, at)
    if budget.has("copy") and server.log:
        spent = replace(state, budget=budget.without("copy"))
        older = replace(server, log=server.log[:-1], pending=None, serves=True, grows=False)
        rest = replace(server, pending=None, grows=False)
        yield "a stale server answers too", replace(spent, servers=(older, *state.servers), wire=_shifted(state.wire))
        for back in (0, 1):
            log = server.log[: len(server.log) - back]
            copy = Server(rules.epoch_of_copy(server), log, crashed=True)
            yield f"a copy of {len(log)} is opened", replace(spent, servers=(*state.servers[:-1], rest, copy))
    if budget.has("compact") and rules.mode == "every" and server.floor < len(server.log):
        compacted = _with_server(state, at, replace(server, floor=len(server.log)))
        yield "the log is compacted", replace(compacted, budget=budget.without("compact"))


def _shifted(wire: Wire | None) -> Wire | None:
    return None if wire is None else replace(wire, server=wire.server + 1)


def _wire_moves(rules: Rules, state: State) -> Iterator[Move]:
    wire, budget = state.wire, state.budget
    if wire is None:
        return
    server = state.servers[wire.server]
    if not wire.registered:
        yield "the reader is registered", replace(state, wire=replace(wire, registered=True))
    elif not wire.ended and len(wire.under_way) < ROOM:
        yield from _sends(rules, state, wire, server)
    if wire.asked and not wire.ended:
        again = _register(rules, replace(wire, asked=False), server, None, "subscribe")
        yield "the server hears subscribe", replace(state, wire=again)
    if wire.under_way:
        first, rest = wire.under_way[0], wire.under_way[1:]
        told = replace(state, wire=replace(wire, under_way=rest))
        kind = type(_parse(first)).__name__.lower()
        yield f"{kind} arrives", _hear(rules, told, state.link.generation, first)
        if budget.has("lie"):
            lied = replace(told, budget=budget.without("lie"))
            twice = replace(lied, wire=wire)
            if b'"more":true' not in first:
                yield f"{kind} is dropped on the way", lied
            if b'"again":false' in first:
                bent = first.replace(b'"again":false', b'"again":null')
                yield f"{kind} is bent on the way", _hear(rules, lied, state.link.generation, bent)
            yield f"{kind} arrives twice", _hear(rules, twice, state.link.generation, first)
            if kind != "snapshot" or rules.spoils_parts:
                yield f"{kind} is garbled", _hear(rules, lied, state.link.generation, b"{")
    elif wire.ended:
        yield "the connection ends", _act(replace(state, wire=None), Dropped(state.link.generation))
    if budget.has("cut"):
        cut = replace(state, budget=budget.without("cut"))
        yield "the link is cut", _cut(cut, wire.server)
        if wire.under_way:
            ghost = replace(cut, ghosts=((state.link.generation, wire.under_way[0]),))
            yield "the link is cut, a frame lingers", _cut(ghost, wire.server)


def _sends(rules: Rules, state: State, wire: Wire, server: Server) -> Iterator[Move]:
    reader, log = wire.reader, rules.shows(server)
    head = Position(EPOCHS[server.epoch], len(log))
    if reader.mode == "every":
        if rules.is_compacted(reader.position, server):
            yield "the server says compacted", replace(state, wire=_register(rules, wire, server, None, "compacted"))
        else:
            later = commits_of(log)[max(reader.position.revision, server.floor) :]
            if later:
                documents = tuple(change.document for change in later[0].changes)
                end = replace(head, revision=later[0].position.revision)
                yield f"transition to {end.revision} is sent", replace(state, wire=_send(wire, documents, end, log))
    elif reader.dirty:
        sent = wire
        for parcel in rules.parcels(tuple(reader.dirty.values())):
            sent = _send(sent, parcel, head, log)
        yield f"transition to {head.revision} is sent", replace(state, wire=sent)
    missed = not wire.under_way and state.link.replica.position != reader.position  # a heartbeat says so
    if (reader.position != head or missed) and rules.may_beat(reader) and (missed or reader.mode == "latest"):
        yield "a heartbeat is sent", replace(state, wire=_send(wire, (), reader.position if missed else head, log))


def _client_moves(rules: Rules, state: State) -> Iterator[Move]:
    link, budget = state.link, state.budget
    if state.wants is not None:
        for number, server in enumerate(state.servers):
            if server.serves:
                yield f"server {number} accepts, resume {state.wants.resume}", _accept(rules, state, number)
    if link.phase == "waiting" or link.ask_at is not None:
        yield "the wait is over", _act(state, Tick())
    if link.phase == "open" and not link.replica.following and state.wire and _is_silent(state.wire):
        yield "patience ends", _act(state, Tick(), now_ms=PATIENCE * link.heartbeat_ms)
    for generation, data in state.ghosts[:1]:
        frame = type(_parse(data)).__name__.lower()
        late = replace(state, ghosts=())
        yield f"a late {frame} arrives", _hear(rules, late, rules.generation(link, generation), data)
    if rules.asks and budget.has("get"):
        for document in heads_of(rules.shows(state.servers[-1])).values():
            yield f"GET {document.key.id} is answered", replace(state, answer=document, budget=budget.without("get"))
    if state.answer is not None:
        replica = rules.take_answer(link.replica, state.answer)
        yield "the GET's answer arrives", replace(state, answer=None, link=replace(link, replica=replica))


# What the moves are made of.


def _with_server(state: State, at: int, server: Server) -> State:
    return replace(state, servers=(*state.servers[:at], server, *state.servers[at + 1 :]))


def _publish(rules: Rules, state: State, at: int) -> State:
    """Mark the reader, if the server shows a commit that it has not been told of."""
    wire, server = state.wire, state.servers[at]
    log = rules.shows(server)
    if wire is None or wire.server != at or not wire.registered or not log:
        return state
    documents = [change.document for change in commits_of(log)[-1].changes]
    new = [d for d in documents if d.position.order > wire.reader.position.order]
    return replace(state, wire=replace(wire, reader=wire.reader.mark(new)))


def _cut(state: State, server: int) -> State:
    """End the connection, if it is to that server; what was under way is lost."""
    if state.wire is None or state.wire.server != server:
        return state
    return _act(replace(state, wire=None), Dropped(state.link.generation))


def _accept(rules: Rules, state: State, number: int) -> State:
    assert state.wants is not None
    server, resume = state.servers[number], state.wants.resume
    head = Position(EPOCHS[server.epoch], len(rules.shows(server)))
    hello = frames.hello(server="s", epoch=head.epoch, position=str(head)).data
    reader = Reader(Topics(), head, state.wants.delta, rules.mode)
    wire = Wire(number, reader, (hello,))
    position = None if resume is None else Position.parse(resume)
    return replace(state, wants=None, wire=_register(rules, wire, server, position, "initial"))


def _register(rules: Rules, wire: Wire, server: Server, resume: Position | None, reason: frames.SnapshotReason) -> Wire:
    """Do what the bus does at a subscription (F1, F6)."""
    log = rules.shows(server)
    head, shown = Position(EPOCHS[server.epoch], len(log)), tuple(heads_of(log).values())
    reader = Reader(Topics(), head, wire.reader.delta, rules.mode)
    if resume is not None and rules.refuses(resume, head):
        bye = frames.bye("behind", resume=str(head), retry_ms=0).data
        return replace(wire, reader=reader, under_way=(*wire.under_way, bye), ended=True)
    if resume is not None and resume.epoch == head.epoch:
        reader = replace(reader, position=resume)
        if rules.mode == "latest":
            reader = reader.mark(d for d in shown if d.position.order > resume.order)
        return replace(wire, reader=reader)
    why = reason if resume is None else "epoch"
    parts = [_part(d, head, why, more=d is not shown[-1]) for d in shown] or [_part(None, head, why, more=False)]
    return replace(
        wire,
        reader=reader.sent(shown, head),
        under_way=(*wire.under_way, *parts),
        registered=rules.registers_at_once,
    )


def _part(document: Document | None, position: Position, reason: frames.SnapshotReason, *, more: bool) -> bytes:
    """Return a part of a snapshot with one document, so that small documents make many parts."""
    documents = () if document is None else (document,)
    (part,) = frames.snapshot(documents, reason=reason, position=str(position))
    return part.data.replace(b'"more":false', b'"more":true') if more else part.data


def _send(wire: Wire, documents: tuple[Document, ...], end: Position, log: Log) -> Wire:
    reader = wire.reader
    changes = [_change(document, reader.bases.get(document.key), log) for document in documents]
    start = str(reader.position)
    frame = frames.transition(changes, start=start, end=str(end), now_ms=0, source_age_ms=0)
    return replace(wire, reader=reader.sent(documents, end), under_way=(*wire.under_way, frame.data))


def _change(document: Document, base: Base | None, log: Log) -> bytes:
    if base is not None:
        for change in (change for commit in commits_of(log) for change in commit.changes):
            old = change.document
            if (old.key, old.version, old.digest) == (document.key, base.version, base.digest):
                patch = encode(diff(old.value.to_dict(), document.value.to_dict()))
                return frames.delta_change(document, base, patch)
    return frames.full_change(document)


def _hear(rules: Rules, state: State, generation: int, data: bytes) -> State:
    if generation != state.link.generation:
        return _act(state, Received(generation, _parse(data)))
    replica, frame = rules.hear(state.link.replica, _parse(data))
    return _act(replace(state, link=replace(state.link, replica=replica)), Received(generation, frame))


def _is_silent(wire: Wire) -> bool:
    """Return whether nothing comes that would help a client which waits for a snapshot."""
    return not wire.under_way and not wire.asked and not wire.ended


def _act(state: State, event: Event, *, now_ms: int = 0) -> State:
    """Take one step of the link and do what it says; counts that only grow are held small, and time stands still."""
    link, actions = step(state.link, event, now_ms=now_ms, random=0.0)
    connect_at = None if link.connect_at is None else 0
    state = replace(state, link=replace(link, failures=0, asks=min(link.asks, 1), connect_at=connect_at))
    for action in actions:
        state = _perform(state, action)
    return state


def _perform(state: State, action: Action) -> State:
    match action:
        case Connect():
            # A number that no late frame carries; else connecting again and again would never meet a known state.
            number = 1 + max((generation for generation, _ in state.ghosts), default=0)
            link = replace(state.link, generation=number)
            return replace(state, link=link, wants=replace(action, generation=number), wire=None)
        case Resync():
            return replace(state, wire=None if state.wire is None else replace(state.wire, asked=True))
        case Disconnect():
            return replace(state, wire=None, wants=None)

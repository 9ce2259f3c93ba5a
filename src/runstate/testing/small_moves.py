"""What may happen next in the small world (`testing/small_world.py`).

Law: a move is a name and the state after it; nothing is changed in place. The client takes a step of `core/link.py` for
each event, the server's side is what the bus does with `core/reader.py`, and what the rules decide is asked of `Rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from runstate.client.frames import parse_frame
from runstate.core import frames
from runstate.core.canonical import encode
from runstate.core.commit import Document
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
from runstate.core.reader import Base, Reader, Topics
from runstate.testing.small_world import (
    EPOCHS,
    KINDS,
    Budget,
    Log,
    Move,
    Rules,
    Server,
    State,
    Wire,
    commits_of,
    heads_of,
)

ROOM = 2  # frames under way, at most, when another one is sent

_parse = cache(parse_frame)


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
        if "stale" in rules.copies:
            wire = _shifted(state.wire)
            yield "a stale server answers too", replace(spent, servers=(older, *state.servers), wire=wire)
        for back in (0, 1) if "new" in rules.copies else ():
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
            if "drop" in rules.lies and b'"more":true' not in first:
                yield f"{kind} is dropped on the way", lied
            if "bend" in rules.lies and b'"again":false' in first:
                bent = first.replace(b'"again":false', b'"again":null')
                yield f"{kind} is bent on the way", _hear(rules, lied, state.link.generation, bent)
            if "double" in rules.lies:
                yield f"{kind} arrives twice", _hear(rules, twice, state.link.generation, first)
            if "garble" in rules.lies:
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

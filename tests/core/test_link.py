"""The link under a hostile server: it never spins, never sleeps for ever, and never says live without reason.

The cases are in conformance/link.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core import link as links
from runstate.core.canonical import digest, encode
from runstate.core.commit import Key
from runstate.core.link import Connect, Disconnect, Dropped, Link, Received, Resync, Start, Stop, Tick, step, wake_at
from runstate.core.position import Position
from runstate.core.replica import Bye, Full, Hello, Snapshot, Transition, Trouble, Unknown, Unreadable

EPOCH = "100-aaaaaaaa"


def at(revision):
    return Position(EPOCH, revision)


def wrong(revision):
    encoded = encode({"run_id": "r1", "version": 1, "state": "starting"})
    return Full(Key("run", "r1"), 1, at(revision), digest(encoded + b" "), "idle", "starting", encoded)


HELLO = Hello(1, EPOCH, 5000)
HEARTBEAT = Transition(at(10), at(10), 0, ())
FRAMES = st.sampled_from(
    [
        HELLO,
        Hello(2, EPOCH, 5000),
        Hello(1, "50-cccccccc", 5000),
        Hello(1, "200-bbbbbbbb", 1),
        Snapshot(at(10), more=False, changes=()),
        Snapshot(at(10), more=True, changes=()),
        Snapshot(at(10), more=False, changes=(wrong(10),)),
        Snapshot(at(9), more=False, changes=()),
        HEARTBEAT,
        Transition(at(10), at(11), 99_999, ()),
        Transition(at(20), at(21), 0, ()),
        Bye("drain", 0),
        Bye("slow", 700),
        Trouble("not_found", 404, "no such run"),
        Unknown(),
        Unreadable(),
    ]
)
TRANSPORTS = st.sampled_from([("websocket", "sse"), ("websocket",), ("sse",)])
#: What the world does to a connection: frames, or its end.
ANSWERS = st.lists(FRAMES | st.just("drop"), max_size=4)


def play(link, event, now_ms, random=0.5):
    return step(link, event, now_ms=now_ms, random=random)


@pytest.mark.rule("F13")
@given(TRANSPORTS, st.data())
def test_nothing_is_asked_for_twice_without_a_wait(transports, data):
    """Whatever a server answers at once, a minute sees few requests, with the waits growing."""
    link, actions = play(Link(transports=transports), Start(), 0)
    asked, now_ms = 0, 0
    while now_ms < 60_000:
        requests = [action for action in actions if not isinstance(action, Disconnect)]
        asked += len(requests)
        assert asked <= 26, "a link that spins"
        actions = ()
        for answer in data.draw(ANSWERS) if requests else ():
            event = Dropped(link.generation) if answer == "drop" else Received(link.generation, answer)
            link, more = play(link, event, now_ms)
            actions += more
        if not actions:
            now_ms = max(now_ms, wake_at(link))
            link, actions = play(link, Tick(), now_ms)


@given(
    TRANSPORTS,
    st.lists(st.tuples(st.integers(0, 9000), FRAMES | st.sampled_from(["drop", "tick", "old"])), max_size=30),
)
def test_a_link_always_has_a_next_moment_and_one_connection(transports, happenings):
    """Until it is stopped there is a time to wake; a new connection is opened only when the one before is gone."""
    link, actions = play(Link(transports=transports), Start(), 0)
    now_ms, connected = 0, {1}
    for wait_ms, what in happenings:
        now_ms += wait_ms
        match what:
            case "drop":
                event = Dropped(link.generation)
                connected.discard(link.generation)
            case "tick":
                event = Tick()
            case "old":
                event = Received(link.generation - 1, HELLO)
            case frame:
                event = Received(link.generation, frame)
        before = link
        link, actions = play(link, event, now_ms)
        for action in actions:
            match action:
                case Connect(generation):
                    assert not connected
                    connected.add(generation)
                case Disconnect(generation):
                    connected.discard(generation)
                case Resync(generation):
                    assert connected == {generation}
        assert wake_at(link) is not None
        assert link.since == (before.since if link.state == before.state else now_ms)
        if link.state in ("live", "quiet"):
            assert now_ms - link.confirmed_at < links.PATIENCE * link.heartbeat_ms
            assert link.phase == "open"

    link, actions = play(link, Stop(), now_ms)
    assert wake_at(link) is None
    assert link.state == "stale"
    assert {action.generation for action in actions} == connected

"""One stream, as it is heard: what the rules allow passes, and what is just beyond them does not."""

from __future__ import annotations

import json

import pytest

from runstate.core.canonical import digest, encode
from runstate.verify.hearing import Hearing
from runstate.verify.promises import Violation
from runstate.verify.recorder import Recorder

EPOCH = "1795442496-88a9e774"
OLDER = "1795442495-88a9e774"


def at(revision: int, epoch: str = EPOCH) -> str:
    return f"{epoch}.{revision}"


def change(revision: int, version: int, *, epoch: str = EPOCH, name: str = "nightly") -> dict:
    document = {"epoch": epoch, "pipeline": name, "version": version, "current_run_id": None}
    return {
        "event": "pipeline_change",
        "kind": "pipeline",
        "pipeline": name,
        "position": at(revision, epoch),
        "version": version,
        "digest": digest(encode(document)),
        "data": {"document": document},
    }


def hello(epoch: str = EPOCH, revision: int = 1, heartbeat_ms: int = 5000) -> dict:
    return {
        "type": "hello",
        "protocol": 1,
        "epoch": epoch,
        "position": at(revision, epoch),
        "heartbeat_ms": heartbeat_ms,
    }


def snapshot(revision: int, *changes: dict, reason: str = "initial", more: bool = False, epoch: str = EPOCH) -> dict:
    return {
        "type": "snapshot",
        "reason": reason,
        "position": at(revision, epoch),
        "more": more,
        "changes": list(changes),
    }


def step(start: int, end: int, *changes: dict, source_age_ms: int = 0) -> dict:
    return {
        "type": "transition",
        "from": at(start),
        "to": at(end),
        "source_age_ms": source_age_ms,
        "changes": list(changes),
    }


class World:
    """A hearing whose clock the test holds."""

    def __init__(self, **options) -> None:
        self.now_ms = 0
        self.recorder = Recorder(lambda: self.now_ms)
        self.hearing = Hearing("reader", self.recorder, **options)
        self.hearing.connected(None)

    def hear(self, *frames: dict | bytes) -> None:
        for frame in frames:
            self.hearing.hear(frame if isinstance(frame, bytes) else encode(frame))


@pytest.fixture
def world():
    begun = World()
    with begun.recorder:
        begun.hear(hello(), snapshot(3, change(3, 1)))
        yield begun


def test_what_the_rules_allow_passes(world):
    world.hear(
        step(3, 4, change(4, 2)),
        step(4, 4),  # a heartbeat
        step(4, 9),  # a watermark
        {"type": "rumour", "changes": []},  # of a later protocol
        step(9, 12, change(11, 5), change(12, 1, name="hourly")),  # mode=latest skips versions
        {"type": "bye", "code": "drain", "retry_ms": 1000, "resume": at(12)},
    )
    world.hearing.connected(at(12))
    world.hear(hello(), step(12, 13, change(13, 6)))
    world.hearing.connected(at(13))
    world.hear(hello(), snapshot(20, change(20, 7), reason="compacted"))

    assert world.hearing.place == at(20)
    assert world.recorder.counts()["resumable"] >= 1


def test_a_later_incarnation_may_begin_again(world):
    later = "1795442497-88a9e774"
    world.hearing.connected(at(3))

    world.hear(hello(later), snapshot(3, change(3, 1, epoch=later), reason="epoch", epoch=later))

    assert world.hearing.place == at(3, later)


@pytest.mark.parametrize(
    ("frame", "promise"),
    [
        (step(3, 4, change(4, 0)), "ordered"),
        (hello(), "gap-free"),  # a second one
        (step(2, 4, change(4, 2)), "gap-free"),
        (step(3, 2), "ordered"),
        (step(3, 4, change(5, 2)), "unique"),
        (step(3, 4, change(4, 2), change(4, 2)), "unique"),
        (snapshot(4, change(4, 2)), "gap-free"),  # in the middle, and nobody asked
        (step(3, 4, change(4, 2) | {"digest": "sha-256:00"}), "byte-identical"),
        (step(3, 4, change(4, 2) | {"version": 3}), "gap-free"),  # the envelope names another version than the document
        (step(3, 4, change(4, 2) | {"pipeline": "hourly"}), "gap-free"),
        (step(3, 4, change(4, 2, epoch=OLDER) | {"position": at(4)}), "gap-free"),
        (step(3, 4, source_age_ms=15_001), "honest"),
        (step(3, 4, source_age_ms=-1), "honest"),
        ({"type": "problem", "detail": "no"}, "gap-free"),
        (b"{", "gap-free"),
        (b"\xff", "gap-free"),
        ({"type": "transition", "from": "3", "to": "4", "source_age_ms": 0, "changes": []}, "gap-free"),
    ],
)
def test_what_the_rules_do_not_allow_is_named(world, frame, promise):
    with pytest.raises(Violation) as caught:
        world.hear(frame)

    assert caught.value.promise == promise, caught.value


def test_a_smaller_epoch_goes_back(world):
    world.hearing.connected(None)

    with pytest.raises(Violation) as caught:
        world.hear(hello(OLDER))

    assert caught.value.promise == "ordered"


def test_a_new_connection_does_not_go_back(world):
    world.hear(step(3, 4, change(4, 2)))
    world.hearing.connected(None)

    with pytest.raises(Violation) as caught:
        world.hear(hello(), snapshot(3, change(3, 1)))

    assert caught.value.promise == "ordered"


@pytest.mark.parametrize(("silent_ms", "is_honest"), [(7000, True), (7001, False)])
def test_silence_has_a_bound(world, silent_ms, is_honest):
    """One heartbeat, and two seconds for machines that are busy."""
    world.now_ms += silent_ms

    if is_honest:
        world.hearing.check_silence()
    else:
        with pytest.raises(Violation, match="honest: nothing came for 7001 ms"):
            world.hearing.check_silence()


def test_our_own_slowness_is_nobody_elses_fault(world):
    world.now_ms += 9000
    world.recorder.late_ms = 2000

    world.hear(step(3, 4))


def test_silence_while_nobody_listens_is_none(world):
    world.hearing.disconnected()
    world.now_ms += 60_000

    world.hearing.check_silence()


def test_two_readers_must_see_the_same_bytes(world):
    """A forged document with a digest that fits it is told by the others, with the place where it differs."""
    other = Hearing("other", world.recorder)
    other.connected(None)
    forged = change(3, 1)
    forged["data"]["document"]["current_run_id"] = "x"
    forged["digest"] = digest(encode(forged["data"]["document"]))

    with pytest.raises(Violation) as caught:
        for frame in (hello(), snapshot(3, forged)):
            other.hear(encode(frame))

    assert caught.value.promise == "byte-identical"
    assert any("reader" in line for line in caught.value.seen)
    assert any("they differ from byte" in line for line in caught.value.seen)


def test_a_digest_is_that_of_the_bytes_as_they_came():
    """The same document with a blank in it is not the same bytes."""
    world = World()
    with world.recorder:
        world.hear(hello())
        spaced = json.dumps(snapshot(3, change(3, 1))).encode()

        with pytest.raises(Violation) as caught:
            world.hear(spaced)

    assert caught.value.promise == "byte-identical"

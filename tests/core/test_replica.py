"""The replica under every order of frames: right or asking, never wrong. The cases are in conformance/replica."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import digest, encode
from runstate.core.commit import Key
from runstate.core.patch import diff
from runstate.core.position import Position
from runstate.core.replica import (
    Delta,
    Full,
    Hello,
    Left,
    Outcome,
    Replica,
    Snapshot,
    Transition,
    Unreadable,
    begin,
    receive,
)

EPOCHS = ("100-aaaaaaaa", "200-bbbbbbbb")
RUNS = ("r1", "r2")
# Values that languages take for equal, so that a patch that confuses them is found.
NEAR = st.sampled_from([None, False, True, 0, 1, "", "1", [], [False], [0], {}, {"a": 0}, {"a": False}, 0.5])


def make_full(document, position):
    key = Key("run", document["run_id"])
    encoded = encode(document)
    return Full(key, document["version"], position, digest(encoded), "idle", document["state"], encoded)


def make_delta(base, document, position):
    key = Key("run", document["run_id"])
    of_base, of_document = digest(encode(base)), digest(encode(document))
    patch = diff(base, document)
    return Delta(
        key, document["version"], position, of_document, "idle", document["state"], base["version"], of_base, patch
    )


class History:
    """What a server committed: the truth at every position, and the frames that tell of it."""

    def __init__(self, steps):
        self.truth: dict[Position, dict[str, dict]] = {}
        self.frames = []
        documents: dict[str, dict] = {}
        revision = 10
        for epoch, changes in zip(EPOCHS, steps, strict=True):
            position = Position(epoch, revision)
            self.truth[position] = dict(documents)
            self.frames.append(Hello(1, epoch, 5000))
            for run_id, value, how in changes:
                start, position = position, Position(epoch, position.revision + 1)
                change = self._change(documents, run_id, value, how, position)
                self.truth[position] = dict(documents)
                self.frames.append(Transition(start, position, 0, () if change is None else (change,)))
            revision = position.revision
        self.frames += [self.snapshot(position) for position in self.truth]
        self.head = position

    def _change(self, documents, run_id, value, how, position):
        old = documents.get(run_id)
        if how == "quiet":
            return None
        if how == "gone":
            documents.pop(run_id, None)
            return Left(Key("run", run_id))
        new = {"run_id": run_id, "version": position.revision, "state": "starting", "metadata": {"value": value}}
        documents[run_id] = new
        return make_full(new, position) if old is None or how == "full" else make_delta(old, new, position)

    def snapshot(self, position):
        changes = tuple(make_full(document, position) for document in self.truth[position].values())
        return Snapshot(position, more=False, changes=changes)

    def shown_by(self, replica):
        return {key.id: entry.document for key, entry in replica.entries.items()}

    def expected_by(self, replica):
        return {} if replica.position is None else self.truth[replica.position]


CHANGE = st.tuples(st.sampled_from(RUNS), NEAR, st.sampled_from(["full", "delta", "delta", "gone", "quiet"]))
HISTORIES = st.builds(History, st.tuples(*(st.lists(CHANGE, max_size=6) for _ in EPOCHS)))


@pytest.mark.rule("F2", "F5", "F6", "F9")
@given(HISTORIES, st.data())
def test_right_or_asking_never_wrong(history, data):
    """Any subsequence, shuffle and duplication of frames leaves what some position truly was, and never goes back."""
    order = data.draw(st.lists(st.integers(0, len(history.frames) - 1), max_size=40))
    reconnects = data.draw(st.sets(st.integers(0, 40), max_size=5))
    replica = Replica()
    for turn, index in enumerate(order):
        if turn in reconnects:
            replica = begin(replica, resume=replica.resume is not None)
        before = replica
        replica, outcome = receive(replica, history.frames[index])

        assert encode(history.shown_by(replica)) == encode(history.expected_by(replica))
        assert before.position is None or before.position.order <= replica.position.order
        assert replica.faults == 0
        if outcome in (Outcome.RESYNC, Outcome.LEAVE):
            assert replica.resume is None or outcome is Outcome.LEAVE
        if outcome is not Outcome.APPLIED:
            assert replica.position == before.position

    replica, outcome = receive(begin(replica, resume=False), history.snapshot(history.head))
    assert outcome is Outcome.APPLIED, "the latest snapshot always heals"
    assert encode(history.shown_by(replica)) == encode(history.truth[history.head])


@pytest.mark.rule("F10")
@given(HISTORIES, st.data())
def test_what_is_wrong_is_marked_and_converges(history, data):
    """However many digests are wrong, what is shown as verified is true, and the next good version heals."""
    replica = Replica()
    for frame in history.frames:
        if isinstance(frame, Hello | Unreadable):
            continue
        changes = tuple(
            replace(change, digest="sha-256:" + "0" * 64)
            if not isinstance(change, Left) and data.draw(st.booleans())
            else change
            for change in frame.changes
        )
        replica, outcome = receive(replica, replace(frame, changes=changes))
        if outcome is Outcome.RESYNC:
            replica, _ = receive(replica, history.snapshot(history.head))
        truths = [encode(documents) for documents in history.truth.values()]
        verified = {key.id: entry.encoded for key, entry in replica.entries.items() if entry.verified}
        assert all(any(encoded in truth for truth in truths) for encoded in verified.values())
        assert all(digest(entry.encoded) == entry.digest for entry in replica.entries.values() if entry.verified)

    replica, outcome = receive(begin(replica, resume=False), history.snapshot(history.head))
    assert outcome is Outcome.APPLIED
    assert not replica.doubtful


@pytest.mark.rule("F11")
def test_a_document_that_is_given_out_is_the_readers_own():
    """PROTOCOL F11: what a reader does with a document does not reach the store."""
    position = Position(EPOCHS[0], 10)
    document = {"run_id": "r1", "version": 1, "state": "starting", "metadata": {}}
    replica, _ = receive(Replica(), Snapshot(position, more=False, changes=(make_full(document, position),)))
    entry = replica.entries[Key("run", "r1")]

    entry.document["metadata"]["mine"] = 1

    assert entry.document == document

"""Whatever a server does between two answers, plain answers never come to a view of two moments."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import encode
from runstate.core.poll import CATALOGUE, Answer, Poll, round_of, take
from runstate.core.position import Position
from runstate.core.replica import Outcome, Replica, begin, receive

EPOCH = "100-aaaaaaaa"
TOPICS = st.sampled_from([("*",), ("pipeline:a",), ("pipeline:b", "run:a1"), ("run:a1", "run:b1")])
#: What a commit does: a run goes on, a pipeline changes, a pipeline goes on to its next run; or another pipeline appears.
COMMITS = st.sampled_from(
    ["run a", "run b", "run b", "pipeline a", "pipeline b", "next a", "next b", "new", "elsewhere"]
)


class Store:
    """A server's documents, with every moment it had."""

    def __init__(self) -> None:
        self.revision = 0
        self.documents: dict[tuple[str, str], tuple[dict, int]] = {}
        self.current: dict[str, str] = {}
        self.moments: list[dict[tuple[str, str], bytes]] = []
        for name in ("a", "b"):
            self.commit("new", name)

    def commit(self, what: str, name: str = "") -> None:
        """Do one thing, as one revision."""
        word, _, known = what.partition(" ")
        name = known or name or f"more{len(self.current)}"
        self.revision += 1
        match word:
            case "run":
                self._put("run", self.current[name])
            case "pipeline":
                self._put("pipeline", name)
            case "next" | "new":
                number = int(self.current[name][len(name) :]) + 1 if name in self.current else 1
                self.current[name] = f"{name}{number}"
                self._put("run", self.current[name], pipeline=name)
                self._put("pipeline", name, current_run_id=self.current[name])
        self.moments.append({key: encode(document) for key, (document, _) in self.documents.items()})

    def _put(self, kind: str, name: str, **more: str) -> None:
        before, _ = self.documents.get((kind, name), ({"version": 0}, 0))
        named = {"run_id": name, "state": "starting"} if kind == "run" else {"pipeline": name}
        self.documents[kind, name] = ({**before, **named, **more, "version": before["version"] + 1}, self.revision)

    def answer(self, ask) -> Answer:
        """Answer as the server does."""
        head = f"{EPOCH}.{self.revision}"
        if ask.path == CATALOGUE:
            page = {"position": head, "pipelines": [{"pipeline": name} for name in self.current]}
            return Answer(encode(page), head=head)
        name = ask.path[2]
        key = ("run", self.current[name] if len(ask.path) == 4 else name)
        document, since = self.documents[("pipeline", name) if ask.path[1:] == ("pipelines", name) else key]
        body, tag = encode(document), f'"{EPOCH}.{since}"'
        if ask.after is not None and since <= ask.after.revision:
            return Answer(None, tag, None, head)
        proof = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return Answer(body, tag, f"sha-256=:{proof}:", head)


@pytest.mark.rule("F5", "F13")
@given(TOPICS, st.lists(st.lists(st.lists(COMMITS, max_size=2), min_size=4, max_size=4), min_size=1, max_size=40))
def test_every_view_is_one_moment(topics, rounds):
    """Commits come between any two answers of a round; each frame that follows fits the moment that it names."""
    store, poll = Store(), Poll(topics)
    replica = begin(Replica(topics=topics), resume=False)
    for between in rounds:
        if poll.has_ended:
            break
        answers = {}
        for ask, commits in zip(round_of(poll).asks, between, strict=False):
            for what in commits:
                store.commit(what)
            answers[ask.path] = store.answer(ask)
        poll, frames = take(poll, answers, elapsed_ms=0)
        for frame in frames:
            replica, outcome = receive(replica, frame)
            assert outcome in (Outcome.APPLIED, Outcome.IGNORED)
        check(store, replica, topics)


@given(TOPICS, st.lists(COMMITS, max_size=12))
def test_a_calm_server_is_shown_as_it_is(topics, commits):
    """When nothing changes any more, a few rounds come to the head, and then to heartbeats."""
    store, poll = Store(), Poll(topics)
    replica = begin(Replica(topics=topics), resume=False)
    for what in [*commits, None, None, None, None, None, None]:
        if what is not None:
            store.commit(what)
        for _ in range(1 + len(store.current)):
            poll, frames = take(poll, {ask.path: store.answer(ask) for ask in round_of(poll).asks}, elapsed_ms=0)
            for frame in frames:
                replica, _ = receive(replica, frame)

    assert replica.position == Position(EPOCH, store.revision)
    check(store, replica, topics)
    if topics == ("*",):
        shown = {key.id for key in replica.entries if key.kind == "pipeline"}
        assert shown == set(store.current)


def check(store, replica, topics):
    """Check that `replica` shows what was so at its position, and all of it that was asked for."""
    if replica.position is None:
        return
    moment = store.moments[replica.position.revision - 1]
    shown = {tuple(key): entry.encoded for key, entry in replica.entries.items()}
    assert shown == {key: moment[key] for key in shown}
    assert all(entry.verified for entry in replica.entries.values())
    wanted = {("run", topic[4:]) for topic in topics if topic.startswith("run:")}
    for kind, name in moment:
        if kind == "pipeline" and ("*" in topics or f"pipeline:{name}" in topics):
            pipeline = replica.entries.get(next((key for key in replica.entries if key == (kind, name)), None))
            assert pipeline is not None
            wanted |= {(kind, name), ("run", pipeline.relative)}
    assert set(shown) == wanted

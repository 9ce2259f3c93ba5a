"""The judge itself: a clean recording passes, also as JSON, and each promise has a recording that breaks it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from runstate.testing.guarantees import PROMISES, Broken, judge
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
    decode,
    encode,
)

E = "1790000000-00000000"


def at(revision: int) -> str:
    return f"{E}.{revision}"


def pipeline(version: int, revision: int, run: str | None = "A") -> Row:
    return Row("pipeline", "p", version, at(revision), f"p{version}", f"p{version}", run)


def run(version: int, revision: int, name: str = "A") -> Row:
    return Row("run", name, version, at(revision), f"{name}{version}", f"{name}{version}", "p")


#: The store: a run begins, goes on, ends; the next one begins.
STORE: list[Event] = [
    Opened(epoch=E),
    Committed(position=at(1), rows=(pipeline(1, 1), run(1, 1))),
    Committed(position=at(2), rows=(run(2, 2),)),
    Committed(position=at(3), rows=(run(3, 3),)),
    Committed(position=at(4), rows=(pipeline(2, 4, "B"), run(1, 4, "B"))),
]


@dataclass
class Reader:
    """Writes what one client saw."""

    events: list[Event] = field(default_factory=list)
    at_ms: int = 0

    def connects(self, *, resume: int | None = None, mode: str = "latest") -> Reader:
        place = None if resume is None else at(resume)
        self.events.append(Connected(client="c", at_ms=self.at_ms, topics="*", mode=mode, resume=place))
        self.events.append(Greeted(client="c", at_ms=self.at_ms, epoch=E, position=at(4)))
        return self

    def snapped(self, revision: int, *rows: Row, reason: str = "initial") -> Reader:
        position = at(revision)
        self.events.append(
            Snapped(client="c", at_ms=self.at_ms, position=position, more=False, reason=reason, rows=rows)
        )
        return self

    def stepped(self, start: int, end: int, *rows: Row) -> Reader:
        self.events.append(Stepped(client="c", at_ms=self.at_ms, start=at(start), end=at(end), rows=rows))
        return self

    def shows(self, revision: int, *rows: Row, state: str = "live") -> Reader:
        self.events.append(Shown(client="c", at_ms=self.at_ms, position=at(revision), rows=rows, state=state))
        return self

    def then(self, event: Event) -> Reader:
        self.events.append(event)
        return self

    def later(self, ms: int) -> Reader:
        self.at_ms += ms
        return self


def begun() -> Reader:
    """A reader that has its snapshot at revision 2."""
    first = (pipeline(1, 1), run(2, 2))
    return Reader().connects().snapped(2, *first).shows(2, *first)


LAST = (pipeline(2, 4, "B"), run(1, 4, "B"))


def test_a_clean_recording_passes_and_every_promise_was_checked() -> None:
    """Also when it was written down and read again."""
    reader = begun().stepped(2, 3, run(3, 3)).shows(3, pipeline(1, 1), run(3, 3))
    reader.connects(resume=3, mode="every").stepped(3, 4, *LAST).shows(4, *LAST)
    reader.then(Read(client="c", at_ms=0, row=run(1, 1))).then(Asked(client="c", at_ms=0))
    reader.snapped(4, *LAST, reason="subscribe").then(Left(client="c", at_ms=0, code="drain", resume=at(4)))
    recording = [*STORE, *reader.events, Settled(position=at(4), clients=("c",))]

    checks = judge(decode(encode(recording)))

    assert set(checks) == set(PROMISES)


BROKEN = {
    "ordered": begun().stepped(2, 4, *LAST).shows(4, *LAST).shows(2, pipeline(1, 1), run(2, 2)),
    "unique": begun().stepped(2, 3, run(3, 3)).stepped(3, 3, run(3, 3)),
    "gap-free": begun().stepped(3, 4, *LAST),
    "atomic": begun().stepped(2, 4, pipeline(2, 4, "B")),
    "resumable": Reader().connects(resume=2).stepped(3, 4, *LAST),
    "bookmarkable": begun().stepped(2, 3),
    "byte-identical": begun().then(Read(client="c", at_ms=0, row=Row("run", "A", 2, at(2), "A2", "other"))),
    "durable": begun().then(Read(client="c", at_ms=0, row=run(4, 5))),
    "right": begun().shows(3, pipeline(1, 1), run(2, 2)),
    "honest": begun().later(15_100).shows(2, pipeline(1, 1), run(2, 2), state="quiet"),
    "converges": begun().then(Settled(position=at(4), clients=("c",))),
}


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_can_be_broken(promise: str) -> None:
    """The text is the promise, and the evidence stands below it."""
    with pytest.raises(Broken) as caught:
        judge([*STORE, *BROKEN[promise].events])

    assert caught.value.promise == promise
    assert PROMISES[promise] in str(caught.value)


@pytest.mark.parametrize(
    "reader",
    [
        Reader().connects(mode="every").snapped(2, pipeline(1, 1), run(2, 2)).stepped(2, 4, *LAST),
        begun().snapped(2, pipeline(1, 1), run(2, 2), reason="subscribe"),
        begun().snapped(3, pipeline(1, 1), run(3, 3), reason="compacted"),
    ],
    ids=["every skips a version", "nobody asked", "nothing compacted was asked for"],
)
def test_a_stream_with_a_hole_is_told(reader: Reader) -> None:
    """A reader of every version misses none, and a snapshot has a reason."""
    with pytest.raises(Broken, match="gap-free"):
        judge([*STORE, *reader.events])

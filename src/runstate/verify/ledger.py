"""What can be judged only when all is known: whether each reader was given everything up to where it was told so.

Law: pure. The ledger is every version that anybody saw or the history names, with the commit that made it. A reader's
steps and a poller's answers are held against it. Where the ledger knows nothing, nothing is claimed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from runstate.core.position import Position
from runstate.verify.answers import Answers
from runstate.verify.hearing import Hearing, Step
from runstate.verify.promises import Violation
from runstate.verify.recorder import Key, Order, Sighting

Made = tuple[Order, Key, int]  # commit, document, version


ValueT = TypeVar("ValueT")


class Timeline(Generic[ValueT]):
    """What was so from which commit on."""

    def __init__(self, values: Mapping[Order, ValueT]) -> None:
        self._orders = sorted(values)
        self._values = [values[order] for order in self._orders]

    def at(self, order: Order) -> tuple[Order, ValueT] | None:
        """Return what was so at a commit and since when, None where that is not known."""
        found = bisect_right(self._orders, order)
        return (self._orders[found - 1], self._values[found - 1]) if found else None


class Ledger:
    """All that is known of who was committed when."""

    def __init__(
        self,
        made: list[Made],
        documents: Mapping[Key, Timeline[int]],
        pipeline_of: Mapping[Key, str],
        current: Mapping[str, Timeline[str | None]],
    ) -> None:
        self.checks: Counter[str] = Counter()
        self._made, self._orders = made, [order for order, _, _ in made]  # in the order of commits
        self._documents, self._pipeline_of, self._current = documents, pipeline_of, current

    def hold(self, hearing: Hearing) -> None:
        """Hold a stream against the ledger.

        Raises:
            Violation: It was not given something that it was told was delivered.
        """
        for step in hearing.steps:
            if step.start is None:
                self._hold_snapshot(hearing.name, step)
            elif hearing.mode == "every":
                self._hold_every(hearing.name, step, step.start)
            else:
                self._hold_latest(hearing.name, step, step.start)

    def hold_answers(self, answers: Answers) -> None:
        """Hold a poller's answers against the ledger.

        Raises:
            Violation: There was a later version before the head that an answer named.
        """
        for mark in answers.marks:
            self.checks["bookmarkable"] += 1
            latest = self._at(mark.key, mark.head)
            if latest is not None and latest[0] > mark.made:
                what = f"v{mark.version} was given as the latest at revision {mark.head[1]}"
                raise Violation(
                    "bookmarkable", what, (f"{answers.name}: {_named(mark.key)} had v{latest[1]} at {latest[0][1]}",)
                )

    def _hold_snapshot(self, name: str, step: Step) -> None:
        for key in self._documents:
            latest = self._at(key, step.end)
            if latest is None or not self._is_owed(key, step.end):
                continue
            self.checks["bookmarkable"] += 1
            given = step.rows.get(key)
            if given is None or given[0] != latest[1]:
                raise _undelivered("bookmarkable", name, step, key, latest)

    def _hold_latest(self, name: str, step: Step, start: Order) -> None:
        owed = {key: (order, version) for order, key, version in self._between(start, step.end)}
        self.checks["bookmarkable"] += 1
        for key, (order, version) in owed.items():
            if not self._is_owed(key, step.end):
                continue
            self.checks["atomic"] += 1
            given = step.rows.get(key)
            if given is None or given[0] != version:
                raise _undelivered(_promise(step, order, "bookmarkable"), name, step, key, (order, version))

    def _hold_every(self, name: str, step: Step, start: Order) -> None:
        for order, key, version in self._between(start, step.end):
            self.checks["gap-free"] += 1
            self.checks["atomic"] += 1
            given = step.rows.get(key)
            if given is None or given[0] != version:
                raise _undelivered(_promise(step, order, "gap-free"), name, step, key, (order, version))

    def _between(self, start: Order, end: Order) -> list[Made]:
        return self._made[bisect_right(self._orders, start) : bisect_right(self._orders, end)]

    def _at(self, key: Key, order: Order) -> tuple[Order, int] | None:
        """Return the latest version of a document at a commit, and the commit that made it."""
        timeline = self._documents.get(key)
        return None if timeline is None else timeline.at(order)

    def _is_owed(self, key: Key, order: Order) -> bool:
        """Return whether the topic `*` shows the document at that commit: a pipeline, or the current run of one."""
        if key[0] == "pipeline":
            return True
        timeline = self._current.get(self._pipeline_of.get(key, ""))
        current = None if timeline is None else timeline.at(order)
        return current is not None and current[1] == key[1]


def ledger_of(
    sightings: Mapping[Key, Mapping[tuple[str, int], Sighting]], history: Mapping[Key, Mapping[int, Order]]
) -> Ledger:
    """Return the ledger of what was seen and what the history names."""
    versions: dict[Key, dict[int, Order]] = {key: dict(made) for key, made in history.items()}
    pipeline_of: dict[Key, str] = {}
    current: dict[str, Timeline[str | None]] = {}
    for key, seen in sightings.items():
        rows = {Position.parse(one.row.position).order: one.row for one in seen.values()}
        versions.setdefault(key, {}).update({row.version: order for order, row in rows.items()})
        if key[0] == "pipeline":
            current[key[1]] = Timeline({order: row.relative for order, row in rows.items()})
        else:
            pipeline_of[key] = next((row.relative for row in rows.values() if row.relative is not None), "")
    made = sorted((order, key, version) for key, of in versions.items() for version, order in of.items())
    documents = {key: Timeline({order: version for version, order in of.items()}) for key, of in versions.items()}
    return Ledger(made, documents, pipeline_of, current)


def _promise(step: Step, order: Order, otherwise: str) -> str:
    """Return what is broken where a version of the commit `order` is missing."""
    return "atomic" if any(made == order for _, made in step.rows.values()) else otherwise


def _undelivered(promise: str, name: str, step: Step, key: Key, latest: tuple[Order, int]) -> Violation:
    given = step.rows.get(key)
    has = "it came without it" if given is None else f"it came with v{given[0]}"
    begin = "a snapshot" if step.start is None else f"a transition from revision {step.start[1]}"
    mates = [f"{_named(mate)} v{version}" for mate, (version, made) in step.rows.items() if made == latest[0]]
    together = (f"of the same commit came {', '.join(mates)}",) if mates else ()
    what = f"{_named(key)} v{latest[1]} of revision {latest[0][1]} was not delivered with its frame"
    return Violation(promise, what, (f"{name}: {begin} up to {step.end[1]}, and {has}", *together))


def _named(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def hold_all(ledger: Ledger, hearings: Iterable[Hearing], polls: Iterable[Answers]) -> Counter[str]:
    """Hold every reader against the ledger; return the number of checks by promise.

    Raises:
        Violation: One of them was told that it has all, and has not.
    """
    for hearing in hearings:
        ledger.hold(hearing)
    for answers in polls:
        ledger.hold_answers(answers)
    return ledger.checks

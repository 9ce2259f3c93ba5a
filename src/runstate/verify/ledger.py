"""What can be judged only when all is known: whether each reader was given everything up to where it was told so.

Law: pure. The ledger is every version that anybody saw or the history names, with the commit that made it. A reader's
steps and a poller's answers are held against it. Where the ledger knows nothing, nothing is claimed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runstate.core.position import Position
from runstate.verify.answers import Answers
from runstate.verify.hearing import Hearing, Step
from runstate.verify.promises import Violation
from runstate.verify.recorder import Key, Order, Sighting

Made = tuple[Order, Key, int]  # commit, document, version


@dataclass
class Ledger:
    """All that is known of who was committed when."""

    made: list[Made] = field(default_factory=list)  #: In the order of commits.
    checks: Counter[str] = field(default_factory=Counter)
    _orders: list[Order] = field(default_factory=list)
    _of: dict[Key, tuple[list[Order], list[int]]] = field(default_factory=dict)
    _pipeline_of: dict[Key, str] = field(default_factory=dict)
    _current: dict[str, tuple[list[Order], list[str | None]]] = field(default_factory=dict)

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
                raise Violation("bookmarkable", what, (f"{answers.name}: {_named(mark.key)} had v{latest[1]} at {latest[0][1]}",))

    def _hold_snapshot(self, name: str, step: Step) -> None:
        for key in self._of:
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
        return self.made[bisect_right(self._orders, start) : bisect_right(self._orders, end)]

    def _at(self, key: Key, order: Order) -> tuple[Order, int] | None:
        """Return the latest version of a document at a commit, and the commit that made it."""
        orders, versions = self._of.get(key, ([], []))
        found = bisect_right(orders, order)
        return (orders[found - 1], versions[found - 1]) if found else None

    def _is_owed(self, key: Key, order: Order) -> bool:
        """Return whether the topic `*` shows the document at that commit: a pipeline, or the current run of one."""
        if key[0] == "pipeline":
            return True
        orders, runs = self._current.get(self._pipeline_of.get(key, ""), ([], []))
        found = bisect_right(orders, order)
        return bool(found) and runs[found - 1] == key[1]


def ledger_of(
    sightings: Mapping[Key, Mapping[tuple[str, int], Sighting]], history: Mapping[Key, Mapping[int, Order]]
) -> Ledger:
    """Return the ledger of what was seen and what the history names."""
    versions: dict[Key, dict[int, Order]] = {key: dict(made) for key, made in history.items()}
    ledger = Ledger()
    for key, seen in sightings.items():
        current: dict[Order, str | None] = {}
        for (_, version), sighting in seen.items():
            order = Position.parse(sighting.row.position).order
            versions.setdefault(key, {})[version] = order
            current[order] = sighting.row.relative
            if key[0] == "run" and sighting.row.relative is not None:
                ledger._pipeline_of[key] = sighting.row.relative
        if key[0] == "pipeline":
            ordered = sorted(current)
            ledger._current[key[1]] = ordered, [current[order] for order in ordered]
    for key, made in versions.items():
        ordered_versions = sorted(made.items(), key=lambda item: item[1])
        ledger._of[key] = [order for _, order in ordered_versions], [version for version, _ in ordered_versions]
    ledger.made = sorted((order, key, version) for key, made in versions.items() for version, order in made.items())
    ledger._orders = [order for order, _, _ in ledger.made]
    return ledger


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

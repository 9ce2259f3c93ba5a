"""What a row says: measures with their spread, a promise, and what could not be measured and why."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.harness.machine import about

RESULTS = Path(__file__).parents[1] / "results"
Role = Literal["ours", "limit", "peer"]


class Measure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One side of a line: the figure of each round, and latencies where there are any."""

    name: str
    role: Role
    rounds: list[float]
    p50_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most of the rounds."""
        return min(self.rounds), max(self.rounds)


class Promise(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the first measure has to keep: a bound of its figure, or of its ratio to the measure named `of`."""

    at_most: float | None = None
    at_least: float | None = None
    of: str | None = None
    below: float | None = None  #: A bound that may not be reached.

    def text(self) -> str:
        """Return the promise as the table shows it."""
        bounds = (("≤", self.at_most), ("≥", self.at_least), ("<", self.below))
        return ", ".join(
            f"{sign} {bound:g}" + (f" × {self.of}" if self.of else "") for sign, bound in bounds if bound is not None
        )


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of the table. The first measure is the one that the promise is about."""

    title: str
    unit: str
    measures: list[Measure]
    promise: Promise | None = None
    missing: dict[str, str] = {}  #: Peers that were not measured, and why.
    note: str = ""

    def find(self, name: str) -> Measure | None:
        """Return the measure of that name."""
        return next((measure for measure in self.measures if measure.name == name), None)

    @property
    def value(self) -> float | None:
        """What the promise bounds: the figure, or its ratio to the limit; None where the limit was not measured."""
        if self.promise is None or self.promise.of is None:
            return self.measures[0].median
        limit = self.find(self.promise.of)
        return None if limit is None else self.measures[0].median / limit.median

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise is kept; None where there is none, or it cannot be told."""
        value, promise = self.value, self.promise
        if value is None or promise is None:
            return None
        return (
            (promise.at_most is None or value <= promise.at_most)
            and (promise.at_least is None or value >= promise.at_least)
            and (promise.below is None or value < promise.below)
        )

    def words(self) -> str:
        """Return the line as it is printed while the benchmarks run."""
        sides = ", ".join(f"{m.name} {m.median:.3g}" + _latency(m) for m in self.measures)
        verdict = {True: "kept", False: "MISSED", None: "not judged"}[self.is_kept]
        promise = "" if self.promise is None else f" [{self.promise.text()}: {verdict}"
        promise += (
            f", {self.value:.2f}]" if self.promise is not None and self.value is not None else "]" * bool(promise)
        )
        return f"{self.title} ({self.unit}): {sides}{promise}"


def _latency(measure: Measure) -> str:
    if measure.p50_ms is None or measure.p99_ms is None:
        return ""
    return f" (p50 {measure.p50_ms:.2f} p99 {measure.p99_ms:.2f} ms)"


class Row(msgspec.Struct, kw_only=True):
    """What one script measured, in one file of results/."""

    row: str
    command: str
    about: dict[str, object]
    lines: list[Line]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def write(name: str, lines: list[Line], *, full: bool) -> None:
    """Write a row's file."""
    RESULTS.mkdir(exist_ok=True)
    command = f"python -m benchmarks {name}" + (" --full" if full else "")
    row = Row(row=name, command=command, about=about(), lines=lines)
    encoded = msgspec.json.format(msgspec.json.encode(_rounded(row)), indent=1)
    (RESULTS / f"{name}.json").write_bytes(encoded + b"\n")


def _rounded(row: Row) -> Row:
    for measure in (measure for line in row.lines for measure in line.measures):
        measure.rounds = [float(f"{value:.4g}") for value in measure.rounds]
        measure.p50_ms, measure.p99_ms = (
            None if value is None else float(f"{value:.4g}") for value in (measure.p50_ms, measure.p99_ms)
        )
    return row


def read(name: str) -> Row:
    """Return a row as it was measured last."""
    return msgspec.json.decode((RESULTS / f"{name}.json").read_bytes(), type=Row)

"""One series translated: only the days that a new, changed or missing part touches are decided again.

What the last manifest says is trusted as far as the bytes on disk are those it names. A day is decided from all clean
rows of that day in all parts: duplicates, conflicts, and whether it repeats an earlier day. So the result is the same,
byte for byte, whichever way the series came to be.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

import polars as pl

from runstate.market.buckets import Buckets
from runstate.market.days import DayFacts, Decided, day_path, decide, write_days
from runstate.market.failures import BadFile, FileFault, MarketError, RowFault
from runstate.market.folder import Json, OutFolder
from runstate.market.inventory import Part, Series
from runstate.market.limits import Limits
from runstate.market.progress import SeriesSteps
from runstate.market.quarantine import Quarantine, read_quarantine
from runstate.market.rawfile import in_words
from runstate.market.reading import PartFacts, Sinks, read_part, whole_fault

WRITERS = 4  #: Threads that parse blocks and write days of a series; part of their time the disk is at work.
VERSION = 3  #: Of what this file and those it uses make of the same bytes; a new one translates everything again.

Later = dict[
    str, dict[str, dict[str, int]]
]  #: By day and part: rows that other rows put into the quarantine, by reason.


@dataclass(slots=True)
class Ledger:
    """What is known of a series; the manifest keeps it."""

    keys: dict[str, str] = field(default_factory=dict)  #: By part, in order of precedence: what its rows depend on.
    facts: dict[str, PartFacts] = field(default_factory=dict)  #: By part.
    files: dict[str, Json] = field(default_factory=dict)  #: By day: the manifest's entry.
    contents: dict[str, str] = field(default_factory=dict)  #: By day: digest of its times and values, if it can repeat.
    later: Later = field(default_factory=dict)
    quarantine: list[Json] = field(default_factory=list)  #: Its tables.
    read: set[str] = field(default_factory=set)  #: Parts that were read this time.
    written: int = 0  #: Days that were decided this time.


class SeriesTranslation:
    """The work on one series."""

    def __init__(
        self,
        series: Series,
        out: OutFolder,
        old: Ledger | None,
        steps: SeriesSteps,
        log: Callable[[str], None],
        *,
        limits: Limits,
    ) -> None:
        self._series = Series(series.instrument, series.interval, _doubt_repeated_files(series.parts))
        self._out, self._old, self._steps, self._log = out, old, steps, log
        self._limits = limits
        self._name = f"{series.instrument.name}_{series.interval.text}"
        self._order = {part.name: index for index, part in enumerate(series.parts)}
        self._touched: set[str] = set()

    def run(self) -> Ledger:
        """Write what changed and return what is now.

        Raises:
            MarketError: A part is bad and its source says so.
        """
        with ThreadPoolExecutor(WRITERS) as pool:
            if self._old is not None and self._is_usable(self._old):
                ledger = self._translate(self._old, pool)
                if ledger is not None:
                    return ledger
            ledger = self._translate(Ledger(), pool)
        assert ledger is not None  # without old days none can change its mind
        return ledger

    def _is_usable(self, old: Ledger) -> bool:
        """Return whether the order of what is left is as it was and the quarantine is what the manifest says."""
        left = [name for name in old.keys if name in self._order]
        in_order = left == sorted(left, key=self._order.__getitem__)
        return in_order and bool(old.quarantine) and all(self._out.holds(entry) for entry in old.quarantine)

    def _translate(self, old: Ledger, pool: Executor) -> Ledger | None:
        """Return the new ledger, or None when a day that was not looked at would have to be."""
        new = Ledger(keys={part.name: part_key(part, self._series) for part in self._series.parts})
        sinks = self._sinks(pool)
        try:
            self._read(old, new, sinks)
            touched = self._touched
            for day, entry in old.files.items():
                if day not in touched:
                    new.files[day] = entry
            new.contents = {day: digest for day, digest in old.contents.items() if day not in touched}
            new.later = {day: later for day, later in old.later.items() if day not in touched}
            self._decide(new, sinks)
            if old.keys and _repeats(old.contents) - touched != _repeats(new.contents) - touched:
                return None
            self._keep_quarantine(old, new, sinks.quarantine)
            new.quarantine = sinks.quarantine.write(self._out, self._name)
        finally:
            sinks.clean.close()
            sinks.quarantine.close()
        return new

    def _sinks(self, pool: Executor) -> Sinks:
        """Return empty ones. Bars of less than a minute are decided by day: a month of them would be much at once."""
        day = pl.col("day")
        month = day.dt.year() * 100 + day.dt.month()
        scratch = self._out.path / ".scratch"
        return Sinks(
            tz=self._series.instrument.tz,
            clean=Buckets(
                scratch / self._name,
                month if self._series.interval.seconds >= 60 else month * 100 + day.dt.day(),
                self._limits.memory_bytes,
            ),
            quarantine=Quarantine(self._series.parts, scratch / f"{self._name}.bad", self._limits),
            block_bytes=self._limits.block_bytes,
            pool=pool,
        )

    def _read(self, old: Ledger, new: Ledger, sinks: Sinks) -> None:
        """Read what is new and what shares a day with it."""
        parts = self._series.parts
        is_same = {p.name: old.keys.get(p.name) == new.keys[p.name] and p.name in old.facts for p in parts}
        self._touched = {day for name, facts in old.facts.items() if not is_same.get(name) for day in facts.days}
        self._touched |= {day for day, entry in old.files.items() if not self._out.holds(entry)}
        for part in parts:
            if is_same[part.name]:
                new.facts[part.name] = old.facts[part.name]
                self._complain(part, new.facts[part.name])
                continue
            self._read_part(part, new, sinks, None)
            self._touched |= set(new.facts[part.name].days)
        days = {date.fromisoformat(day) for day in self._touched}
        for part in parts:
            if is_same[part.name] and self._touched & new.facts[part.name].days.keys():
                self._read_part(part, new, sinks, days)
            elif is_same[part.name]:
                self._steps.skipped()

    def _read_part(self, part: Part, new: Ledger, sinks: Sinks, days: set[date] | None) -> None:
        new.read.add(part.name)
        self._steps.reading(part.name, 0, 0.0)
        if part.doubt is not None:
            facts = whole_fault(part, part.doubt)
        else:
            index = self._order[part.name]
            on_rows = partial(self._steps.reading, part.name)
            facts = read_part(part, index, sinks, days=days, on_rows=on_rows)
        new.facts[part.name] = facts
        self._complain(part, facts)
        self._steps.reading(part.name, facts.rows, 1.0)

    def _complain(self, part: Part, facts: PartFacts) -> None:
        if facts.fault is not None:
            complain(part, facts.fault, self._log)

    def _decide(self, new: Ledger, sinks: Sinks) -> None:
        """Write the touched days in their order."""
        first_with: dict[str, str] = {}
        for day in sorted(new.contents, reverse=True):
            first_with[new.contents[day]] = day
        keys = sinks.clean.keys
        entries: list[Json] = []
        with ThreadPoolExecutor(1) as writer:  # these days are written while the next ones are decided
            writing: Future[list[Json]] | None = None
            for n, key in enumerate(keys):
                self._steps.writing(_month_text(key), n, len(keys))
                decided = decide(sinks.clean.take(key), self._series)
                fresh = [day for day in decided.days if self._is_new(day, decided, new, first_with, sinks.quarantine)]
                self._count_later(decided.duplicates, new, sinks.quarantine)
                for day_ in decided.touched - {day.day for day in fresh}:
                    self._out.remove(day_path(self._series, day_))  # what an earlier run wrote there holds no longer
                new.written += len(decided.touched)
                if writing is not None:
                    entries += writing.result()
                writing = writer.submit(write_days, decided, fresh, self._series, self._out, sinks.pool)
            if writing is not None:
                entries += writing.result()
        new.files |= {str(entry["date"]): entry for entry in entries}

    def _is_new(
        self, day: DayFacts, decided: Decided, new: Ledger, first_with: dict[str, str], quarantine: Quarantine
    ) -> bool:
        """Return whether a day repeats no earlier one; where it does, its rows go to the quarantine."""
        if day.content is None:
            return True
        new.contents[day.day] = day.content
        if first_with.setdefault(day.content, day.day) >= day.day:
            first_with[day.content] = day.day
            return True
        fault = pl.lit(RowFault.REPEATED_DAY.value).alias("fault")
        self._count_later(decided.bars.slice(day.offset, day.rows).with_columns(fault), new, quarantine)
        return False

    def _count_later(self, bad: pl.DataFrame, new: Ledger, quarantine: Quarantine) -> None:
        """Count rows that other rows put into the quarantine, and put them there."""
        columns = (
            "line", pl.col("fault").alias("reason"), pl.lit(None, pl.String).alias("text"), pl.col("day").alias("date"),
        )  # fmt: skip
        for (index,), rows in bad.partition_by("part", as_dict=True).items():
            part = self._series.parts[int(str(index))]
            for day, reason, count in rows.group_by("day", "fault").len().sort("day", "fault").iter_rows():
                counts = new.later.setdefault(str(day), {}).setdefault(part.name, {})
                counts[reason] = counts.get(reason, 0) + count
            quarantine.add(int(str(index)), rows.select(columns))

    def _keep_quarantine(self, old: Ledger, new: Ledger, quarantine: Quarantine) -> None:
        """Put the rows that still hold beside those found now."""
        still = [name for name in new.keys if name not in new.read]
        touched = [date.fromisoformat(day) for day in self._touched]
        own = pl.col("date").is_null() & pl.col("source").is_in(still)
        others = pl.col("date").is_not_null() & ~pl.col("date").is_in(touched) & pl.col("source").is_in(list(new.keys))
        for entry in old.quarantine:
            kept = read_quarantine(self._out, entry).filter(own | others)
            for (source,), rows in kept.partition_by("source", as_dict=True, maintain_order=True).items():
                quarantine.add(self._order[str(source)], rows)


def _month_text(key: int) -> str:
    """Return a bucket's key, YYYYMM or YYYYMMDD, as people write it."""
    text = f"{key:06}" if key < 10**6 else f"{key:08}"
    return "-".join([text[:4], text[4:6], text[6:]]).removesuffix("-")


def _doubt_repeated_files(parts: list[Part]) -> list[Part]:
    """Return the parts; a file whose bytes were there before gets a doubt, unless it is empty."""
    seen: dict[str, str] = {}
    judged = []
    for part in parts:
        first = seen.setdefault(part.raw.sha256, part.raw.name)
        if first != part.raw.name and not part.raw.is_blank():
            sentence = f"the content is that of {first} again"
            part = replace(part, doubt=BadFile(FileFault.REPEATED_FILE, 1, sentence))  # noqa: PLW2901  the judged one
        judged.append(part)
    return judged


def part_key(part: Part, series: Series) -> str:
    """Return a digest of everything that decides what a part's rows are, other parts aside."""
    source = part.source
    doubt = None if part.doubt is None else (part.doubt.fault.value, part.doubt.sentence)
    told = (
        VERSION, pl.__version__, part.raw.sha256, part.member, source.dialect, source.custom, source.tz, source.stamp,
        source.interval, part.naming, doubt, series.instrument.tz,
    )  # fmt: skip
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def complain(part: Part, fault: BadFile, log: Callable[[str], None]) -> None:
    """Say that a part is quarantined, or end the stage where its source says so."""
    where = f"{in_words(part.raw.path)}:{fault.line}: {fault.sentence}"
    if part.source.on_bad_file == "fail":
        raise MarketError(
            f'{where}; correct the file or the source, or set on_bad_file = "quarantine"',
            code="bad_input",
        ) from None
    log(f"quarantined {where}")


def _repeats(contents: dict[str, str]) -> set[str]:
    """Return the days whose content an earlier day has."""
    days: dict[str, list[str]] = defaultdict(list)
    for day in sorted(contents):
        days[contents[day]].append(day)
    return {day for same in days.values() for day in same[1:]}


def count_later(ledger: Ledger) -> dict[str, Counter[str]]:
    """Return by part how many rows other rows put into the quarantine, by reason."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for by_part in ledger.later.values():
        for name, reasons in by_part.items():
            counts[name].update(reasons)
    return counts

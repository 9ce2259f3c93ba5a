"""One series translated: only the days that a new, changed or missing part touches are decided again.

What the last manifest says is trusted as far as the bytes on disk are those it names. A day is decided from all clean
rows of that day in all parts: duplicates, conflicts, and whether it repeats an earlier day. So the result is the same,
byte for byte, whichever way the series came to be.

Where MARKET.md is silent: a trading day is a repetition when it has at least five bars with at least three different
closes, and its local times and all its values are those of an earlier day; the earlier one stays. What is less is no
content: single trades, and days of closed markets that a vendor fills with flat bars.

Longer than 300 lines: what is kept of the last run and what is done anew are decided in one place.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from io import BytesIO

import polars as pl

from runstate.market.buckets import Buckets
from runstate.market.checks import VALUES, mark_duplicates
from runstate.market.failures import BadFile, FileFault, MarketError, RowFault
from runstate.market.folder import Json, OutFolder
from runstate.market.inventory import Part, Series
from runstate.market.manifest import with_facts
from runstate.market.reading import QUARANTINE_SCHEMA, PartFacts, read_part, texts_of, whole_fault

BAR_COLUMNS = ("timestamp", *VALUES, "instrument", "interval", "source")
WRITERS = 4  #: Days of a month written side by side; most of their time the disk is at work.
LEAST_BARS, LEAST_CLOSES = 5, 3
VERSION = 1  #: Of what this file and those it uses make of the same bytes; a new one translates everything again.

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
    quarantine: Json = field(default_factory=dict)
    read: set[str] = field(default_factory=set)  #: Parts that were read this time.
    written: int = 0  #: Days that were decided this time.


@dataclass(slots=True)
class Hooks:
    """How a series speaks to its stage."""

    log: Callable[[str], None]
    reading: Callable[[Part, int], None]  #: A part is being read; so many rows so far.
    has_read: Callable[[Part], None]
    writing: Callable[[str], None]  #: A month is being decided.


class SeriesTranslation:
    """The work on one series."""

    def __init__(self, series: Series, out: OutFolder, old: Ledger | None, hooks: Hooks, *, memory_bytes: int) -> None:
        self._series = Series(series.instrument, series.interval, _doubt_repeated_files(series.parts))
        self._out, self._old, self._hooks = out, old, hooks
        self._memory_bytes = memory_bytes
        self._name = f"{series.instrument.name}_{series.interval.text}"
        self._order = {part.name: index for index, part in enumerate(series.parts)}
        self._touched: set[str] = set()

    def run(self) -> Ledger:
        """Write what changed and return what is now.

        Raises:
            MarketError: A part is bad and its source says so.
        """
        if self._old is not None and self._is_usable(self._old):
            ledger = self._translate(self._old)
            if ledger is not None:
                return ledger
        ledger = self._translate(Ledger())
        assert ledger is not None  # without old days none can change its mind
        return ledger

    def _is_usable(self, old: Ledger) -> bool:
        """Return whether the order of what is left is as it was and the quarantine is what the manifest says."""
        left = [name for name in old.keys if name in self._order]
        return left == sorted(left, key=self._order.__getitem__) and self._out.holds(old.quarantine)

    def _translate(self, old: Ledger) -> Ledger | None:
        """Return the new ledger, or None when a day that was not looked at would have to be."""
        new = Ledger(keys={part.name: part_key(part, self._series) for part in self._series.parts})
        sink = Buckets(self._out.path / ".scratch" / self._name, self._memory_bytes)
        try:
            rows = self._read(old, new, sink)
            touched = self._touched
            for day, entry in old.files.items():
                if day not in touched:
                    new.files[day] = entry
            new.contents = {day: digest for day, digest in old.contents.items() if day not in touched}
            new.later = {day: later for day, later in old.later.items() if day not in touched}
            with ThreadPoolExecutor(WRITERS) as pool:
                rows += self._decide(new, sink, pool)
        finally:
            sink.close()
        if old.keys and _repeats(old.contents) - touched != _repeats(new.contents) - touched:
            return None
        self._write_quarantine(old, new, rows)
        return new

    def _read(self, old: Ledger, new: Ledger, sink: Buckets) -> list[pl.DataFrame]:
        """Read what is new and what shares a day with it; return the quarantined rows."""
        parts = self._series.parts
        is_same = {p.name: old.keys.get(p.name) == new.keys[p.name] and p.name in old.facts for p in parts}
        self._touched = {day for name, facts in old.facts.items() if not is_same.get(name) for day in facts.days}
        self._touched |= {day for day, entry in old.files.items() if not self._out.holds(entry)}
        quarantine: list[pl.DataFrame] = []
        for part in parts:
            if is_same[part.name]:
                new.facts[part.name] = old.facts[part.name]
                self._complain(part, new.facts[part.name])
                continue
            quarantine += self._read_part(part, new, sink, None)
            self._touched |= set(new.facts[part.name].days)
        days = {date.fromisoformat(day) for day in self._touched}
        for part in parts:
            if is_same[part.name] and self._touched & new.facts[part.name].days.keys():
                quarantine += self._read_part(part, new, sink, days)
            elif is_same[part.name]:
                self._hooks.has_read(part)
        return quarantine

    def _read_part(self, part: Part, new: Ledger, sink: Buckets, days: set[date] | None) -> list[pl.DataFrame]:
        new.read.add(part.name)
        self._hooks.reading(part, 0)
        quarantine: list[pl.DataFrame] = []
        if part.doubt is not None:
            facts = whole_fault(part, part.doubt)
        else:
            tz, index = self._series.instrument.tz, self._order[part.name]
            reading = read_part(part, index, tz, sink, days=days, on_rows=lambda rows: self._hooks.reading(part, rows))
            facts, quarantine = reading.facts, reading.quarantine
        new.facts[part.name] = facts
        self._complain(part, facts)
        self._hooks.has_read(part)
        return quarantine

    def _complain(self, part: Part, facts: PartFacts) -> None:
        if facts.fault is not None:
            complain(part, facts.fault, self._hooks.log)

    def _decide(self, new: Ledger, sink: Buckets, pool: ThreadPoolExecutor) -> list[pl.DataFrame]:
        """Write the touched days in their order; return the rows that went to the quarantine."""
        quarantine: list[pl.DataFrame] = []
        first_with: dict[str, str] = {}
        for day in sorted(new.contents, reverse=True):
            first_with[new.contents[day]] = day
        for month in sink.months:
            self._hooks.writing(month)
            table = sink.take(month).with_columns(pl.lit(None, pl.String).alias("fault"))
            table = mark_duplicates(table)
            bad = [table.filter(pl.col("fault").is_not_null())]
            clean = table.filter(pl.col("fault").is_null()).sort("timestamp")
            days = [
                (str(day), rows)
                for (day,), rows in clean.partition_by("day", as_dict=True, maintain_order=True).items()
            ]
            contents = pool.map(lambda day_rows: _content(day_rows[1], self._series.instrument.tz), days)
            fresh = []
            for (name, rows), content in zip(days, contents, strict=True):
                if content is not None:
                    new.contents[name] = content
                    if first_with.setdefault(content, name) < name:
                        bad.append(rows.with_columns(pl.lit(RowFault.REPEATED_DAY.value).alias("fault")))
                        continue
                    first_with[content] = name
                fresh.append((name, rows, content))
            for entry in pool.map(lambda day: self._write_day(*day), fresh):
                new.files[str(entry["date"])] = entry
            quarantine += self._later(pl.concat(bad), new)
            for day in table["day"].unique():
                if str(day) not in new.files:  # what an earlier run wrote there holds no longer
                    self._out.remove(self._path(str(day)))
            new.written += table["day"].n_unique()
        return quarantine

    def _write_day(self, day: str, rows: pl.DataFrame, content: str | None) -> Json:
        instrument, interval = self._series.instrument.name, self._series.interval.text
        names = pl.DataFrame(
            {"part": range(len(self._order)), "source": list(self._order)},
            schema={"part": pl.UInt32, "source": pl.String},
        )
        used = rows["part"].unique().to_list()
        if len(used) == 1:
            named = rows.with_columns(pl.lit(self._series.parts[used[0]].name).alias("source"))
        else:
            named = rows.join(names, on="part", how="left", maintain_order="left")
        bars = named.with_columns(instrument=pl.lit(instrument), interval=pl.lit(interval)).select(BAR_COLUMNS)
        opened = rows["timestamp"].dt.epoch("us")
        return with_facts(
            self._out.write_table(self._path(day), bars),
            instrument=instrument,
            interval=interval,
            date=day,
            first_us=int(opened[0]),
            last_us=int(opened[-1]),
            content=content,
        )

    def _path(self, day: str) -> str:
        instrument, interval = self._series.instrument.name, self._series.interval.text
        return f"bars/{instrument}/{interval}/{day[:4]}/{day[5:7]}/{instrument}_{interval}_{day}.parquet"

    def _later(self, bad: pl.DataFrame, new: Ledger) -> list[pl.DataFrame]:
        """Count rows that other rows put into the quarantine, and return them as the table has them."""
        tables = []
        for (index,), rows in bad.sort("line").partition_by("part", as_dict=True, maintain_order=True).items():
            part = self._series.parts[int(str(index))]
            for (day, reason), found in rows.partition_by("day", "fault", as_dict=True).items():
                counts = new.later.setdefault(str(day), {}).setdefault(part.name, {})
                counts[str(reason)] = counts.get(str(reason), 0) + found.height
            columns = {
                "source": pl.Series([part.name] * rows.height, dtype=pl.String),
                "line": rows["line"],
                "reason": rows["fault"],
                "text": texts_of(part, rows["line"]),
                "date": rows["day"],
            }
            tables.append(pl.DataFrame(columns, schema=QUARANTINE_SCHEMA))
        return tables

    def _write_quarantine(self, old: Ledger, new: Ledger, rows: list[pl.DataFrame]) -> None:
        """Put the rows found now beside those that still hold."""
        kept = pl.DataFrame(schema=QUARANTINE_SCHEMA)
        if old.quarantine:
            still = [name for name in new.keys if name not in new.read]
            touched = [date.fromisoformat(day) for day in self._touched]
            before = pl.read_parquet(BytesIO((self._out.path / str(old.quarantine["path"])).read_bytes()))
            own = pl.col("date").is_null() & pl.col("source").is_in(still)
            others = pl.col("date").is_not_null() & ~pl.col("date").is_in(touched)
            kept = before.filter(own | others)
        table = pl.concat([kept, *rows]).sort("source", "line")
        new.quarantine = self._out.write_table(f"quarantine/{self._name}.parquet", table).to_json()


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
    where = f"{part.raw.path}:{fault.line}: {fault.sentence}"
    if part.source.on_bad_file == "fail":
        raise MarketError(
            f'{where}; correct the file or the source, or set on_bad_file = "quarantine"',
            code="bad_input",
        ) from None
    log(f"quarantined {where}")


def _content(rows: pl.DataFrame, tz: str) -> str | None:
    if rows.height < LEAST_BARS or rows["close"].n_unique() < LEAST_CLOSES:
        return None
    clock = pl.col("timestamp").dt.convert_time_zone(tz).dt.time().alias("clock")
    buffer = BytesIO()
    rows.select(clock, *VALUES).rechunk().write_ipc(buffer, compression="uncompressed")
    return hashlib.sha256(buffer.getvalue()).hexdigest()[:32]


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

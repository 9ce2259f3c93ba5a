"""The translator: raw exports in, one Parquet file per instrument, interval and trading day out.

A trading day is the calendar date of the bar's open in the instrument's zone. `source` in the bars is the raw file's
name relative to the configuration's folder, so the output does not depend on where the project lies. The quarantine
table `{out}/quarantine/{instrument}_{interval}.parquet` holds each quarantined row with file, line, reason and text;
of a quarantined file the manifest holds the reason and the number of rows (all lines that are not blank), the rows are
still in the raw file. The output is a function of the configuration and the raw files: day files of earlier runs that
no raw file covers any more are neither touched nor listed, and later stages read what is listed.

Not here yet: skipping of unchanged inputs. All inputs are read each time; output files that would not change are not
written.

Where MARKET.md is silent: a file is repeated when its bytes are those of an earlier file of the same instrument and
interval. A source without any clean bar (all files empty or quarantined, or all rows) fails the stage: nothing to do
is not success.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import polars as pl

from runstate.market.checks import VALUES, check_rows, mark_duplicates
from runstate.market.config import Config, Source
from runstate.market.dialects import read_rows
from runstate.market.failures import BadFile, FileFault, MarketError
from runstate.market.folder import Json, OutFolder
from runstate.market.manifest import Run, step, sum_by, with_facts, write_manifest
from runstate.market.rawfile import RawFile, read_raw_file

BAR_COLUMNS = ("timestamp", *VALUES, "instrument", "interval", "source")


@dataclass(slots=True)
class Input:
    """What became of one raw file."""

    raw: RawFile
    source: Source
    rows: int = 0
    rows_out: int = 0
    out_of_order: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)  #: Rows by reason.
    fault: BadFile | None = None  #: Set when the whole file is quarantined.

    def to_json(self) -> Json:
        """Return the facts for the manifest."""
        facts: Json = {
            "path": self.raw.name,
            "bytes": self.raw.size_bytes,
            "sha256": self.raw.sha256,
            "dialect": self.source.dialect,
            "instrument": self.source.instrument,
            "interval": self.source.interval.text,
            "rows_in": self.rows,
            "rows_out": self.rows_out,
            "rows_quarantined": self.quarantined,
            "rows_out_of_order": self.out_of_order,
        }
        if self.fault is not None:
            reason = {"reason": self.fault.fault.value, "line": self.fault.line}
            facts["quarantined"] = {**reason, "text": self.fault.sentence}
        return facts


@dataclass(slots=True)
class Work:
    """One translation under way."""

    config: Config
    out: OutFolder
    run: Run
    total: int  #: Raw files, and the day files known so far: it grows when an instrument's days are known.
    done: int = 0

    def step(self, message: str) -> None:
        """Say what comes next."""
        step(self.run, self.done, self.total, "files", message)


def translate(config: Config, out: OutFolder, run: Run) -> Json:
    """Write the bars, the quarantine and the manifest; return the stage's outputs.

    Raises:
        MarketError: A source gives no bars, a file is bad and its source says so, or a file cannot be read.
    """
    found = [(source, path) for source in config.sources for path in _find_files(source, config)]
    work = Work(config, out, run, total=len(found))
    inputs: list[Input] = []
    files: list[Json] = []
    quarantine: list[Json] = []
    found.sort(key=lambda f: _series(f[0]))  # stable: sources in order, then names
    for _, group in groupby(found, key=lambda f: _series(f[0])):
        series = list(group)
        read, table = _read_series(series, work)
        inputs += read
        quarantine.append(_write_quarantine(series[0][0], table, out))
        files += _write_days(series[0][0], table, work)
    totals = _totals(inputs)
    facts = {**totals, "inputs": [i.to_json() for i in inputs], "quarantine": quarantine}
    return {**totals, **write_manifest(out, "translator", facts, files)}


def _series(source: Source) -> tuple[str, int, str]:
    return source.instrument, source.interval.seconds, source.interval.text


def _find_files(source: Source, config: Config) -> list[Path]:
    names = glob.glob(source.files, root_dir=config.folder, recursive=True)  # noqa: PTH207  an absolute pattern is fine too
    paths = sorted(config.folder / name for name in names)
    files = [path for path in paths if path.is_file()]
    if not files:
        raise MarketError(
            f"{config.file}:{source.line}: no file matches '{source.files}' in {config.folder}; "
            "nothing to do is not success, so correct files",
            code="no_input",
        )
    return files


def _read_series(found: list[tuple[Source, Path]], work: Work) -> tuple[list[Input], pl.DataFrame]:
    """Return what became of each file of an instrument and interval, and all its rows with their faults."""
    inputs: list[Input] = []
    tables: list[pl.DataFrame] = []
    seen: dict[str, str] = {}  # sha-256 of a file's bytes → its name
    for source, path in found:
        work.step(f"reading {path.name}")
        raw = read_raw_file(path, work.config.folder)
        entry = Input(raw, source)
        try:
            tables.append(_read_file(entry, seen, index=len(inputs)))
        except BadFile as fault:
            _quarantine(entry, fault, work.run)
        inputs.append(entry)
        work.done += 1
    table = mark_duplicates(pl.concat(tables)) if tables else pl.DataFrame()
    for index, entry in enumerate(inputs):
        if entry.fault is None:
            _count(entry, table.filter(pl.col("input") == index))
    _refuse_sources_without_bars(inputs, work.config)
    return inputs, table


def _read_file(entry: Input, seen: dict[str, str], *, index: int) -> pl.DataFrame:
    entry.rows = entry.raw.count_rows()
    first = seen.setdefault(entry.raw.sha256, entry.raw.name)
    if first != entry.raw.name and entry.rows:
        raise BadFile(FileFault.REPEATED_FILE, 1, f"the content is that of {first} again")
    rows = read_rows(entry.source.dialect, entry.raw.text_lines())
    checked = check_rows(rows, entry.source)
    entry.rows, entry.out_of_order = rows.table.height, checked.out_of_order
    name = pl.lit(entry.raw.name).alias("source")
    return checked.table.with_columns(name, pl.lit(index, pl.UInt32).alias("input"))


def _quarantine(entry: Input, fault: BadFile, run: Run) -> None:
    where = f"{entry.raw.path}:{fault.line}: {fault.sentence}"
    if entry.source.on_bad_file == "fail":
        raise MarketError(
            f'{where}; correct the file or the source, or set on_bad_file = "quarantine"',
            code="bad_input",
        ) from None
    entry.fault = fault
    entry.quarantined = {fault.fault.value: entry.rows}
    run.log(f"quarantined {where}", "warning")


def _count(entry: Input, table: pl.DataFrame) -> None:
    counts = table["fault"].drop_nulls().value_counts()
    entry.quarantined = dict(sorted((reason, count) for reason, count in counts.iter_rows()))
    entry.rows_out = table.height - sum(entry.quarantined.values())


def _refuse_sources_without_bars(inputs: list[Input], config: Config) -> None:
    for source in dict.fromkeys(entry.source for entry in inputs):
        mine = [entry for entry in inputs if entry.source is source]
        only_repeats = all(set(e.quarantined) <= {"duplicate", "repeated_file"} for e in mine)
        if any(e.rows_out for e in mine) or (only_repeats and any(e.rows for e in mine)):
            continue
        raise MarketError(
            f"{config.file}:{source.line}: '{source.files}' gives no bars: {_why_none(mine)}; "
            "check dialect, tz, stamp and interval of the source",
            code="no_input",
        )


def _why_none(inputs: list[Input]) -> str:
    bad = [entry for entry in inputs if entry.fault is not None]
    if bad and bad[0].fault is not None:
        which = "all" if len(bad) == len(inputs) else f"{len(bad)} of"
        first = f"{bad[0].raw.name}:{bad[0].fault.line}: {bad[0].fault.sentence}"
        return f"{which} {len(inputs)} files are quarantined, first {first}"
    reasons = sum_by(entry.quarantined for entry in inputs)
    if not reasons:
        return f"all {len(inputs)} files are empty"
    return "every row is quarantined, " + ", ".join(f"{n} {reason}" for reason, n in reasons.items())


def _write_quarantine(source: Source, table: pl.DataFrame, out: OutFolder) -> Json:
    """Write the quarantined rows of an instrument and interval; an empty table says there were none."""
    bad = table.filter(pl.col("fault").is_not_null())
    columns = ("source", "line", pl.col("fault").alias("reason"), "text")
    name = f"quarantine/{source.instrument}_{source.interval.text}.parquet"
    return out.write_table(name, bad.select(columns).sort("source", "line")).to_json()


def _write_days(source: Source, table: pl.DataFrame, work: Work) -> list[Json]:
    """Write the clean bars of an instrument and interval, a file per trading day."""
    instrument, interval = work.config.instruments[source.instrument], source.interval.text
    columns = {"instrument": pl.lit(instrument.name), "interval": pl.lit(interval)}
    day = pl.col("timestamp").dt.convert_time_zone(instrument.tz).dt.date().alias("day")
    bars = table.filter(pl.col("fault").is_null()).sort("timestamp").with_columns(day, **columns)
    days = bars.partition_by("day", as_dict=True, maintain_order=True)
    work.total += len(days)
    files: list[Json] = []
    for (date,), rows in days.items():
        work.step(f"writing {instrument.name} {date}")
        folder = f"bars/{instrument.name}/{interval}/{date:%Y}/{date:%m}"
        name = f"{instrument.name}_{interval}_{date:%Y-%m-%d}.parquet"
        written = work.out.write_table(f"{folder}/{name}", rows.select(BAR_COLUMNS))
        facts = {"instrument": instrument.name, "interval": interval, "date": str(date)}
        files.append(with_facts(written, **facts))
        work.done += 1
    work.step(f"wrote {len(days)} days of {instrument.name}")
    return files


def _totals(inputs: list[Input]) -> Json:
    reasons = sum_by(entry.quarantined for entry in inputs)
    return {
        "rows_in": sum(entry.rows for entry in inputs),
        "rows_out": sum(entry.rows_out for entry in inputs),
        "rows_quarantined": sum(reasons.values()),
        "rows_quarantined_by_reason": reasons,
        "rows_out_of_order": sum(entry.out_of_order for entry in inputs),
        "files_in": len(inputs),
        "files_empty": sum(1 for e in inputs if e.rows == 0 and e.fault is None),
        "files_quarantined": sum(1 for entry in inputs if entry.fault is not None),
    }

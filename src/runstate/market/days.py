"""Clean rows of a month become day files; duplicates, conflicts and repeated days go to the quarantine.

Where MARKET.md is silent: a trading day is a repetition when it has at least five bars with at least three different
closes, and its local times and all its values are those of an earlier day; the earlier one stays. What is less is no
content: single trades, and days of closed markets that a vendor fills with flat bars.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import polars as pl

from runstate.market.checks import VALUES, mark_duplicates
from runstate.market.folder import Json, OutFolder
from runstate.market.inventory import Series
from runstate.market.manifest import with_facts

BAR_COLUMNS = ("timestamp", *VALUES, "instrument", "interval", "source")
LEAST_BARS, LEAST_CLOSES = 5, 3


@dataclass(frozen=True, slots=True)
class Decided:
    """The days of some rows, ascending, each with its bars in order of time."""

    bars: pl.DataFrame  #: As in the day files; the days one after the other.
    days: list[DayFacts]
    touched: set[str]  #: All days, those without any bar left as well.
    duplicates: pl.DataFrame  #: part, line, day, fault of rows that are duplicates or conflict.


@dataclass(frozen=True, slots=True)
class DayFacts:
    """Where a day's bars are in `Decided.bars`, and what they hold."""

    day: str
    offset: int
    rows: int
    first_us: int
    last_us: int
    content: str | None  #: Digest of local times and values; None: too little to be a repetition.


def decide(rows: pl.DataFrame, series: Series) -> Decided:
    """Return the days of all clean rows of some days.

    Args:
        rows: As `reading.ROW_COLUMNS`, in order of part and line.
        series: Whose rows they are.
    """
    table = mark_duplicates(rows.with_columns(pl.lit(None, pl.String).alias("fault")))
    clean = table.filter(pl.col("fault").is_null())
    if not clean.select("day", "timestamp").to_struct("key").is_sorted():
        clean = clean.sort("day", "timestamp")
    clean = clean.rechunk()
    clock = pl.col("timestamp").dt.convert_time_zone(series.instrument.tz).dt.time()
    content = pl.struct(clock, *VALUES)
    digests = [content.hash(seed).alias(f"digest_{seed}") for seed in (1, 2)]  # the same in every process
    opened = pl.col("timestamp").dt.epoch("us")
    per_day = (
        clean.with_columns(*digests)
        .group_by("day", maintain_order=True)
        .agg(
            pl.len().alias("rows"),
            pl.col("close").n_unique().alias("closes"),
            opened.first().alias("first_us"),
            opened.last().alias("last_us"),
            pl.col("digest_1", "digest_2").bitwise_xor(),
        )
    )
    days, offset = [], 0
    for day, count, closes, first_us, last_us, *halves in per_day.iter_rows():
        has_content = count >= LEAST_BARS and closes >= LEAST_CLOSES
        digest = "".join(f"{half:016x}" for half in halves) if has_content else None
        days.append(DayFacts(str(day), offset, count, first_us, last_us, digest))
        offset += count
    touched = {str(day) for day in rows["day"].unique()}
    return Decided(clean, days, touched, table.filter(pl.col("fault").is_not_null()))


def write_days(decided: Decided, days: list[DayFacts], series: Series, out: OutFolder, pool: Executor) -> list[Json]:
    """Write these days of `decided` and return their entries for the manifest, in order."""
    instrument, interval = series.instrument.name, series.interval.text
    names = pl.DataFrame(
        {"part": range(len(series.parts)), "source": [part.name for part in series.parts]},
        schema={"part": pl.UInt32, "source": pl.String},
    )
    used = decided.bars["part"].unique().to_list()
    if len(used) == 1:
        named = decided.bars.with_columns(pl.lit(series.parts[used[0]].name).alias("source"))
    else:
        named = decided.bars.join(names, on="part", how="left", maintain_order="left")
    bars = named.with_columns(instrument=pl.lit(instrument), interval=pl.lit(interval)).select(BAR_COLUMNS).rechunk()
    tables = [(day_path(series, day.day), bars.slice(day.offset, day.rows)) for day in days]
    return [
        with_facts(
            written,
            instrument=instrument,
            interval=interval,
            date=day.day,
            first_us=day.first_us,
            last_us=day.last_us,
            content=day.content,
        )
        for day, written in zip(days, out.write_tables(tables, pool), strict=True)
    ]


def day_path(series: Series, day: str) -> str:
    """Return where a day's bars are, relative to the out folder."""
    instrument, interval = series.instrument.name, series.interval.text
    return f"bars/{instrument}/{interval}/{day[:4]}/{day[5:7]}/{instrument}_{interval}_{day}.parquet"

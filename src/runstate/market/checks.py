"""Judges rows: puts stamps on UTC and the bar's open, and sorts rows into clean ones and quarantined ones.

Every row ends in exactly one of the two, so rows in = rows out + quarantined. The order of the checks is that of
`RowFault`. Where MARKET.md is silent:
- A local time that the clock skipped or showed twice is quarantined, never guessed. It is judged on the stamp as
  written, before a close stamp is moved back by one interval.
- Off-interval: the stamp, on the source's clock, is not a whole number of intervals after midnight.
- Out of order: a row stamped earlier than a row above it in its file (later, where the vendor writes the newest first).
  Such rows are sorted in and counted.
- Duplicates are looked for among the clean rows of all files of an instrument and interval; the first by source,
  file name and line stays. Of rows that conflict none stays, equal ones among them included.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from runstate.market.dialects import PRICES
from runstate.market.failures import RowFault
from runstate.market.settings import Source

VALUES = (*PRICES, "volume")
_DAY_US = 86_400_000_000
_UTC = ("UTC", "Etc/UTC")


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows after the checks that look at one row at a time.

    `table`: as `rows.read_rows`, and timestamp (UTC, bar open), fault (a `RowFault` or null).
    """

    table: pl.DataFrame
    out_of_order: int  #: Rows stamped earlier than a row above them.
    furthest_us: int | None  #: The latest stamp so far (the earliest, where rows descend).


def check_rows(
    rows: pl.DataFrame, source: Source, *, furthest_us: int | None = None, descending: bool = False
) -> Checked:
    """Return rows with their UTC bar open and the first fault of each.

    Args:
        rows: Of one file, as `rows.read_rows` gives them, block after block.
        source: Whose clock and interval they have.
        furthest_us: Of the block before.
        descending: The vendor writes the newest row first.
    """
    interval_us = source.interval.seconds * 1_000_000
    shift_us = interval_us if source.stamp == "close" else 0
    table = _with_utc(rows, source.tz)
    table = table.with_columns(
        (pl.col("utc") - pl.duration(microseconds=shift_us)).alias("timestamp"),
        _first_fault(source.tz, interval_us).alias("fault"),
    ).drop("utc", "utc_if_first")
    stamped = table.filter(pl.col("timestamp").is_not_null() & pl.col("parsed"))["timestamp"].dt.epoch("us")
    walked = -stamped if descending else stamped
    before = pl.Series([furthest_us], dtype=pl.Int64)
    reached = pl.concat([before, walked]).cum_max().fill_null(strategy="forward")
    earlier = walked < reached[:-1]
    return Checked(table, int(earlier.sum() or 0), reached[-1])


def mark_duplicates(table: pl.DataFrame) -> pl.DataFrame:
    """Return `table` with the faults of repeated stamps set.

    Args:
        table: timestamp, values, fault (null where clean); rows of all files of an instrument in order of precedence.
    """
    if not table["timestamp"].is_duplicated().any():
        return table
    table = table.with_row_index("order")
    clean = table.filter(pl.col("fault").is_null() & pl.col("timestamp").is_not_null())
    repeated = clean.filter(pl.col("timestamp").is_duplicated())
    if repeated.is_empty():
        return table.drop("order")
    differs = pl.any_horizontal(pl.col(v).n_unique().over("timestamp") > 1 for v in VALUES)
    is_first = pl.col("order") == pl.col("order").min().over("timestamp")
    repeats = repeated.select(
        "order",
        pl.when(differs)
        .then(pl.lit(RowFault.CONFLICT.value))
        .when(~is_first)
        .then(pl.lit(RowFault.DUPLICATE.value))
        .alias("repeat"),
    )
    joined = table.join(repeats, on="order", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("fault", "repeat").alias("fault")).drop("order", "repeat")


def _with_utc(table: pl.DataFrame, tz: str) -> pl.DataFrame:
    """Add `utc`, null where the local time is missing or double, and `utc_if_first`, null where it is missing."""
    stamp, offset_s = pl.col("stamp"), pl.col("offset_s")
    if table["offset_s"].null_count() in (0, table.height) and (tz in _UTC or table["offset_s"].null_count() == 0):
        utc = (stamp - pl.duration(seconds=offset_s.fill_null(0))).dt.replace_time_zone("UTC")
        return table.with_columns(utc.alias("utc"), utc.alias("utc_if_first"))  # nothing a clock could do to these
    by_offset = (stamp - pl.duration(seconds=offset_s)).dt.replace_time_zone("UTC")

    def local(ambiguous: str) -> pl.Expr:
        zoned = stamp.dt.replace_time_zone(tz, ambiguous=pl.lit(ambiguous), non_existent="null").dt.convert_time_zone(
            "UTC"
        )
        return pl.when(offset_s.is_null()).then(zoned).otherwise(by_offset)

    return table.with_columns(local("null").alias("utc"), local("earliest").alias("utc_if_first"))


def _first_fault(tz: str, interval_us: int) -> pl.Expr:
    high, low, open_, close = (pl.col(n) for n in ("high", "low", "open", "close"))
    local = pl.col("utc") if tz in _UTC else pl.col("utc").dt.convert_time_zone(tz)
    on_clock = local.dt.replace_time_zone(None).dt.epoch("us")
    faults = {
        RowFault.UNPARSEABLE: ~pl.col("parsed"),
        RowFault.NONEXISTENT_TIME: pl.col("utc_if_first").is_null(),
        RowFault.AMBIGUOUS_TIME: pl.col("utc").is_null(),
        RowFault.OHLC_ORDER: (high < pl.max_horizontal(open_, close)) | (low > pl.min_horizontal(open_, close)),
        RowFault.NEGATIVE_VOLUME: pl.col("volume") < 0,
        RowFault.OFF_INTERVAL: (on_clock % _DAY_US) % interval_us != 0,
    }
    named = [pl.when(bad).then(pl.lit(fault.value)) for fault, bad in faults.items()]
    return pl.coalesce(named)

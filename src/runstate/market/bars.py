"""The translator's bars as integer ticks, read from the files that its manifest lists and from nothing else.

A price that is not on the tick goes to the nearest, halves up; noise of binary floats below a millionth of a tick
does not count.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from runstate.market.breakout import Bars
from runstate.market.config import to_interval
from runstate.market.failures import MarketError
from runstate.market.folder import OutFolder
from runstate.market.settings import Config, Instrument, Interval


@dataclass(frozen=True, slots=True)
class BarFiles:
    """The day files of one instrument at its finest interval, in order of days."""

    instrument: Instrument
    interval: Interval
    entries: Sequence[dict[str, Any]]  #: Of the manifest, at least one, with the opens of their first and last bar.

    def span_us(self) -> tuple[int, int]:
        """Return the first bar's open and the last bar's close, microseconds since the epoch."""
        return int(self.entries[0]["first_us"]), int(self.entries[-1]["last_us"]) + self.interval.seconds * 1_000_000

    def between(self, from_us: int, to_us: int) -> list[dict[str, Any]]:
        """Return the entries with a bar that opens in [from_us, to_us)."""
        after = bisect_left(self.entries, from_us, key=lambda entry: int(entry["last_us"]))
        before = bisect_left(self.entries, to_us, key=lambda entry: int(entry["first_us"]))
        return list(self.entries[after:before])

    def load(self, out: OutFolder, entries: Iterable[Mapping[str, Any]], *, as_of_us: int) -> Bars:
        """Return the bars of these entries, in order of days, that had closed by `as_of_us`."""
        contents = [out.read_verified(entry["path"], entry["sha256"], by="translator") for entry in entries]
        if not contents:
            return Bars([], [], [], [])
        table = pl.read_parquet(contents, columns=["timestamp", "high", "low", "close"])
        opened = table["timestamp"].dt.epoch("us").to_list()
        visible = bisect_right(opened, as_of_us - self.interval.seconds * 1_000_000)
        prices = (_ticks(table[n][:visible], self.instrument.tick) for n in ("high", "low", "close"))
        return Bars(opened[:visible], *prices)


def find_bar_files(config: Config, manifest: dict[str, Any]) -> list[BarFiles]:
    """Return the day files of each instrument that the translator's manifest lists, the shortest interval of each.

    Raises:
        MarketError: An instrument is not in the configuration any more.
    """
    by_name: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for entry in manifest["files"]:
        by_name.setdefault(entry["instrument"], {}).setdefault(entry["interval"], []).append(entry)
    found = []
    for name, by_interval in sorted(by_name.items()):
        intervals = [interval for text in by_interval if (interval := to_interval(text)) is not None]
        instrument = config.instrument(name)
        if instrument is None or not intervals:
            raise MarketError(
                f"the translator wrote bars of {name}, which the configuration does not know; run translator again",
                code="no_input",
            )
        interval = min(intervals, key=lambda i: i.seconds)
        entries = sorted(by_interval[interval.text], key=lambda entry: str(entry["date"]))
        found.append(BarFiles(instrument, interval, entries))
    return found


def _ticks(prices: pl.Series, tick: Decimal) -> list[int]:
    ticks = ((prices / float(tick)).round(6) + 0.5).floor().cast(pl.Int64)
    return ticks.to_list()

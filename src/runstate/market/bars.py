"""The translator's bars as integer ticks, read from the files that its manifest lists and from nothing else.

A price that is not on the tick goes to the nearest, halves up; noise of binary floats below a millionth of a tick
does not count.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl

from runstate.market.breakout import Bars
from runstate.market.config import Config, Instrument, Interval
from runstate.market.failures import MarketError
from runstate.market.folder import OutFolder


@dataclass(frozen=True, slots=True)
class BarFiles:
    """The day files of one instrument at its finest interval, in order of days."""

    instrument: Instrument
    interval: Interval
    entries: Sequence[dict[str, Any]]  #: Of the manifest, at least one.

    def span_us(self, out: OutFolder) -> tuple[int, int]:
        """Return the first bar's open and the last bar's close, microseconds since the epoch."""
        first = self._read(self.entries[0], out)["timestamp"].dt.epoch("us")
        last = self._read(self.entries[-1], out)["timestamp"].dt.epoch("us")
        return int(first[0]), int(last[-1]) + self.interval.seconds * 1_000_000

    def load(self, out: OutFolder, *, as_of_us: int) -> Bars:
        """Return the bars that had closed by `as_of_us`."""
        table = pl.concat([self._read(entry, out) for entry in self.entries])
        opened = array("q", table["timestamp"].dt.epoch("us").to_list())
        visible = bisect_right(opened, as_of_us - self.interval.seconds * 1_000_000)
        prices = (_ticks(table[n][:visible], self.instrument.tick) for n in ("high", "low", "close"))
        return Bars(opened[:visible], *prices)

    def _read(self, entry: dict[str, Any], out: OutFolder) -> pl.DataFrame:
        content = out.read_verified(entry["path"], entry["sha256"], by="translator")
        return pl.read_parquet(BytesIO(content), columns=["timestamp", "high", "low", "close"])


def find_bar_files(config: Config, manifest: dict[str, Any], instrument: str) -> BarFiles:
    """Return the day files of `instrument` that the translator's manifest lists.

    Raises:
        MarketError: There are none; the configuration changed since.
    """
    interval = config.finest_interval(instrument)
    entries = [
        entry for entry in manifest["files"] if entry["instrument"] == instrument and entry["interval"] == interval.text
    ]
    if not entries:
        raise MarketError(
            f"the translator wrote no {interval.text} bars of {instrument}; run translator again",
            code="no_input",
        )
    entries.sort(key=lambda entry: str(entry["date"]))
    return BarFiles(config.instruments[instrument], interval, entries)


def _ticks(prices: pl.Series, tick: Decimal) -> Sequence[int]:
    ticks = ((prices / float(tick)).round(6) + 0.5).floor().cast(pl.Int64)
    return array("q", ticks.to_list())

"""Rows per second and peak memory of the market pipeline on one large file of synthetic minute bars.

    python benchmarks/market.py 10_000_000      # rows; 1 million are 50 MB

Synthetic bars are for load only. Prints one line per stage, measured in a process of its own: seconds, rows per second, and the
highest resident memory so far; then the same for a second run, which finds nothing changed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

CONFIG = """\
[[source]]
files = "raw/*.csv"
dialect = "ninjatrader"
instrument = "X"
interval = "1m"
tz = "UTC"
stamp = "open"

[instrument.X]
tick = 0.01
target = 1.0
tz = "America/Chicago"

[[session]]
name = "S1"
tz = "America/Chicago"
start = "08:30"
slots = ["10:00"]
close = "15:00"
"""
ROWS_AT_ONCE = 1_000_000
MINUTES_A_DAY = 1440


class Run:
    """The surface of a stage context that the stages use."""

    def __init__(self, folder: Path) -> None:
        self.metadata = MappingProxyType({"config": str(folder / "market.toml")})
        self.workdir, self.stopping = folder, False
        self._outputs: dict[str, dict[str, Any]] = {}

    def progress(self, *_: object) -> None:
        pass

    def log(self, text: str, level: str = "info") -> None:
        print(level, text)

    def outputs(self, stage: str) -> dict[str, Any]:
        return self._outputs[stage]

    def run(self, stage: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = stage(self)
        self._outputs[stage.__name__] = outputs
        return outputs


def write_bars(path: Path, count: int) -> None:
    """Write `count` minutes of a price that swings, day and night, from 1900 on."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for first in range(0, count, ROWS_AT_ONCE):
            n = pl.int_range(first, min(count, first + ROWS_AT_ONCE), eager=True)
            stamp = (n * 60_000_000 - 2_208_988_800_000_000).cast(pl.Datetime("us")).dt.strftime("%Y%m%d %H%M%S")
            close = ((n * 7919) % 4001 - 2000) / 100 + 100 + (n // MINUTES_A_DAY % 97)
            table = pl.DataFrame(
                {"t": stamp, "o": close, "h": close + 0.5, "l": close - 0.5, "c": close, "v": n % 1000}
            )
            table.write_csv(file, include_header=False, separator=";", float_precision=2)


def measure(folder: Path) -> None:
    """Run the stages and print what they took."""
    from runstate.market.pipeline import analyzer, merger, translator

    run = Run(folder)
    rows = 0
    for stage in (translator, analyzer, merger):
        begun = time.perf_counter()
        outputs = run.run(stage)
        seconds = time.perf_counter() - begun
        rows = outputs.get("rows_in", rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{stage.__name__:10} {seconds:7.2f} s  {rows / seconds:12,.0f} bars/s  peak {peak} MiB", flush=True)


def main() -> None:
    """Measure a first and a second run in processes of their own."""
    if sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bars(folder / "raw/x.csv", int(sys.argv[1]))
        (folder / "market.toml").write_text(CONFIG)
        size = (folder / "raw/x.csv").stat().st_size
        print(f"{int(sys.argv[1]):,} synthetic bars, {size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        for which in ("first run", "second run"):
            print(which, flush=True)
            subprocess.run([sys.executable, __file__, "--measure", name], check=True)


if __name__ == "__main__":
    main()

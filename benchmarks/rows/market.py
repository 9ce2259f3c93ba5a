"""Market: rows translated and results analysed per second, on one large file of synthetic minute bars.

The fair limit of the translator writes what it writes, a Parquet file for each trading day; what polars needs to put all rows
into one file stands beside it, since a day a file is our choice. Neither judges a row, looks for repetitions, makes a digest
or waits for the disk (`fsync`), as the translator does for every file. The limit of the analyzer reads its bars once.
Synthetic bars are for load only. Every side is a process of its own on all cores, measured without its imports.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.harness import peers
from benchmarks.harness.machine import ROOT, every_core
from benchmarks.harness.record import Line, Measure, Promise, Role
from benchmarks.harness.rounds import Figures, Once, alternate
from benchmarks.harness.server import SIDES, Unavailable

QUICK, FULL = (2_000_000,), (2_000_000, 10_000_000, 50_000_000)
ROUNDS = 3
OURS, DAYS, ONE, SCAN, PANDAS = (
    "runstate",
    "polars, a file a day",
    "polars, one file",
    "polars reads the bars",
    "pandas",
)
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
FIRST_US = -2_208_988_800_000_000  # 1900-01-01
SIDE_S = 1800


def write_bars(folder: Path, count: int) -> None:
    """Lay out a configuration and `count` minutes of a price that swings, day and night, from 1900 on."""
    (folder / "raw").mkdir(parents=True)
    (folder / "market.toml").write_text(CONFIG)
    with (folder / "raw/x.csv").open("wb") as file:
        for first in range(0, count, ROWS_AT_ONCE):
            n = pl.int_range(first, min(count, first + ROWS_AT_ONCE), eager=True)
            stamp = (n * 60_000_000 + FIRST_US).cast(pl.Datetime("us")).dt.strftime("%Y%m%d %H%M%S")
            close = ((n * 7919) % 4001 - 2000) / 100 + 100 + (n // MINUTES_A_DAY % 97)
            table = pl.DataFrame(
                {"t": stamp, "o": close, "h": close + 0.5, "l": close - 0.5, "c": close, "v": n % 1000}
            )
            table.write_csv(file, include_header=False, separator=";", float_precision=2)


class Bars:
    """The sides over one file."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._peak_mib: dict[str, int] = {}
        self._results: list[float] = []  # per second, of the analyzer; it runs after the translator, in its process
        self._analyzed = 0
        write_bars(folder, count)

    def lines(self) -> list[Line]:
        """Measure both lines."""
        name = f"{self._count / 1e6:g} M minute rows"
        missing: dict[str, str] = {}
        sides: dict[str, tuple[Role, Once]] = {
            OURS: ("ours", self._ours),
            DAYS: ("limit", self._side(DAYS, lambda: [sys.executable, SIDES / "polars_bars.py"], "days")),
            ONE: ("limit", self._side(ONE, lambda: [sys.executable, SIDES / "polars_bars.py"], "one")),
            PANDAS: ("peer", self._side(PANDAS, partial(peers.command, "pandas_bars.py"))),
        }
        translated = alternate(sides, ROUNDS, missing)
        for measure in translated:
            measure.note = f"peak {self._peak_mib[measure.name]} MiB"
        # Every round of ours replaced the bars of the one before; the last ones are there to be read.
        scan = self._side(SCAN, lambda: [sys.executable, SIDES / "polars_bars.py"], "scan", count=self._analyzed)
        return [
            Line(
                title=f"Translate {name}",
                unit="rows/s",
                measures=translated,
                promise=Promise(at_least=0.3, of=DAYS),
                missing=missing,
            ),
            Line(
                title=f"Analyse {name}, {self._analyzed:,} results",
                unit="results/s",
                measures=[
                    Measure(name=OURS, role="ours", rounds=self._results),
                    *alternate({SCAN: ("limit", scan)}, ROUNDS, {}),
                ],
            ),
        ]

    def _ours(self, figures: Figures) -> None:
        shutil.rmtree(self._folder / "out", ignore_errors=True)
        took = self._run(OURS, [sys.executable, SIDES / "market_stages.py"])
        figures.rounds.append(took["translator_rows"] / took["translator_s"])
        self._results.append(took["analyzer_rows"] / took["analyzer_s"])
        self._analyzed = int(took["analyzer_rows"])

    def _side(
        self, name: str, command: Callable[[], Sequence[str | Path]], *words: str, count: int | None = None
    ) -> Once:
        def once(figures: Figures) -> None:
            figures.rounds.append((count or self._count) / self._run(name, command(), *words)["seconds"])

        return once

    def _run(self, name: str, command: Sequence[str | Path], *words: str) -> dict[str, float]:
        """Return what a side printed."""
        done = subprocess.run(
            [*command, self._folder, *words], capture_output=True, text=True, timeout=SIDE_S, preexec_fn=every_core,
            cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Unavailable(f"exit {done.returncode}: {' '.join(done.stderr.strip().splitlines()[-1:])}")
        took: dict[str, float] = json.loads(done.stdout)
        self._peak_mib[name] = max(self._peak_mib.get(name, 0), int(took["peak_mib"]))
        return took


def measure(*, full: bool) -> list[Line]:
    """Measure all sizes."""
    lines = []
    for count in FULL if full else QUICK:
        with tempfile.TemporaryDirectory() as folder:
            lines += Bars(Path(folder) / "market", count).lines()
    return lines

"""The limit of the market row: polars alone parses the same file and writes the same columns, and checks nothing.

    python polars_bars.py FOLDER days    # a file for each trading day, as the translator writes
    python polars_bars.py FOLDER one     # everything in one file
    python polars_bars.py FOLDER scan    # the translator's files read once, the least that an analyzer does

No row is judged, nothing is looked up for repetitions, no digest is made, and no file is fsynced. Prints seconds and peak
memory as a line of JSON.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path

import polars as pl


def bars(path: Path) -> pl.LazyFrame:
    """Return the bars of the raw file as the translator writes them."""
    raw = pl.scan_csv(
        path, separator=";", has_header=False, new_columns=["stamp", "open", "high", "low", "close", "volume"]
    )
    stamp = pl.col("stamp").str.to_datetime("%Y%m%d %H%M%S", time_unit="us").dt.replace_time_zone("UTC")
    return raw.select(
        stamp.alias("timestamp"), "open", "high", "low", "close", pl.col("volume").cast(pl.Float64),
        instrument=pl.lit("X"), interval=pl.lit("1m"), source=pl.lit("raw/x.csv"),
    )  # fmt: skip


def main() -> None:
    """Do what is asked for."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    out = folder / "polars"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    begun = time.perf_counter()
    if what == "scan":
        table = pl.scan_parquet(folder / "out/bars/**/*.parquet").select(pl.col("timestamp", "high", "low", "close"))
        table.select(pl.all().max()).collect(engine="streaming")
    elif what == "one":
        bars(folder / "raw/x.csv").sink_parquet(out / "x.parquet")
    else:
        day = pl.col("timestamp").dt.convert_time_zone("America/Chicago").dt.date()
        by_day = pl.PartitionBy(out, key={"day": day}, include_key=False)
        bars(folder / "raw/x.csv").sink_parquet(by_day, mkdir=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()

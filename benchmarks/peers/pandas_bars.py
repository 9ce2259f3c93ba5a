"""pandas straight: the raw file read whole, its stamps parsed, one Parquet file for each trading day.

python pandas_bars.py FOLDER
"""

import json
import resource
import shutil
import sys
import time
from pathlib import Path

import pandas as pd


def main():
    """Write the day files."""
    folder = Path(sys.argv[1])
    out = folder / "pandas"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    begun = time.perf_counter()
    bars = pd.read_csv(
        folder / "raw/x.csv", sep=";", header=None, names=["timestamp", "open", "high", "low", "close", "volume"]
    )
    bars["timestamp"] = pd.to_datetime(bars["timestamp"], format="%Y%m%d %H%M%S", utc=True)
    bars["volume"] = bars["volume"].astype("float64")
    bars["instrument"], bars["interval"], bars["source"] = "X", "1m", "raw/x.csv"
    for day, rows in bars.groupby(bars["timestamp"].dt.tz_convert("America/Chicago").dt.date):
        rows.to_parquet(out / f"X_1m_{day}.parquet", index=False)
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()

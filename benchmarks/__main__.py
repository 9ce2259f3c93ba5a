"""`python -m benchmarks [ROW…] [--full]`: measure, print a line for each figure, write results/ and docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback

from benchmarks.harness.machine import load_core
from benchmarks.harness.record import write

ROWS = ("fanout", "market", "poll", "wake")


def main() -> int:
    """Measure the rows that are named, else all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--full", action="store_true", help="the whole table: every size, more rounds; an hour or so")
    asked = parser.parse_args()
    load_core()
    failed = []
    for name in asked.rows or ROWS:
        begun = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            lines = importlib.import_module(f"benchmarks.rows.{name}").measure(full=asked.full)
        except Exception:  # noqa: BLE001 - the other rows are measured all the same
            traceback.print_exc()
            failed.append(name)
            continue
        for line in lines:
            print(line.words(), flush=True)
        write(name, lines, full=asked.full)
        print(f"   {time.monotonic() - begun:.0f} s", flush=True)
    if failed:
        print(f"could not be measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

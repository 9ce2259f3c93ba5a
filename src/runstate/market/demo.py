"""The demo: EUR/USD, hourly, 2017 (real, shipped with the package) and a commented configuration to change.

A file that is there already is left as it is: what somebody edited is theirs.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from runstate.market.folder import replace_file

RAW_NAME = "eurusd-1h-2017.csv"

_CONFIG = """\
# London breakout on EUR/USD, hourly bars of 2017. Change a number, start the run again, look at out/report.html.

out = "out"                        # where all results go, relative to this file
# as_of = "2017-06-30T00:00:00Z"   # pretend that this is now; default: the last bar's close

[[source]]                         # raw files of one kind; repeat the block for more
files = "raw/eurusd-*.csv"         # a glob, relative to this file
dialect = "dukascopy"              # how a row is written; `runstate market sniff FILE` suggests
instrument = "EURUSD"
interval = "1h"                    # length of a bar
tz = "UTC"                         # the clock of the stamps
stamp = "open"                     # which side of the bar the stamp is: open or close
on_bad_file = "quarantine"         # or "fail": stop at a file that is not of its dialect

[instrument.EURUSD]
tick = 0.00001                     # smallest price step
target = 0.0020                    # distance of the target from the entry
scale = 10000                      # profit is price times this: pips
tz = "Europe/London"               # whose calendar date is the trading day

[[session]]
name = "S1"                        # stream = instrument + trailing digits of the name: EURUSD1
tz = "Europe/London"
start = "00:00"                    # the range is taken from here …
slots = ["07:00"]                  # … to here; several slot ends are several bets a day
close = "21:00"                    # no entry from here on
instruments = ["EURUSD"]
# calendar = "XNYS"                # trade days of an exchange; default Monday to Friday
"""


def write_demo(directory: Path) -> Path:
    """Lay the demo out below `directory` and return the path of its configuration."""
    raw = files("runstate.market").joinpath("data", RAW_NAME).read_bytes()
    config = directory / "market.toml"
    for path, content in ((directory / "raw" / RAW_NAME, raw), (config, _CONFIG.encode())):
        if not path.exists():
            replace_file(path, content)
    return config

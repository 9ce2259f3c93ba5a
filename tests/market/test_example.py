"""The example of three vendors runs; its report, its tables and a database agree; a slow oracle says the same of its trades."""

from __future__ import annotations

import csv
import glob
import io
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest

from runstate.market.config import load_config
from runstate.market.sniff import sniff as look
from tests.market.conftest import EXAMPLE, REPOSITORY, SHARED
from tests.market.oracle import Bar, Day, at, judge
from tests.market.oracle import profit as gain_of
from tests.market.world import run_stages

ES = EXAMPLE / "raw/lean/future/cme/minute/es"


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """Return a copy of the example that ran; on all of the shared data where it lies beside the repository."""
    folder = tmp_path_factory.mktemp("example") / "market"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("out"))
    config = folder / "market.toml"
    text = config.read_text().replace("../../src", str(REPOSITORY / "src"))
    if SHARED.is_dir():
        text = text.replace("raw/nt-spy-*.csv.gz", f"{SHARED}/pyalgotrade/nt-spy-*.csv")
        text = text.replace("raw/lean/future/cme/minute/es", f"{SHARED}/lean/future/cme/minute/es")
    config.write_text(text)
    run_stages(config)
    return folder


def test_all_rows_of_three_vendors_are_taken(example):
    manifest = json.loads((example / "out/manifests/translator.json").read_text())

    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_quarantined"]
    assert manifest["rows_quarantined"] == 0
    instruments = {entry["instrument"] for entry in manifest["inputs"]}
    assert {"SPY", "EURUSD", "ES201312", "ES201403"} <= instruments


def test_the_report_says_what_a_database_finds_in_the_tables(example):
    report = json.loads((example / "out/report.json").read_text())
    found = duckdb.sql(
        f"""
        select stream, strftime(date, '%Y-%m') as month, count(*) filter (exit_price is not null) as trades,
               count(*) filter (result = 'Win') as wins,
               coalesce(sum(profit::decimal(18, 6)), 0)::double as profit
        from read_parquet('{example}/out/merged/*/*/*.parquet') group by all order by all
        """
    ).fetchall()

    told = [
        (stream["stream"], month["month"], month["trades"], month["results"]["Win"], month["profit"])
        for stream in report["streams"]
        for month in stream["months"]
    ]
    assert sorted(told) == [(s, m, t, w, pytest.approx(p)) for s, m, t, w, p in found]
    totals = duckdb.sql(
        f"select stream, count(exit_price), coalesce(sum(profit::decimal(18, 6)), 0)::double "
        f"from read_parquet('{example}/out/merged/*/*/*.parquet') group by all order by all"
    ).fetchall()
    assert [(s["stream"], s["trades"], pytest.approx(s["profit"])) for s in report["streams"]] == totals


def test_the_page_shows_the_report_s_numbers(example):
    report = json.loads((example / "out/report.json").read_text())
    page = (example / "out/report.html").read_text()

    for entry in report["data"]:
        assert f'<td class="name">{entry["instrument"]}</td><td>{entry["interval"]}</td>' in page
        assert entry["rows_in"] == entry["rows_out"] + sum(entry["quarantined"].values())
    eurusd = next(s for s in report["streams"] if s["stream"] == "EURUSD2")
    assert f'<td class="num gain">+{eurusd["profit"]:.1f}</td>' in page
    assert all(heading in page for heading in ("Equity, closed trades", "Profit by month", "Trades", "Data quality"))
    assert page.count("<svg") == sum(1 for s in report["streams"] if s["trades"])


def lean_bars(folder: Path, expiry: str, scale: int, tick: str) -> list[Bar]:
    """Return the bars of one expiry (or of an equity, "") from raw lean zips."""
    found = []
    for path in sorted(folder.glob("*_trade.zip")):
        day = datetime.strptime(path.name[:8], "%Y%m%d").replace(tzinfo=ZoneInfo("America/New_York"))
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if expiry and not name.endswith(f"_{expiry}.csv"):
                    continue
                for cells in csv.reader(io.StringIO(archive.read(name).decode())):
                    stamp = day + timedelta(milliseconds=int(cells[0]))  # the clock's reading goes on, not the instant
                    prices = (
                        ((Decimal(c) / scale) / Decimal(tick)).to_integral_value("ROUND_HALF_UP") * Decimal(tick)
                        for c in cells[2:5]
                    )
                    found.append(Bar(stamp.astimezone(UTC), *prices))
    return found


FUTURE = ("future/cme/minute/es", 1, "0.25", "5", "50")
CASES = [
    (*FUTURE, "201312", None),
    (*FUTURE, "201403", None),
    (*FUTURE, "201406", None),
    # Of these there is one bar each, outside every range: only a later as_of has something to say of their day.
    (*FUTURE, "201409", "2013-11-01T00:00:00Z"),
    (*FUTURE, "201412", "2013-11-01T00:00:00Z"),
    ("equity/usa/minute/spy", 10_000, "0.01", "1", "1", "", None),
    ("equity/usa/minute/ibm", 10_000, "0.01", "1", "1", "", None),
]


@pytest.mark.parametrize(("place", "divisor", "tick", "target", "scale", "expiry", "until"), CASES)
def test_every_row_of_lean_s_instruments_is_what_the_oracle_says(
    tmp_path, place, divisor, tick, target, scale, expiry, until
):
    """On all days that lie beside the repository, else on those that come with the example."""
    folder = SHARED / "lean" / place if (SHARED / "lean" / place).is_dir() else EXAMPLE / "raw/lean" / place
    bars = lean_bars(folder, expiry, divisor, tick)
    if not bars:
        pytest.skip(f"needs the real exports {folder}, which are not part of the repository")
    symbol = place.rsplit("/", 1)[1].upper()
    config = tmp_path / "market.toml"
    config.write_text(
        (f'as_of = "{until}"\n' if until else "")
        + f'[[source]]\nfiles = "{folder}/*_trade.zip"\ndialect = "lean"\ninterval = "1m"\ntz = "America/New_York"\n'
        f'stamp = "open"\n[instrument.{symbol}]\ntick = {tick}\ntarget = {target}\nscale = {scale}\n'
        f'tz = "America/New_York"\n[[session]]\nname = "S1"\ntz = "America/New_York"\nstart = "09:30"\n'
        'slots = ["10:00", "11:00"]\nclose = "16:00"\n'
    )

    run_stages(config, 2)

    zone = "America/New_York"
    as_of = datetime.fromisoformat(until) if until else bars[-1].opened + timedelta(minutes=1)
    first, last = (bar.opened.astimezone(ZoneInfo(zone)).date() for bar in (bars[0], bars[-1]))
    span = [date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 8)]
    expected = []
    for day, following in pairwise(d for d in span if d.weekday() < 5):
        for slot in ("10:00", "11:00"):
            if day > last or at(day, slot, zone) > as_of:
                continue
            window = Day(
                at(day, "09:30", zone),
                at(day, slot, zone),
                at(day, "16:00", zone),
                at(following, slot, zone) - timedelta(seconds=1),
            )
            row = judge(bars, window, tick=Decimal(tick), target=Decimal(target), as_of=as_of)
            gain = gain_of(row, Decimal(scale))
            row = {k: float(v) if isinstance(v, Decimal) else v for k, v in row.items()}
            expected.append({"date": day, "slot": slot, **row, "profit": None if gain is None else float(gain)})
    analyzed = tmp_path / f"out/analyzed/{symbol}{expiry}"
    found = pl.concat(pl.read_parquet(path) for path in sorted(analyzed.rglob("*.parquet")))
    assert found.select(list(expected[0])).to_dicts() == expected


def sniff(*files: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("runstate")
    return subprocess.run([program, "market", "sniff", *files], capture_output=True, text=True, check=False)


def test_sniff_suggests_and_says_what_it_cannot_know(tmp_path):
    """Filled in, the suggestion is a configuration that works."""
    file = REPOSITORY / "src/runstate/market/data/eurusd-1h-2017.csv"

    done = sniff(ES / "20131007_trade.zip", file)

    assert done.returncode == 0
    for line in ('dialect = "lean"', "[instrument.ES]", "tick = 0.25", 'dialect = "dukascopy"', 'interval = "1h"'):
        assert line in done.stdout
    assert done.stdout.count("cannot be known from the file") == 4
    filled = done.stdout.replace('tz = "?"', 'tz = "UTC"').replace('stamp = "?"', 'stamp = "open"')
    filled = filled.replace('instrument = "?"', 'instrument = "EURUSD"').replace(
        "[instrument.NAME]", "[instrument.EURUSD]"
    )
    session = '[[session]]\nname = "S1"\ntz = "UTC"\nstart = "09:30"\nslots = ["10:00"]\nclose = "16:00"\n'
    config = tmp_path / "market.toml"
    config.write_text(filled + session)
    assert [source.dialect for source in load_config(config).sources] == ["lean", "dukascopy"]


def test_sniff_says_when_nothing_fits(tmp_path):
    (tmp_path / "x.csv").write_text("hello\nworld\n")
    (tmp_path / "y.csv").write_text("\r\n")

    done = sniff(tmp_path / "x.csv", tmp_path / "y.csv")

    whys = ("x.csv: no dialect fits; describe it as custom", "y.csv: the file is empty")
    assert (done.returncode, done.stdout) == (1, "\n".join(f"# {tmp_path}/{why}\n" for why in whys))


def test_sniff_reads_one_row_without_a_line_end_and_writes_a_glob_for_any_name(tmp_path):
    """The row is all that stands behind the header; brackets and quotes in the name mean themselves."""
    file = tmp_path / 'DAX "Δ" [1].csv'
    file.write_text("timestamp,open,high,low,close,volume\n2024-04-09T09:00:00+09:00,1,2,0.5,1,3")

    suggestion = look(file)

    assert (suggestion.dialect, suggestion.tick, suggestion.has_own_clock) == ("iso", "0.5", True)
    named = tomllib.loads(suggestion.to_toml())["source"][0]["files"]
    assert glob.glob(named) == [str(file)]

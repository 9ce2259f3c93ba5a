"""Each session, trade day and slot has its row, and on real data every row is the oracle's."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from runstate import Fatal
from runstate.market.demo import write_demo
from runstate.market.pipeline import analyzer
from runstate.market.plan import instant_us
from runstate.market.settings import Clock
from tests.market.oracle import Bar, Day, at, judge, profit, read_bars
from tests.market.world import FakeContext, bar, run_stages, write_project

SPY_SESSIONS = """
[[session]]
name = "S1"
tz = "America/New_York"
start = "09:30"
slots = ["10:00", "11:00"]
close = "16:00"
calendar = "XNYS"
instruments = ["SPY"]
"""


def results(folder: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((folder / "out/analyzed").rglob("*.parquet")))


def spy_project(folder: Path, file: Path, as_of: str = "") -> Path:
    config = write_project(folder, {"spy.csv": file.read_bytes()}, stamp="close")
    text = config.read_text().replace('"X"', '"SPY"').replace("[instrument.X]", "[instrument.SPY]")
    config.write_text(as_of + text.split("[[session]]")[0] + SPY_SESSIONS)
    return config


def expect(bars: list[Bar], days: list[tuple[date, date]], slots: list[str], *, zone: str, start: str, close: str,
           tick: str, target: str, scale: str, as_of: datetime) -> list[dict[str, object]]:  # fmt: skip
    """Return what the oracle says of every day and slot, in the columns of a result."""
    rows = []
    for day, following in days:
        for slot in slots:
            expiry = at(following, slot, zone) - timedelta(seconds=1)
            window = Day(at(day, start, zone), at(day, slot, zone), at(day, close, zone), expiry)
            # Looking at a few days only keeps the plain oracle from reading a year for each of its days.
            near = [bar for bar in bars if window.start <= bar.opened < expiry]
            row = judge(near, window, tick=Decimal(tick), target=Decimal(target), as_of=as_of)
            gain = profit(row, Decimal(scale))
            row = {k: float(v) if isinstance(v, Decimal) else v for k, v in row.items()}
            rows.append({"date": day, "slot": slot, **row, "profit": None if gain is None else float(gain)})
    return rows


def weekdays(first: date, last: date) -> list[tuple[date, date]]:
    span = [first + timedelta(days=n) for n in range((last - first).days + 8)]
    open_days = [day for day in span if day.weekday() < 5]
    return [(day, following) for day, following in pairwise(open_days) if day <= last]


def test_a_year_of_eurusd_is_what_the_oracle_says(tmp_path, eurusd_file):
    """The London breakout of every weekday of 2017, in both clock offsets."""
    outputs = run_stages(write_demo(tmp_path), 2).finished["analyzer"]

    bars = read_bars(
        eurusd_file, stamp="%d.%m.%Y %H:%M:%S.%f", delimiter=",", shift=timedelta(0), tick=Decimal("0.00001")
    )
    expected = expect(
        bars, weekdays(date(2017, 1, 2), date(2017, 12, 29)), ["07:00"], zone="Europe/London", start="00:00",
        close="21:00", tick="0.00001", target="0.0020", scale="10000", as_of=bars[-1].opened + timedelta(hours=1),
    )  # fmt: skip
    assert results(tmp_path).select(list(expected[0])).to_dicts() == expected
    assert outputs["results"] == {"BE": 52, "Loss": 79, "NoData": 0, "NoTrade": 14, "OPEN": 0, "TIME": 4, "Win": 111}


@pytest.mark.parametrize("as_of", ["", 'as_of = "2011-04-01T00:00:00Z"\n', 'as_of = "2011-01-20T15:30:00Z"\n'])
def test_a_month_of_spy_is_what_the_oracle_says(tmp_path, spy_file, as_of):
    """One-minute bars with pre-market and post-market, by New York's calendar, also as of a moment in its midst."""
    run_stages(spy_project(tmp_path, spy_file, as_of), 2)

    bars = read_bars(spy_file, stamp="%Y%m%d %H%M%S", delimiter=";", shift=timedelta(minutes=1), tick=Decimal("0.01"))
    when = bars[-1].opened + timedelta(minutes=1)
    if as_of:
        when = datetime.fromisoformat(as_of.split('"')[1])
    holiday = date(2011, 1, 17)
    open_days = [day for day, _ in weekdays(date(2011, 1, 3), date(2011, 2, 1)) if day != holiday]
    days = [pair for pair in pairwise(open_days) if pair[0] <= date(2011, 1, 31)]
    expected = [
        row
        for row in expect(
            [bar for bar in bars if bar.opened + timedelta(minutes=1) <= when], days, ["10:00", "11:00"],
            zone="America/New_York", start="09:30", close="16:00", tick="0.01", target="1.0", scale="1", as_of=when,
        )
        if at(row["date"], row["slot"], "America/New_York") <= when
    ]  # fmt: skip
    found = results(tmp_path)
    assert found.select(list(expected[0])).to_dicts() == expected
    assert found["as_of"].unique().to_list() == [when]


def test_every_full_trading_day_of_spy_has_an_opening_range(tmp_path, spy_file):
    """From UTC close stamps to New York's 09:30: not one of the twenty days is NoData, and the columns are the contract's."""
    run_stages(spy_project(tmp_path, spy_file), 2)

    found = results(tmp_path)
    assert found["range"].null_count() == 0
    assert found["date"].n_unique() == 20
    assert date(2011, 1, 17) not in found["date"].to_list()
    assert found.columns == [
        "date", "slot", "session", "stream", "instrument", "direction", "entry_time", "entry_price", "exit_time",
        "exit_price", "stop", "target", "range", "peak", "result", "profit", "as_of",
    ]  # fmt: skip
    assert set(found["stream"]) == {"SPY1"}


def session_rows(folder: Path, rows: list[str], *edits: tuple[str, str]) -> list[dict[str, object]]:
    """Run two stages over bars of X and return the result rows; the range is 99 to 101 on 2011-01-03, a Monday."""
    config = write_project(folder, {"x.csv": "".join(rows)})
    text = config.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    run_stages(config, 2)
    return results(folder).to_dicts()


RANGE = bar("20110103 093000", high="101", low="99")


def test_a_trade_that_has_not_expired_is_open_and_has_no_profit(tmp_path):
    (row,) = session_rows(tmp_path, [RANGE, bar("20110103 100000", high="101.01", low="100", close="101")])

    assert (row["result"], row["direction"], row["entry_price"]) == ("OPEN", "Long", 101.01)
    assert (row["exit_time"], row["exit_price"], row["profit"]) == (None, None, None)
    assert (row["stop"], row["target"], row["as_of"]) == (99.01, 102.01, datetime(2011, 1, 3, 10, 1, tzinfo=UTC))


def test_a_friday_s_trade_runs_until_monday_s_slot_end_less_a_second(tmp_path):
    rows = [
        bar("20110107 093000", high="101", low="99"),
        bar("20110107 120000", high="101.01", low="100", close="101"),
        bar("20110108 120000", high="101.20", low="100", close="101.20"),
        bar("20110110 095900", high="101.10", low="100", close="101.10"),
        bar("20110110 100000", high="150", low="100", close="150"),
    ]

    first, _ = session_rows(tmp_path, rows)

    assert (first["result"], first["exit_time"]) == ("TIME", datetime(2011, 1, 10, 9, 59, 59, tzinfo=UTC))
    assert (first["exit_price"], first["profit"], first["peak"]) == (101.1, 0.09, 0.19)


def test_a_day_without_bars_in_the_range_is_no_data(tmp_path):
    """A weekday without any bar as well; a weekend is no trade day."""
    rows = session_rows(tmp_path, [bar("20110106 120000"), bar("20110110 093000"), bar("20110110 100000")])

    assert [(str(row["date"]), row["result"], row["range"]) for row in rows] == [
        ("2011-01-06", "NoData", None),
        ("2011-01-07", "NoData", None),
        ("2011-01-10", "NoTrade", 2.0),
    ]


def test_a_slot_that_has_not_ended_has_no_row(tmp_path):
    slots = ('slots = ["10:00"]', 'slots = ["10:00", "11:00"]')

    rows = session_rows(tmp_path, [RANGE, bar("20110103 105800")], slots)

    assert [row["slot"] for row in rows] == ["10:00"]


def test_an_early_close_of_the_exchange_ends_the_entries(tmp_path):
    """2011-11-25 ends at 13:00 in New York; a breakout in the hours after is no trade of the session."""
    rows = [bar("20111125 093000", high="101", low="99"), bar("20111125 130000", high="102", low="100")]
    utc_to_new_york = ('tz = "UTC"', 'tz = "America/New_York"')
    calendar = ('name = "S1"', 'name = "S1"\ncalendar = "XNYS"')

    with_calendar = session_rows(tmp_path / "a", rows, utc_to_new_york, calendar)
    without = session_rows(tmp_path / "b", rows, utc_to_new_york)

    assert [row["result"] for row in with_calendar] == ["NoTrade"]
    assert [row["result"] for row in without] == ["OPEN"]


def test_prices_are_rounded_to_the_tick_before_they_are_compared(tmp_path):
    """101.0051 is 101.01 and touches; 101.0049 is 101.00 and does not."""
    touched = session_rows(tmp_path / "a", [RANGE, bar("20110103 100000", high="101.0051", low="100")])
    missed = session_rows(tmp_path / "b", [RANGE, bar("20110103 100000", high="101.0049", low="100")])

    assert [row["result"] for row in touched] == ["OPEN"]
    assert [row["result"] for row in missed] == ["NoTrade"]


def test_the_profit_is_in_the_instrument_s_scale(tmp_path):
    scale = ("tick = 0.01", "tick = 0.01\nscale = 50")

    (row,) = session_rows(tmp_path, [RANGE, bar("20110103 100000", high="102.01", low="100", close="102")], scale)

    assert (row["result"], row["exit_price"], row["profit"]) == ("Win", 102.01, 50.0)


def test_the_shortest_interval_is_analysed(tmp_path):
    """An instrument with bars of two intervals has one result per slot, from the finer ones."""
    hourly = 'interval = "1m"', 'interval = "1h"'
    config = write_project(tmp_path, {"x.csv": RANGE + bar("20110103 100000", high="101.01", low="100")})
    coarse = config.read_text().split("[instrument.X]")[0].split("\n\n")[1].replace("*.csv", "*.txt").replace(*hourly)
    (tmp_path / "raw/h.txt").write_text(bar("20110103 090000", high="500") + bar("20110103 100000", high="500"))
    config.write_text(config.read_text() + "\n" + coarse)

    run_stages(config, 2)

    assert results(tmp_path)["entry_price"].to_list() == [101.01]


def test_progress_counts_instrument_days(tmp_path):
    config = write_project(tmp_path, {"x.csv": RANGE + bar("20110105 093000")})

    context = run_stages(config, 1)
    context.seen.clear()
    analyzer(context)

    assert [seen[:3] for seen in context.seen] == [(n, 3, "instrument-days") for n in (0, 1, 2, 3, 3)]
    assert [seen[3] for seen in context.seen[1:4]] == ["X 2011-01-03", "X 2011-01-04", "X 2011-01-05"]
    assert context.seen[-1][3].endswith(" instrument-days/s")


@pytest.mark.parametrize(
    ("as_of", "why"),
    [
        ("2011-01-03T09:30:30Z", "as_of lies before the first bar of X has closed; set a later one"),
        ("2011-01-03T09:45:00Z", "no slot of any session had ended by as_of in the bars; "
                                 "check as_of, the sessions and the files"),
    ],
)  # fmt: skip
def test_an_as_of_before_there_is_anything_to_say_is_refused(tmp_path, as_of, why):
    config = write_project(tmp_path, {"x.csv": RANGE})
    config.write_text(f'as_of = "{as_of}"\n' + config.read_text())

    with pytest.raises(Fatal, match=why):
        run_stages(config, 2)


def test_bars_that_are_not_the_translator_s_are_refused(tmp_path):
    config = write_project(tmp_path, {"x.csv": RANGE})
    context = run_stages(config, 1)
    day = tmp_path / "out/bars/X/1m/2011/01/X_1m_2011-01-03.parquet"
    day.write_bytes(b"something else")

    with pytest.raises(Fatal, match=r"X_1m_2011-01-03\.parquet is not the file that translator wrote"):
        analyzer(context)


def test_a_stage_that_runs_alone_takes_the_last_manifest_and_says_so(tmp_path):
    config = write_project(tmp_path, {"x.csv": RANGE + bar("20110103 100000")})
    alone = FakeContext(str(config), tmp_path)
    with pytest.raises(Fatal, match=r"translator has written nothing below .*out yet; run translator first"):
        analyzer(alone)
    run_stages(config, 1)

    assert analyzer(alone)["rows"] == 1
    assert alone.lines == ["info: translator is not part of this run; its last manifest is used"]


@pytest.mark.parametrize(
    ("day", "clock", "utc"),
    [
        (date(2011, 3, 11), Clock("09:30", 570), "2011-03-11T14:30:00+00:00"),
        (date(2011, 3, 14), Clock("09:30", 570), "2011-03-14T13:30:00+00:00"),
        (date(2011, 3, 13), Clock("02:30", 150), "2011-03-13T07:30:00+00:00"),
        (date(2011, 11, 6), Clock("01:30", 90), "2011-11-06T05:30:00+00:00"),
        (date(2011, 3, 13), Clock("24:00", 1440), "2011-03-14T04:00:00+00:00"),
    ],
)
def test_session_times_are_local(day, clock, utc):
    """One that the clock skips reads one gap later, of a double one the first counts."""
    from zoneinfo import ZoneInfo

    instant = instant_us(day, clock, ZoneInfo("America/New_York"))

    assert datetime.fromtimestamp(instant / 1e6, UTC).isoformat() == utc


def test_the_same_bars_give_the_same_results_in_the_same_bytes(tmp_path):
    """Wherever the project lies."""
    paths = []
    for name in ("a", "b"):
        session_rows(tmp_path / name, [RANGE, bar("20110103 100000", high="101.01", low="100")])
        paths.append(tmp_path / name / "out/analyzed/X/2011/X_2011-01.parquet")

    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1

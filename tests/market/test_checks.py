"""Every row is clean or has one fault, and stamps end up on UTC at the bar's open."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from runstate.market.checks import check_rows, mark_duplicates
from runstate.market.dialects import layout_of
from runstate.market.rows import Block, read_rows
from runstate.market.settings import Interval, Source


def check(*rows: str, tz: str = "UTC", stamp: str = "open", interval: str = "1m", seconds: int = 60):
    source = Source("*", "iso", "X", Interval(interval, seconds), tz, stamp, "quarantine", 1)
    lines = ["timestamp,open,high,low,close,volume", *rows]
    block = Block(1, "\n".join(lines).encode())
    checked = check_rows(read_rows(layout_of("iso", [(1, lines[0])]), block), source)
    return checked, mark_duplicates(checked.table)


def faults(*rows: str, **options) -> list[str | None]:
    return check(*rows, **options)[1]["fault"].to_list()


GOOD = "2020-01-01 00:00,10,12,9,11,5"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (GOOD, None),
        ("2020-01-01 00:00,10,10,10,10,0", None),
        ("2020-01-01 00:00,-3,-1,-4,-2,0", None),
        ("2020-01-01 00:00,10,x,9,11,5", "unparseable"),
        ("2020-01-01 00:00,10,10.5,9,11,5", "ohlc_order"),
        ("2020-01-01 00:00,12.5,12,9,11,5", "ohlc_order"),
        ("2020-01-01 00:00,10,12,10.5,11,5", "ohlc_order"),
        ("2020-01-01 00:00,10,12,9,8.5,5", "ohlc_order"),
        ("2020-01-01 00:00,10,12,9,11,-1", "negative_volume"),
        ("2020-01-01 00:00:01,10,12,9,11,5", "off_interval"),
        ("2020-01-01 00:00:00.5,10,12,9,11,5", "off_interval"),
        ("2020-01-01 00:00:01,10,8,9,11,-1", "ohlc_order"),
    ],
)
def test_a_row_has_the_first_fault_that_applies(row, fault):
    other = "2020-01-01 00:05,10,12,9,11,5"

    assert faults(other, row) == [None, fault]


def test_a_close_stamp_is_moved_back_by_one_interval():
    """The timestamp of a bar is its open, whichever side the vendor stamps."""
    _, table = check("2020-01-01 10:00,1,2,1,1,5", stamp="close", tz="America/New_York", interval="5m", seconds=300)

    assert table["timestamp"].to_list() == [datetime(2020, 1, 1, 14, 55, tzinfo=UTC)]


def test_an_offset_in_the_stamp_wins_over_the_source_s_clock():
    _, table = check("2020-01-01 10:00+02:00,1,2,1,1,5", "2020-01-01 10:00,1,2,1,1,5", tz="America/New_York")

    assert [t.hour for t in table["timestamp"]] == [8, 15]


def test_a_local_time_that_the_clock_skipped_or_showed_twice_is_quarantined():
    """It is never guessed; with an offset it is certain and stays."""
    rows = [
        "2011-03-13 01:59,1,2,1,1,5",
        "2011-03-13 02:30,1,2,1,1,5",
        "2011-03-13 03:00,1,2,1,1,5",
        "2011-11-06 00:59,1,2,1,1,5",
        "2011-11-06 01:30,1,2,1,1,5",
        "2011-11-06 01:30-05:00,1,2,1,1,5",
        "2011-11-06 02:00,1,2,1,1,5",
    ]

    expected = [None, "nonexistent_time", None, None, "ambiguous_time", None, None]
    assert faults(*rows, tz="America/New_York") == expected


def test_the_interval_is_counted_from_midnight_on_the_source_s_clock():
    """Hourly bars in Kolkata open at half past in UTC, and are on the interval."""
    rows = ["2020-01-01 09:00,1,2,1,1,5", "2020-01-01 09:30,1,2,1,1,5", "2020-01-01 04:30Z,1,2,1,1,5"]

    assert faults(*rows, tz="Asia/Kolkata", interval="1h", seconds=3600) == [None, "off_interval", None]


def test_equal_duplicates_leave_one_row_and_conflicting_ones_none():
    rows = [
        GOOD,
        "2020-01-01 00:01,10,12,9,11,5",
        "2020-01-01 00:01,10,12,9,11,",
        GOOD,
        "2020-01-01 00:01,10,12,9,11,5",
        GOOD,
        "2020-01-01 00:02,10,12,9,11,",
        "2020-01-01 00:02,10,12,9,11,",
    ]

    conflict = "conflict"
    assert faults(*rows) == [None, conflict, conflict, "duplicate", conflict, "duplicate", None, "duplicate"]


def test_a_faulty_row_is_no_duplicate_and_makes_none():
    assert faults("2020-01-01 00:00,10,9,9,11,5", GOOD, "2020-01-01 00:00,x,9,9,11,5") == [
        "ohlc_order",
        None,
        "unparseable",
    ]


@pytest.mark.parametrize(
    ("minutes", "count"), [([0, 1, 2], 0), ([0, 2, 1], 1), ([2, 1, 0], 2), ([0, 5, 1, 2, 6], 2), ([1, 1, 1], 0)]
)
def test_rows_stamped_earlier_than_one_above_are_counted(minutes, count):
    checked, _ = check(*(f"2020-01-01 00:0{m},1,2,1,1,5" for m in minutes))

    assert checked.out_of_order == count


def test_no_rows_have_no_faults():
    checked, table = check()

    assert (checked.out_of_order, table.height) == (0, 0)
    assert table.schema["timestamp"] == pl.Datetime("us", "UTC")

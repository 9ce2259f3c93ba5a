"""Each vendor's rows are read as the vendor writes them; other rows and other files are told apart."""

from __future__ import annotations

from datetime import datetime

import pytest

from runstate.market.dialects import HEADER_LINES, layout_of
from runstate.market.failures import BadFile, FileFault
from runstate.market.rows import Block, read_rows

NINJA = "20110103 090100;126.35;126.39;126.30;126.38;1579"
DUKAS_HEADER = "Time,Open,High,Low,Close,Volume"
DUKAS = "01.12.2017 22:00:00.000,1.05236,1.05253,1.05221,1.05227,143539993.3"


def read(dialect: str, *lines: str, **spelled_out) -> list[dict[str, object]]:
    head = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()][:HEADER_LINES]
    layout = layout_of(dialect, head, **spelled_out)
    return read_rows(layout, Block(1, "\n".join(lines).encode())).to_dicts()


def test_a_ninjatrader_row_is_read():
    (row,) = read("ninjatrader", NINJA)

    assert row == {
        "line": 1, "stamp": datetime(2011, 1, 3, 9, 1), "offset_s": None,
        "open": 126.35, "high": 126.39, "low": 126.3, "close": 126.38, "volume": 1579.0, "parsed": True,
    }  # fmt: skip


def test_a_dukascopy_row_is_read_day_first():
    (row,) = read("dukascopy", DUKAS_HEADER, DUKAS)

    assert (row["line"], row["stamp"]) == (2, datetime(2017, 12, 1, 22))
    assert (row["high"], row["volume"], row["parsed"]) == (1.05253, 143539993.3, True)


@pytest.mark.parametrize("header", ["Gmt time,Open,High,Low,Close,Volume", "Time (UTC),open,HIGH,low,close,Volume "])
def test_dukascopy_names_its_columns_in_several_ways(header):
    assert read("dukascopy", header.strip(), DUKAS)[0]["parsed"]


def test_a_dukascopy_local_time_says_its_offset():
    (row,) = read("dukascopy", "Local time,Open,High,Low,Close,Volume", DUKAS.replace(".000,", ".000 GMT+0200,"))

    assert (row["offset_s"], row["parsed"]) == (7200, True)


@pytest.mark.parametrize(
    ("stamp", "read_as", "offset_s"),
    [
        ("2020-01-02T03:04:05Z", datetime(2020, 1, 2, 3, 4, 5), 0),
        ("2020-01-02 03:04", datetime(2020, 1, 2, 3, 4), None),
        ("2020-01-02", datetime(2020, 1, 2), None),
        ("2020-01-02T03:04:05.25+05:30", datetime(2020, 1, 2, 3, 4, 5, 250_000), 19_800),
        ("2020-01-02T03:04:05,123456789-0330", datetime(2020, 1, 2, 3, 4, 5, 123_456), -12_600),
        ("2020-01-02 03:04:05+02", datetime(2020, 1, 2, 3, 4, 5), 7200),
        ('"2020-01-02 03:04:05"', datetime(2020, 1, 2, 3, 4, 5), None),
    ],
)
def test_an_iso_stamp_is_read(stamp, read_as, offset_s):
    (row,) = read("iso", "timestamp;open;high;low;close;volume", f"{stamp};1;2;0.5;1.5;7")

    assert (row["stamp"], row["offset_s"], row["parsed"]) == (read_as, offset_s, True)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("Close;Low;High;Open;TimeStamp;Volume", "1.5;0.5;2;1;2020-01-01;7"),
        ("datetime,open,high,low,close,adj close,volume", "2020-01-01,1,2,0.5,1.5,9,7"),
        ("date\topen\thigh\tlow\tclose\tvolume", "2020-01-01\t1\t2\t.5\t1.5e0\t+7."),
        ('"Timestamp","Open","High","Low","Close","Volume","Time"', '"2020-01-01","1","2","0.5","1.5","7","x"'),
    ],
)
def test_an_iso_header_names_the_columns_in_any_order(header, cells):
    (row,) = read("iso", header, cells)

    assert [row[n] for n in ("open", "high", "low", "close", "volume", "parsed")] == [1, 2, 0.5, 1.5, 7, True]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("timestamp,open,high,low,close", "2020-01-01,1,2,1,1"),
        ("time,open,high,low,close,volume", "2020-01-01,1,2,1,1,"),
    ],
)
def test_an_iso_file_may_have_no_volume(header, cells):
    (row,) = read("iso", header, cells)

    assert (row["volume"], row["parsed"]) == (None, True)


@pytest.mark.parametrize(
    "row",
    [
        "20110103 090100;126.35;126.39;126.30;126.38",
        NINJA + ";1",
        "20110103 090100;126.35;126.39;126.30;126.38;",
        "20110103 090100;126,35;126.39;126.30;126.38;1",
        "20110103 090100;nan;126.39;126.30;126.38;1",
        "20110103 090100;inf;126.39;126.30;126.38;1",
        "20110103 090100;1e999;126.39;126.30;126.38;1",
        "20110103 090100;1_0;126.39;126.30;126.38;1",
        "20110103 090160;126.35;126.39;126.30;126.38;1",
        "20110103 240000;126.35;126.39;126.30;126.38;1",
        "20110230 090100;126.35;126.39;126.30;126.38;1",
        "20110103;126.35;126.39;126.30;126.38;1",
        "2011-01-03 09:01:00;126.35;126.39;126.30;126.38;1",
    ],
)
def test_a_row_that_does_not_fit_is_not_parsed(row):
    """Among good rows it is one bad row, whatever is wrong with it."""
    rows = read("ninjatrader", NINJA, row, NINJA)

    assert [(r["line"], r["parsed"]) for r in rows] == [(1, True), (2, False), (3, True)]


@pytest.mark.parametrize(
    ("dialect", "lines", "fault", "line", "sentence"),
    [
        ("dukascopy", [DUKAS], FileFault.WRONG_HEADER, 1,
         f"the header of a dukascopy file is Time,Open,High,Low,Close,Volume, here is '{DUKAS[:60]}'"),
        ("iso", ["timestamp,open,high,low", "x"], FileFault.WRONG_HEADER, 1,
         "the header of an iso file names timestamp, open, high, low, close and maybe volume once each, "
         "here is 'timestamp,open,high,low'"),
        ("iso", ["date,time,open,high,low,close", "x"], FileFault.WRONG_HEADER, 1,
         "the header of an iso file names timestamp, open, high, low, close and maybe volume once each, "
         "here is 'date,time,open,high,low,close'"),
    ],
)  # fmt: skip
def test_a_header_of_another_dialect_is_a_bad_file(dialect, lines, fault, line, sentence):
    with pytest.raises(BadFile) as refused:
        read(dialect, *lines)

    assert (refused.value.fault, refused.value.line, refused.value.sentence) == (fault, line, sentence)


@pytest.mark.parametrize(
    ("dialect", "lines"),
    [("ninjatrader", []), ("ninjatrader", ["", ""]), ("dukascopy", [DUKAS_HEADER]), ("dukascopy", [""]),
     ("iso", ["timestamp,open,high,low,close", ""])],
)  # fmt: skip
def test_a_file_without_rows_is_an_empty_day(dialect, lines):
    assert read(dialect, *lines) == []

"""The report counts what the tables hold, in decimals, in the order of exits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from runstate.market.report import report_stream, to_document
from runstate.market.results import RESULT_SCHEMA

START = datetime(2011, 1, 3, 15, tzinfo=UTC)
CLOSED = ("Win", "BE", "Loss", "TIME")


def table(*rows: tuple[int, str, float | None]) -> pl.DataFrame:
    """Return result rows of (days after the start, result, profit); each exits one hour after its entry."""
    cells = []
    for days, result, profit in rows:
        when = START + timedelta(days=days)
        is_closed = result in CLOSED
        cells.append({
            "date": when.date(), "slot": "10:00", "session": "S1", "stream": "X1", "instrument": "X",
            "entry_time": when, "exit_time": when + timedelta(hours=1) if is_closed else None,
            "exit_price": 1.0 if is_closed else None,
            "entry_price": 1.0, "stop": 0.9, "target": 1.1, "direction": "Long", "result": result, "profit": profit, "as_of": START,
        })  # fmt: skip
    return pl.DataFrame(cells, schema_overrides=RESULT_SCHEMA).select(
        pl.col(name) if name in cells[0] else pl.lit(None, kind).alias(name) for name, kind in RESULT_SCHEMA.items()
    )


def test_a_stream_is_counted_whole_and_by_month():
    rows = [(0, "Win", 2.0), (1, "Loss", -3.0), (2, "NoTrade", None), (3, "BE", -0.1), (30, "TIME", 0.3),
            (31, "OPEN", None), (32, "NoData", None)]  # fmt: skip

    report = report_stream("X1", table(*rows)).to_json()

    months = report.pop("months")
    assert report == {
        "stream": "X1", "instruments": ["X"], "first": "2011-01-03", "last": "2011-02-04",
        "as_of": "2011-01-03T15:00:00Z", "trades": 4, "win_rate": 0.25, "profit": -0.8, "drawdown": 3.1,
        "results": {"Win": 1, "BE": 1, "Loss": 1, "TIME": 1, "OPEN": 1, "NoTrade": 1, "NoData": 1},
    }  # fmt: skip
    assert [(m["month"], m["trades"], m["profit"], m["drawdown"]) for m in months] == [
        ("2011-01", 3, -1.1, 3.1),
        ("2011-02", 1, 0.3, 0.0),
    ]


def test_a_stream_without_trades_has_no_win_rate():
    report = report_stream("X1", table((0, "NoTrade", None)))

    assert (report.total.win_rate, report.total.profit, report.total.drawdown) == (None, 0, 0)
    assert to_document([report], [])["as_of"] == "2011-01-03T15:00:00Z"


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=20))
def test_the_drawdown_is_the_deepest_fall_between_any_two_moments(tenths):
    """Compared with looking at every pair of moments; sums of tenths stay tenths."""
    rows = [(day, "TIME", tenth / 10) for day, tenth in enumerate(tenths)]

    total = report_stream("X1", table(*rows)).total

    running = [Decimal(sum(tenths[:n])) / 10 for n in range(len(tenths) + 1)]
    deepest = max(high - low for n, high in enumerate(running) for low in running[n:])
    assert (total.profit, total.drawdown) == (running[-1], deepest)


def test_the_latest_trades_come_first():
    report = report_stream("X1", table(*((day, "Win", 1.0) for day in range(520))))

    assert len(report.latest) == 500
    assert report.latest[0]["date"] == START.date() + timedelta(days=519)
    assert [value for _, value in report.equity][-1] == 520

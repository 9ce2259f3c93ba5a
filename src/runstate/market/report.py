"""The figures of the report, from result tables. Pure; sums are decimal, so the same trades give the same digits.

trades     rows with an exit: Win, BE, Loss, TIME (OPEN, NoTrade and NoData are counted, never traded)
win_rate   Win / trades, null without trades
profit     sum over trades, in the instrument's scale
drawdown   deepest fall of the running profit below its highest point so far (0 at the start), at least 0
quality    rows in = rows out + quarantined, by instrument, from the translator's manifest
month      of the row's date; trades are run through in order of their exits
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl

from runstate.market.breakout import Result
from runstate.market.manifest import sum_by
from runstate.market.results import CLOSED


@dataclass(frozen=True, slots=True)
class Figures:
    """Trades of a stream, or of one of its months."""

    trades: int
    results: dict[str, int]  #: By result, all seven.
    profit: Decimal
    drawdown: Decimal

    @property
    def win_rate(self) -> float | None:
        """Return the share of wins, rounded to four digits."""
        return round(self.results["Win"] / self.trades, 4) if self.trades else None

    def to_json(self) -> dict[str, object]:
        """Return the figures by name."""
        return {
            "trades": self.trades,
            "win_rate": self.win_rate,
            "profit": float(self.profit),
            "drawdown": float(self.drawdown),
            "results": self.results,
        }


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream, whole and by month."""

    stream: str
    instruments: list[str]
    total: Figures
    months: dict[str, Figures]  #: By `YYYY-MM`, ascending.
    equity: list[tuple[datetime, Decimal]]  #: Running profit after each exit.
    latest: list[dict[str, object]]  #: The last closed trades as rows, newest first.
    first: str  #: First and last date with a row.
    last: str
    as_of: datetime

    def to_json(self) -> dict[str, object]:
        """Return the report of the stream as JSON."""
        return {
            "stream": self.stream,
            "instruments": self.instruments,
            "first": self.first,
            "last": self.last,
            "as_of": _text(self.as_of),
            **self.total.to_json(),
            "months": [{"month": month, **f.to_json()} for month, f in self.months.items()],
        }


LATEST_TRADES = 500  #: On the page; the tables have all.


def report_stream(stream: str, table: pl.DataFrame) -> StreamReport:
    """Return the report of `stream` from its rows, at least one."""
    rows = table.sort("date", "slot", "session", "instrument").to_dicts()
    closed = sorted(
        (row for row in rows if row["exit_price"] is not None),
        key=lambda row: (row["exit_time"], row["entry_time"]),
    )
    running = Decimal(0)
    equity: list[tuple[datetime, Decimal]] = []
    for row in closed:
        running += _decimal(row["profit"])
        equity.append((row["exit_time"], running))
    months, closed_in = _by_month(rows), _by_month(closed)
    return StreamReport(
        stream=stream,
        instruments=sorted({str(row["instrument"]) for row in rows}),
        total=_figures(rows, closed),
        months={month: _figures(months[month], closed_in.get(month, [])) for month in sorted(months)},
        equity=equity,
        latest=closed[: -LATEST_TRADES - 1 : -1],
        first=str(rows[0]["date"]),
        last=str(rows[-1]["date"]),
        as_of=max(row["as_of"] for row in rows),
    )


@dataclass(frozen=True, slots=True)
class Quality:
    """What the translator took and what it did not, for one instrument at one interval."""

    instrument: str  #: "?" for files of which nobody knows whose bars they hold.
    interval: str
    files: int
    files_quarantined: int
    rows_in: int
    rows_out: int
    out_of_order: int
    quarantined: dict[str, int]  #: Rows by reason.

    def to_json(self) -> dict[str, object]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def report_quality(inputs: list[dict[str, Any]]) -> list[Quality]:
    """Return the counts of the translator's manifest by instrument and interval."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in inputs:
        groups.setdefault((entry["instrument"] or "?", entry["interval"]), []).append(entry)
    return [
        Quality(
            instrument=instrument,
            interval=interval,
            files=len(entries),
            files_quarantined=sum(1 for entry in entries if "quarantined" in entry),
            rows_in=sum(entry["rows_in"] for entry in entries),
            rows_out=sum(entry["rows_out"] for entry in entries),
            out_of_order=sum(entry["rows_out_of_order"] for entry in entries),
            quarantined=sum_by(entry["rows_quarantined"] for entry in entries),
        )
        for (instrument, interval), entries in sorted(groups.items())
    ]


def to_document(streams: list[StreamReport], quality: list[Quality]) -> dict[str, object]:
    """Return `report.json`; no clock and no folder is in it, so equal results give equal bytes."""
    counts: Counter[str] = Counter()
    for report in streams:
        counts.update(report.total.results)
    return {
        "report": "opening-range breakout",
        "as_of": _text(max(report.as_of for report in streams)) if streams else None,
        "results": {result.value: counts[result.value] for result in Result},
        "streams": [report.to_json() for report in streams],
        "data": [entry.to_json() for entry in quality],
    }


def _figures(rows: list[dict[str, object]], closed: list[dict[str, object]]) -> Figures:
    counts = Counter(str(row["result"]) for row in rows)
    running = highest = drawdown = Decimal(0)
    for row in closed:
        running += _decimal(row["profit"])
        highest = max(highest, running)
        drawdown = max(drawdown, highest - running)
    return Figures(
        trades=sum(counts[result] for result in CLOSED),
        results={result.value: counts[result.value] for result in Result},
        profit=running,
        drawdown=drawdown,
    )


def _by_month(rows: list[dict[str, object]]) -> dict[str, list[dict[str, object]]]:
    months: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        months[str(row["date"])[:7]].append(row)
    return months


def _decimal(value: object) -> Decimal:
    return Decimal(str(value))  # the shortest digits that give the float: those it was made from


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")

"""The result table: its columns, and how an outcome in ticks becomes a row of prices.

Prices are `ticks × tick` in decimal arithmetic and only then floats, so 1.05236 is 1.05236. What a row does not have
is null: no trade has no direction, an open trade no exit and no profit. A zero is always a real zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from runstate.market.breakout import Direction, Outcome, Result, Trade
from runstate.market.settings import Instrument

INSTANT = pl.Datetime("us", "UTC")
RESULT_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "slot": pl.String(),
    "session": pl.String(),
    "stream": pl.String(),
    "instrument": pl.String(),
    "direction": pl.String(),
    "entry_time": INSTANT,
    "entry_price": pl.Float64(),
    "exit_time": INSTANT,
    "exit_price": pl.Float64(),
    "stop": pl.Float64(),
    "target": pl.Float64(),
    "range": pl.Float64(),
    "peak": pl.Float64(),
    "result": pl.String(),
    "profit": pl.Float64(),
    "as_of": INSTANT,
}
KEY = ("date", "slot", "session", "instrument", "stream")
CLOSED = (Result.WIN, Result.BE, Result.LOSS, Result.TIME)  #: Results with an exit and a profit.

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Which slot of which day a row is about."""

    day: date
    slot: str
    session: str
    stream: str
    as_of_us: int


def to_row(place: Place, outcome: Outcome, instrument: Instrument) -> Row:
    """Return the row of one outcome; instants are microseconds since the epoch."""
    row: Row = dict.fromkeys(RESULT_SCHEMA)
    row.update(
        date=place.day,
        slot=place.slot,
        session=place.session,
        stream=place.stream,
        instrument=instrument.name,
        result=outcome.result.value,
        as_of=place.as_of_us,
    )
    if outcome.range is not None:
        row["range"] = float(outcome.range * instrument.tick)
    if outcome.trade is not None:
        row.update(_trade_cells(outcome.trade, instrument))
    return row


def to_table(rows: list[Row]) -> pl.DataFrame:
    """Return the rows as a table in the order of date, session and slot."""
    physical = {name: pl.Int64() if kind == INSTANT else kind for name, kind in RESULT_SCHEMA.items()}
    table = pl.DataFrame(rows, schema=physical, orient="row").cast(dict(RESULT_SCHEMA))  # type: ignore[arg-type]  # invariant key
    return in_order(table)


def in_order(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in the order in which all tables hold them."""
    return table.sort("date", "instrument", "stream", "session", "slot")


def _trade_cells(trade: Trade, instrument: Instrument) -> Row:
    def price(ticks: int) -> float:
        return float(ticks * instrument.tick)

    cells: Row = {
        "direction": "Long" if trade.direction is Direction.LONG else "Short",
        "entry_time": trade.entered_us,
        "entry_price": price(trade.entry),
        "stop": price(trade.stop),
        "target": price(trade.target),
        "peak": price(trade.peak),
    }
    if trade.exit is not None:
        gain = trade.direction.value * (trade.exit - trade.entry)
        cells["exit_time"] = trade.exited_us
        cells["exit_price"] = price(trade.exit)
        cells["profit"] = float(Decimal(gain) * instrument.tick * instrument.scale)
    return cells

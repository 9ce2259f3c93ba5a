"""The breakout once more, slow and plain, from the words of the contract: bar by bar, decimals, no index arithmetic.

Shares no code with `runstate.market`. Prices come in rounded to the tick.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Bar:
    opened: datetime
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True)
class Day:
    start: datetime
    slot_end: datetime
    close: datetime
    expiry: datetime


def judge(bars: list[Bar], day: Day, *, tick: Decimal, target: Decimal, as_of: datetime) -> dict[str, object]:
    """Return result, direction, entry_time, entry_price, exit_time, exit_price, stop, target, range, peak."""
    nothing = dict.fromkeys(
        ("direction", "entry_time", "entry_price", "exit_time", "exit_price", "stop", "target", "range", "peak")
    )
    in_range = [bar for bar in bars if day.start <= bar.opened < day.slot_end]
    if not in_range:
        return {**nothing, "result": "NoData"}
    top = max(bar.high for bar in in_range)
    bottom = min(bar.low for bar in in_range)
    height = top - bottom
    no_trade = {**nothing, "result": "NoTrade", "range": height}

    side = None
    entry_bar = None
    for bar in bars:
        if bar.opened < day.slot_end or bar.opened >= day.close:
            continue
        touches_long = bar.high >= top + tick
        touches_short = bar.low <= bottom - tick
        if touches_long and touches_short:
            return no_trade
        if touches_long or touches_short:
            side = "Long" if touches_long else "Short"
            entry_bar = bar
            break
    if side is None or entry_bar is None:
        return no_trade

    risk = min(height, 3 * target)
    if side == "Long":
        entry = top + tick
        first_stop = stop = entry - risk
        goal = entry + target
        moved_stop = entry - tick
    else:
        entry = bottom - tick
        first_stop = stop = entry + risk
        goal = entry - target
        moved_stop = entry + tick

    moved = False
    peak = Decimal(0)
    last = entry_bar
    outcome: tuple[str, datetime | None, Decimal | None] | None = None
    for bar in bars:
        if bar.opened < entry_bar.opened or bar.opened >= day.expiry:
            continue
        last = bar
        favour = bar.high - entry if side == "Long" else entry - bar.low
        peak = max(peak, favour)
        hits_stop = bar.low <= stop if side == "Long" else bar.high >= stop
        hits_goal = bar.high >= goal if side == "Long" else bar.low <= goal
        if hits_stop and hits_goal:
            hits_stop = not abs(bar.close - goal) < abs(bar.close - stop)
            hits_goal = not hits_stop
        if hits_goal:
            outcome = ("Win", bar.opened, goal)
            break
        if hits_stop:
            outcome = ("BE" if moved else "Loss", bar.opened, stop)
            break
        if favour >= Decimal("0.65") * target and not moved:
            moved = True
            stop = moved_stop
    if outcome is None and as_of >= day.expiry:
        outcome = ("TIME", day.expiry, last.close)
    if outcome is None:
        outcome = ("OPEN", None, None)
    result, exit_time, exit_price = outcome
    return {
        "result": result,
        "direction": side,
        "entry_time": entry_bar.opened,
        "entry_price": entry,
        "exit_time": exit_time,
        "exit_price": exit_price,
        "stop": first_stop,
        "target": goal,
        "range": height,
        "peak": peak,
    }


def profit(row: dict[str, object], scale: Decimal) -> Decimal | None:
    """Return the gain of a judged trade in the instrument's scale."""
    if row["exit_price"] is None:
        return None
    gain = row["exit_price"] - row["entry_price"]
    return (gain if row["direction"] == "Long" else -gain) * scale


def at(day: date, clock: str, zone: str) -> datetime:
    """Return local `HH:MM` of `day` in UTC."""
    return datetime.combine(day, time.fromisoformat(clock), ZoneInfo(zone)).astimezone(UTC)


def read_bars(path: Path, *, stamp: str, delimiter: str, shift: timedelta, tick: Decimal) -> list[Bar]:
    """Return the bars of a file on UTC, prices on the tick, opens moved back by `shift`."""

    def price(text: str) -> Decimal:
        return (Decimal(text) / tick).to_integral_value(ROUND_HALF_UP) * tick

    bars = []
    with path.open(newline="") as file:
        for row in csv.reader(file, delimiter=delimiter):
            try:
                opened = datetime.strptime(row[0], stamp).replace(tzinfo=UTC) - shift
            except ValueError:  # the header
                continue
            bars.append(Bar(opened, price(row[2]), price(row[3]), price(row[4])))
    return bars

"""The decision: what an opening-range breakout did. Pure: bars and times in, an outcome out; prices are integer ticks.

    range   = highest high − lowest low of the bars opening in [start, slot end)
    entry   = at range high + 1 (long) or range low − 1 (short), in the first bar that opens in [slot end, close)
              and touches one; a bar that touches both, or none before the close: NoTrade; no bar in the range: NoData
    stop    = min(range, 3 × target) behind the entry; once a bar was 65 % of the target in favour, from the next bar
              on, 1 tick behind the entry (an exit there is BE)
    exit    = first bar from the entry bar on, opening before the expiry, that touches stop or target, at that price;
              both: whichever is nearer to that bar's close, a tie is the stop
    else    = TIME at the close of the last bar before the expiry once as_of has reached it, before that OPEN

Where MARKET.md is silent:
- A bar that opens beyond a level touched it: fills are at the level, gaps included.
- A range of 0 puts the stop at the entry. The rule is kept as written; such a Loss has profit 0.
- NoTrade before the close means: no touch up to as_of.
- peak: the best price from the entry bar to the exit bar, both whole (bars do not tell the order inside), at least 0.
- An exit is timed by its bar's open; TIME by the expiry itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

_LOCK_IN_PERCENT = 65
_STOP_IN_TARGETS = 3


class Result(StrEnum):
    """How a slot of a day ended."""

    WIN = "Win"
    BE = "BE"
    LOSS = "Loss"
    TIME = "TIME"
    OPEN = "OPEN"
    NO_TRADE = "NoTrade"
    NO_DATA = "NoData"


class Direction(Enum):
    """Which way a trade goes; the value is the sign of a gain."""

    LONG = 1
    SHORT = -1


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in order of time, one value per bar in each sequence."""

    opened_us: Sequence[int]  #: Bar open, microseconds since the epoch, ascending, no two equal.
    high: Sequence[int]  #: Ticks, as `low` and `close`.
    low: Sequence[int]
    close: Sequence[int]


@dataclass(frozen=True, slots=True)
class Window:
    """The instants that matter for one slot of one day, microseconds since the epoch."""

    start_us: int
    slot_end_us: int
    close_us: int  #: No entry in a bar that opens here or later.
    expiry_us: int  #: One second before the next trade day's slot end.


@dataclass(frozen=True, slots=True)
class Trade:
    """A breakout that was entered. Prices are ticks."""

    direction: Direction
    entered_us: int  #: Open of the entry bar.
    entry: int
    stop: int  #: As placed at the entry.
    target: int
    exited_us: int | None  #: None while OPEN.
    exit: int | None
    peak: int  #: Best distance in favour, at least 0.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one slot of one day came to."""

    result: Result
    range: int | None  #: Ticks; None: no bar in the range.
    trade: Trade | None


def break_out(bars: Bars, window: Window, *, target: int, as_of_us: int) -> Outcome:
    """Return what the breakout of one slot of one day did.

    Args:
        bars: Only bars that had closed by `as_of_us`; those outside the window are ignored.
        window: The slot's instants.
        target: Distance of the target in ticks, at least 1.
        as_of_us: Up to when the outcome is known.
    """
    first = bisect_left(bars.opened_us, window.start_us)
    ranged = bisect_left(bars.opened_us, window.slot_end_us)
    if first == ranged:
        return Outcome(Result.NO_DATA, None, None)
    high, low = max(bars.high[first:ranged]), min(bars.low[first:ranged])
    close = bisect_left(bars.opened_us, window.close_us)
    entered = _find_entry(bars, range(ranged, close), long=high + 1, short=low - 1)
    if entered is None:
        return Outcome(Result.NO_TRADE, high - low, None)
    index, direction = entered
    entry = high + 1 if direction is Direction.LONG else low - 1
    stop = min(high - low, _STOP_IN_TARGETS * target)
    expired = bisect_left(bars.opened_us, window.expiry_us)
    bars_held = range(index, expired)
    result, exit_index, exit_gain, peak = _follow(bars, bars_held, direction, entry, (stop, target))
    if exit_index is not None:
        exited_us: int | None = bars.opened_us[exit_index]
    elif as_of_us >= window.expiry_us:
        result, exited_us = Result.TIME, window.expiry_us
        exit_gain = direction.value * (bars.close[expired - 1] - entry)
    else:
        result, exited_us, exit_gain = Result.OPEN, None, None
    sign = direction.value
    trade = Trade(
        direction=direction,
        entered_us=bars.opened_us[index],
        entry=entry,
        stop=entry - sign * stop,
        target=entry + sign * target,
        exited_us=exited_us,
        exit=None if exit_gain is None else entry + sign * exit_gain,
        peak=peak,
    )
    return Outcome(result, high - low, trade)


def _find_entry(bars: Bars, candidates: range, *, long: int, short: int) -> tuple[int, Direction] | None:
    """Return the first bar that touches one level; None if that bar touches both, or there is none."""
    for index in candidates:
        is_long, is_short = bars.high[index] >= long, bars.low[index] <= short
        if is_long and is_short:
            return None
        if is_long or is_short:
            return index, Direction.LONG if is_long else Direction.SHORT
    return None


def _follow(
    bars: Bars, held: range, direction: Direction, entry: int, distances: tuple[int, int]
) -> tuple[Result, int | None, int | None, int]:
    """Walk the bars until stop or target; everything is measured in ticks of gain from the entry.

    Returns:
        The result, the exit bar's index and gain (None, None if neither was touched), and the peak.
    """
    stop, target = -distances[0], distances[1]
    is_locked_in = False
    peak = 0
    sign = direction.value
    for index in held:
        best, worst = sign * (bars.high[index] - entry), sign * (bars.low[index] - entry)
        if direction is Direction.SHORT:
            best, worst = worst, best
        peak = max(peak, best)
        stopped, reached = worst <= stop, best >= target
        if stopped and reached:
            close = sign * (bars.close[index] - entry)
            stopped = abs(close - stop) <= abs(target - close)
        if stopped:
            return (Result.BE if is_locked_in else Result.LOSS), index, stop, peak
        if reached:
            return Result.WIN, index, target, peak
        if not is_locked_in and 100 * best >= _LOCK_IN_PERCENT * target:
            is_locked_in, stop = True, -1
    return Result.OPEN, None, None, peak

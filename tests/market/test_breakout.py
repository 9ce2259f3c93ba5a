"""What an opening-range breakout did, case by case and against a slow oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runstate.market.breakout import Bars, Direction, Outcome, Result, Window, break_out
from tests.market.oracle import Bar, Day, judge

# Minutes: range in [0, 3), entries in [3, 8), expiry at 12 less a second.
MINUTE_US = 60_000_000
WINDOW = Window(0, 3 * MINUTE_US, 8 * MINUTE_US, 12 * MINUTE_US - 1_000_000)
LATE_US = 99 * MINUTE_US
TARGET = 20


def bars_of(*rows: tuple[int, int, int, int]) -> Bars:
    """Return bars of (minute, high, low, close)."""
    minutes, high, low, close = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Bars([minute * MINUTE_US for minute in minutes], high, low, close)


def decide(*rows: tuple[int, int, int, int], as_of_us: int = LATE_US) -> Outcome:
    return break_out(bars_of(*rows), WINDOW, target=TARGET, as_of_us=as_of_us)


RANGE = (0, 110, 100, 105)  # long entry 111, short entry 99, stop distance 10


@pytest.mark.parametrize(
    ("rows", "result", "exit_price"),
    [
        pytest.param([(4, 131, 110, 130)], "Win", 131, id="the entry bar itself reaches the target"),
        pytest.param([(4, 111, 101, 102)], "Loss", 101, id="the entry bar itself reaches the stop"),
        pytest.param([(4, 112, 108, 110), (5, 131, 112, 131)], "Win", 131, id="a later bar reaches the target"),
        pytest.param([(4, 112, 108, 110), (5, 112, 90, 95)], "Loss", 101, id="a later bar goes through the stop"),
        pytest.param([(4, 124, 110, 120), (5, 123, 110, 111)], "BE", 110, id="65 % in favour move the stop"),
        pytest.param([(4, 123, 110, 120), (5, 122, 102, 111)], "TIME", 111, id="less than 65 % do not"),
        pytest.param([(4, 124, 102, 120), (5, 123, 111, 111)], "TIME", 111, id="the moved stop starts one bar later"),
        pytest.param([(4, 112, 108, 110), (5, 131, 101, 117)], "Win", 131, id="both, the close is nearer the target"),
        pytest.param([(4, 112, 108, 110), (5, 131, 101, 115)], "Loss", 101, id="both, the close is nearer the stop"),
        pytest.param([(4, 112, 108, 110), (5, 131, 101, 116)], "Loss", 101, id="both, a tie is the stop"),
        pytest.param([(4, 124, 110, 120), (5, 131, 109, 121)], "Win", 131, id="both after the move, nearer the target"),
        pytest.param([(4, 140, 139, 140)], "Win", 131, id="a gap through the entry fills at the level"),
        pytest.param([(4, 112, 108, 110), (11, 131, 108, 131)], "Win", 131, id="the last bar before the expiry counts"),
        pytest.param([(4, 112, 108, 110), (12, 131, 108, 131)], "TIME", 110, id="a bar at the expiry does not"),
    ],
)
def test_a_long_trade_ends(rows, result, exit_price):
    outcome = decide(RANGE, *rows)

    assert outcome.trade is not None
    assert (outcome.result, outcome.trade.exit) == (result, exit_price)
    assert (outcome.trade.direction, outcome.trade.entry, outcome.range) == (Direction.LONG, 111, 10)


@pytest.mark.parametrize(
    ("rows", "result", "exit_price"),
    [
        pytest.param([(4, 100, 79, 80)], "Win", 79, id="target"),
        pytest.param([(4, 109, 99, 100)], "Loss", 109, id="stop"),
        pytest.param([(4, 100, 86, 90), (5, 100, 95, 97)], "BE", 100, id="moved stop"),
        pytest.param([(4, 100, 98, 99)], "TIME", 99, id="expiry"),
        pytest.param([(4, 100, 98, 99), (5, 109, 79, 94)], "Loss", 109, id="both, a tie is the stop"),
    ],
)
def test_a_short_trade_ends(rows, result, exit_price):
    outcome = decide(RANGE, *rows)

    assert outcome.trade is not None
    assert (outcome.result, outcome.trade.exit) == (result, exit_price)
    assert (outcome.trade.direction, outcome.trade.entry) == (Direction.SHORT, 99)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(4, 110, 100, 105)], id="no bar leaves the range"),
        pytest.param([(4, 111, 99, 105)], id="one bar touches both levels"),
        pytest.param([(8, 111, 105, 111)], id="the touch comes at the close"),
        pytest.param([(2, 110, 100, 105)], id="there is no bar after the slot end"),
    ],
)
def test_nothing_is_traded(rows):
    outcome = decide(RANGE, *rows)

    assert outcome == Outcome(Result.NO_TRADE, 10, None)


def test_no_bar_in_the_range_is_no_data():
    """Bars before the session's start and after the slot end do not make a range."""
    assert decide((4, 200, 10, 100)) == Outcome(Result.NO_DATA, None, None)
    assert decide() == Outcome(Result.NO_DATA, None, None)


def test_a_wide_range_has_its_stop_at_three_targets():
    """The stop distance is the range, but never more than three targets."""
    outcome = decide((0, 1000, 100, 500), (4, 1001, 990, 1000))

    assert outcome.trade is not None
    assert (outcome.trade.stop, outcome.range) == (1001 - 3 * TARGET, 900)


def test_a_trade_is_open_until_its_expiry_is_reached():
    """One microsecond before the expiry the trade is OPEN without an exit, at the expiry it is TIME."""
    rows = (RANGE, (4, 112, 108, 110))

    still = decide(*rows, as_of_us=WINDOW.expiry_us - 1)
    ended = decide(*rows, as_of_us=WINDOW.expiry_us)

    assert still.trade is not None
    assert (still.result, still.trade.exit, still.trade.exited_us) == (Result.OPEN, None, None)
    assert ended.trade is not None
    assert (ended.result, ended.trade.exit, ended.trade.exited_us) == (Result.TIME, 110, WINDOW.expiry_us)


def test_the_peak_is_the_best_price_up_to_the_exit():
    """Bars after the exit do not raise it."""
    outcome = decide(RANGE, (4, 115, 110, 112), (5, 118, 101, 102), (6, 300, 100, 300))

    assert outcome.trade is not None
    assert (outcome.result, outcome.trade.peak) == (Result.LOSS, 7)


prices = st.integers(90, 112)
any_bar = st.tuples(st.integers(0, 14), prices, prices, prices).map(
    lambda b: (b[0], max(b[1:]), min(b[1:]), sorted(b[1:])[1])
)
# Few prices and few minutes: gaps, bars that touch both levels, equal prices and ranges of one bar are all common.
series = st.lists(any_bar, max_size=14, unique_by=lambda b: b[0]).map(sorted)


@settings(max_examples=1000)
@given(series, st.integers(1, 9), st.integers(0, 15))
@example([(0, 100, 100, 100), (3, 105, 101, 102), (4, 105, 99, 99)], 4, 15)  # a range of nothing
def test_the_oracle_says_the_same(rows, target, as_of_minute):
    """Bar by bar in plain Python comes to the same result, prices, times and peak."""
    begin = datetime(2020, 1, 1, tzinfo=UTC)

    def minute(number: int) -> datetime:
        return begin + timedelta(minutes=number)

    day = Day(minute(0), minute(3), minute(8), minute(12) - timedelta(seconds=1))
    plain = [Bar(minute(m), Decimal(h), Decimal(lo), Decimal(c)) for m, h, lo, c in rows if m + 1 <= as_of_minute]
    expected = judge(plain, day, tick=Decimal(1), target=Decimal(target), as_of=minute(as_of_minute))

    visible = [row for row in rows if row[0] + 1 <= as_of_minute]
    outcome = break_out(bars_of(*visible), WINDOW, target=target, as_of_us=as_of_minute * MINUTE_US)

    def when(at_us: int | None) -> datetime | None:
        return None if at_us is None else begin + timedelta(microseconds=at_us)

    trade = outcome.trade
    actual = {
        "result": outcome.result.value,
        "range": outcome.range,
        "direction": None if trade is None else trade.direction.name.capitalize(),
        "entry_time": None if trade is None else when(trade.entered_us),
        "entry_price": None if trade is None else trade.entry,
        "exit_time": None if trade is None else when(trade.exited_us),
        "exit_price": None if trade is None else trade.exit,
        "stop": None if trade is None else trade.stop,
        "target": None if trade is None else trade.target,
        "peak": None if trade is None else trade.peak,
    }
    assert actual == expected

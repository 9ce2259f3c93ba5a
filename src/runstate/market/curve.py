"""An equity curve as SVG: running profit over time, a step at each exit."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from html import escape

_HEIGHT = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 8, 8, 24
_CLEAR = 100  # room for the first and the last date
_STEPS = (1, 2, 2.5, 5, 10)


def draw_curve(equity: list[tuple[datetime, Decimal]], label: str, *, width: int) -> str:
    """Return the drawing.

    Args:
        equity: Running profit after each exit, in order of time, at least one.
        label: For who cannot see it.
        width: Of the drawing, in pixels at its natural size.
    """
    values = [0.0, *(float(value) for _, value in equity)]
    ticks = _nice_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    begin, end = equity[0][0].timestamp(), equity[-1][0].timestamp()

    def x(at: float) -> float:
        share = (at - begin) / (end - begin) if end > begin else 1.0
        return round(_LEFT + share * (width - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    path = f"M{x(begin)} {y(0.0)}"
    for at, value in equity:
        path += f"H{x(at.timestamp())}V{y(float(value))}"
    right = width - _RIGHT
    lines = "".join(
        f'<line class="{"zero" if tick == 0 else "grid"}" x1="{_LEFT}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">{_written(tick, ticks[1] - ticks[0])}</text>'
        for tick in ticks
    )
    dates = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{equity[0][0]:%Y-%m-%d}</text>'
        f'<text x="{right}" y="{_HEIGHT - 6}" text-anchor="end">{equity[-1][0]:%Y-%m-%d}</text>'
    )
    dates += "".join(
        f'<text x="{x(month.timestamp())}" y="{_HEIGHT - 6}" text-anchor="middle">{month:%Y-%m}</text>'
        for month in _month_starts(equity[0][0], equity[-1][0], width // 160)
        if _LEFT + _CLEAR < x(month.timestamp()) < right - _CLEAR
    )
    return (
        f'<svg viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{escape(label)}">{lines}'
        f'<path class="under" d="{path}V{y(0.0)}Z"/><path class="curve" d="{path}"/>{dates}</svg>'
    )


def _nice_ticks(low: float, high: float) -> list[float]:
    """Return about six round values that enclose `low` and `high`."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(s * power for s in _STEPS if s * power >= span / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [round(n * step, 10) + 0.0 for n in range(first, last + 1)]


def _month_starts(first: datetime, last: datetime, most: int) -> list[datetime]:
    """Return firsts of months between the two, evenly spaced, about `most` at most."""
    count = (last.year - first.year) * 12 + last.month - first.month
    every = next((n for n in (1, 2, 3, 6, 12, 24, 60) if count / n <= most), 120)
    months = range(first.year * 12, last.year * 12 + last.month, every)
    starts = [first.replace(year=n // 12, month=n % 12 + 1, day=1, hour=0, minute=0) for n in months]
    return [start for start in starts if first < start < last]


def _written(value: float, step: float) -> str:
    """Return a value of the axis with as many digits as its step needs, and a true minus."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != round(step, digits + 1):
        digits += 1  # 2.5 and its like
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")

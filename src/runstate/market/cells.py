"""How a cell becomes a number or a stamp: expressions over text columns, strict, null where a cell does not fit.

Numbers are plain or scientific, with a point; what is not finite does not parse. A stamp is two expressions: the clock's
reading (Datetime µs) and its offset in seconds east of Greenwich, null where the stamp has none.
"""

from __future__ import annotations

import polars as pl

Stamp = tuple[pl.Expr, pl.Expr]

NO_OFFSET = pl.lit(None, pl.Int32)
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_NINJATRADER = r"^[0-9]{8} [0-2][0-9][0-5][0-9][0-5][0-9]$"
_METATRADER = r"^[0-9]{4}\.[0-9]{2}\.[0-9]{2} [0-2][0-9]:[0-5][0-9](?::[0-5][0-9])?$"
_DUKASCOPY = (
    r"^([0-9]{2}\.[0-9]{2}\.[0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3})"
    r"(?: GMT([+-][0-9]{4})?)?$"
)
_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-2][0-9]:[0-5][0-9])(:[0-5][0-9])?(?:[.,]([0-9]{1,9}))?"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
_HALF_DAYS = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}) (0[1-9]|1[0-2])-([AP]M)$"
_EPOCH = r"^[0-9]{1,19}$"
_MOST_MS = 100_000_000_000_000  # as milliseconds the year 5138, as microseconds 1973: which of the two is clear


def number(cell: pl.Expr) -> pl.Expr:
    """Return the cell as f64."""
    value = when(cell, _NUMBER).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def when(cell: pl.Expr, pattern: str) -> pl.Expr:
    """Return the cell where it matches, else null."""
    return pl.when(cell.str.contains(pattern)).then(cell)


def ninjatrader_stamp(cell: pl.Expr) -> Stamp:
    """`20110103 090100`."""
    return _read(when(cell, _NINJATRADER), "%Y%m%d %H%M%S"), NO_OFFSET


def metatrader_stamp(cell: pl.Expr) -> Stamp:
    """`2017.01.02 00:05`, with seconds or not."""
    return _read(
        when(cell, _METATRADER).str.pad_end(19, "0").str.replace(r"0{3}$", ":00"), "%Y.%m.%d %H:%M:%S"
    ), NO_OFFSET


def dukascopy_stamp(cell: pl.Expr) -> Stamp:
    """`01.01.2017 22:00:00.000`, with ` GMT+0200` or not."""
    read = _read(cell.str.extract(_DUKASCOPY, 1), "%d.%m.%Y %H:%M:%S%.3f")
    return read, _offset_s(cell.str.extract(_DUKASCOPY, 2))


def half_day_stamp(cell: pl.Expr) -> Stamp:
    """`2020-05-01 12-AM`; anything else as ISO."""
    text = pl.concat_str(*(cell.str.extract(_HALF_DAYS, n) for n in (1, 2, 3)), separator=" ")
    read = _read(text, "%Y-%m-%d %I %p", hours_only=True)
    iso, offset = iso_stamp(cell)
    return pl.coalesce(read, iso), offset


def iso_stamp(cell: pl.Expr) -> Stamp:
    """ISO 8601: date or date and time, with an offset or not; a date alone is midnight."""
    date, minute, second, fraction, zone = (cell.str.extract(_ISO, n) for n in range(1, 6))
    text = pl.concat_str(
        date,
        pl.lit(" "),
        minute.fill_null("00:00"),
        second.fill_null(":00"),
        pl.lit("."),
        fraction.fill_null("0").str.pad_end(9, "0").str.slice(0, 6),
    )
    is_utc = zone.str.to_lowercase() == "z"
    offset = pl.when(is_utc).then(pl.lit(0, pl.Int32)).otherwise(_offset_s(zone))
    return _read(text, "%Y-%m-%d %H:%M:%S%.6f"), offset


def epoch_stamp(cell: pl.Expr, unit: str) -> Stamp:
    """Seconds, milliseconds or microseconds since 1970 (`s`, `ms`, `us`; `auto`: the latter two, told by size)."""
    count = when(cell, _EPOCH).cast(pl.Int64, strict=False)
    if unit == "auto":
        us = pl.when(count < _MOST_MS).then(count * 1000).otherwise(count)
    else:
        us = count * {"s": 1_000_000, "ms": 1000, "us": 1}[unit]
    sane = pl.when(us.is_between(0, 253_402_300_799_000_000)).then(us)  # up to the year 9999
    return sane.cast(pl.Datetime("us")), pl.when(count.is_not_null()).then(pl.lit(0, pl.Int32))


def since_midnight_stamp(cell: pl.Expr, midnight: pl.Expr) -> Stamp:
    """Milliseconds since local midnight."""
    count = when(cell, _EPOCH).cast(pl.Int64, strict=False)
    within = pl.when(count < 86_400_000).then(count)
    return midnight + pl.duration(milliseconds=within), NO_OFFSET


def format_stamp(cell: pl.Expr, form: str) -> Stamp:
    """As `strftime` writes it; with `%z` the stamp has its own offset."""
    if "%z" in form:
        read = cell.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
        return read.dt.replace_time_zone(None), pl.when(read.is_not_null()).then(pl.lit(0, pl.Int32))
    return _read(cell, form), NO_OFFSET


def _read(text: pl.Expr, form: str, *, hours_only: bool = False) -> pl.Expr:
    if hours_only:  # a time of day needs its minutes
        text, form = text.str.replace(" ([AP]M)$", ":00 $1"), form.replace("%I", "%I:%M")
    return text.str.to_datetime(form, strict=False, time_unit="us")


def _offset_s(zone: pl.Expr) -> pl.Expr:
    """Return `+0200`, `+02:00` or `+02` as seconds east of Greenwich."""
    digits = zone.str.replace_all(r"[^0-9]", "").str.pad_end(4, "0")
    hours, minutes = (digits.str.slice(n, 2).cast(pl.Int32, strict=False) for n in (0, 2))
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    return (sign * (hours * 3600 + minutes * 60)).cast(pl.Int32)

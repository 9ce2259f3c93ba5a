"""What each vendor's rows look like. Text lines in, one table out; no clock, no time zone, no judgement of prices.

    ninjatrader   no header    20110103 090100;126.35;126.39;126.35;126.39;1579
    dukascopy     header       01.01.2017 22:00:00.000,1.05236,1.05253,1.05221,1.05227,143539993.3
    iso           any header   2017-01-01T22:00:00Z,… columns by name, in any order

A row that does not fit has nulls; a file that does not fit at all is a `BadFile`. Where MARKET.md is silent:
- dukascopy: the first column's name holds "time" or "date", then Open, High, Low, Close, Volume in any case; a stamp
  may end in ` GMT+0200` (the vendor's "local time" export), which is then its offset.
- iso: separator `,` `;` or tab, whichever the header uses; the stamp's column is `timestamp`, or the only one of
  time, datetime, date; volume may be missing or a cell empty (null); further columns are ignored; quotes around a cell
  are dropped. A stamp with an offset keeps it, a naive one is on the source's clock; a date alone is midnight.
- Numbers are plain or scientific, with a point; what is not finite does not parse.
- A file of which more than half of the rows do not parse is not of its dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from runstate.market.failures import BadFile, FileFault

PRICES = ("open", "high", "low", "close")

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_NINJATRADER_STAMP = r"^[0-9]{8} [0-2][0-9][0-5][0-9][0-5][0-9]$"
_DUKASCOPY_STAMP = (
    r"^([0-9]{2}\.[0-9]{2}\.[0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3})"
    r"(?: GMT([+-][0-9]{4})?)?$"
)
_ISO_STAMP = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-2][0-9]:[0-5][0-9])(:[0-5][0-9])?(?:[.,]([0-9]{1,9}))?"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's rows as its dialect reads them.

    `table`: line (u32, from 1), text, stamp (Datetime µs, the clock's reading), offset_s (i32, null = the source's
    clock), open high low close volume (f64), parsed (bool). Where `parsed` is false the values mean nothing.
    """

    table: pl.DataFrame


def read_rows(dialect: str, lines: list[str]) -> Rows:
    """Return the rows of a file in `dialect`.

    Args:
        dialect: One of `config.DIALECTS`.
        lines: The file's lines, blank ones included, stripped.

    Raises:
        BadFile: This is not a file of that dialect.
    """
    table = pl.DataFrame(
        {"line": range(1, len(lines) + 1), "text": lines},
        schema={"line": pl.UInt32, "text": pl.String},
    ).filter(pl.col("text") != "")
    if table.is_empty():
        return Rows(_parsed(_no_columns(table)))
    rows = _parsed(_READERS[dialect](table))
    _refuse_if_most_fail(dialect, rows)
    return Rows(rows)


def _refuse_if_most_fail(dialect: str, rows: pl.DataFrame) -> None:
    failed = rows.filter(~pl.col("parsed"))
    if 2 * failed.height <= rows.height:
        return
    line, text = failed.row(0)[:2]
    shown = text if len(text) <= 60 else text[:57] + "…"
    sentence = f"this is not {dialect}: {failed.height} of {rows.height} rows do not parse, first '{shown}'"
    raise BadFile(FileFault.NOT_THE_DIALECT, line, sentence)


def _ninjatrader(table: pl.DataFrame) -> pl.DataFrame:
    cells = _split(table, ";", 6)
    stamp = _when(_cell(0), _NINJATRADER_STAMP).str.to_datetime("%Y%m%d %H%M%S", strict=False, time_unit="us")
    return cells.select("line", "text", stamp.alias("stamp"), _no_offset(), *_values([1, 2, 3, 4], 5))


def _dukascopy(table: pl.DataFrame) -> pl.DataFrame:
    line, header = table.row(0)
    names = [name.strip().lower() for name in header.split(",")]
    if names[1:] != [*PRICES, "volume"] or not ("time" in names[0] or "date" in names[0]):
        sentence = "the header of a dukascopy file is Time,Open,High,Low,Close,Volume"
        raise BadFile(FileFault.WRONG_HEADER, line, f"{sentence}, here is '{header[:60]}'")
    cells = _split(table[1:], ",", 6)
    stamp = _cell(0).str.extract(_DUKASCOPY_STAMP, 1)
    offset = _offset_s(_cell(0).str.extract(_DUKASCOPY_STAMP, 2))
    read = stamp.str.to_datetime("%d.%m.%Y %H:%M:%S%.3f", strict=False, time_unit="us")
    return cells.select("line", "text", read.alias("stamp"), offset.alias("offset_s"), *_values([1, 2, 3, 4], 5))


def _iso(table: pl.DataFrame) -> pl.DataFrame:
    line, header = table.row(0)
    separator = max(",;\t", key=header.count)
    names = [name.strip(" \"'").lower() for name in header.split(separator)]
    stamps = [n for n in ("timestamp", "time", "datetime", "date") if n in names]
    stamp_name = stamps[0] if "timestamp" in stamps or len(stamps) == 1 else None
    needed = [stamp_name, *PRICES]
    if any(name is None or names.count(name) != 1 for name in needed) or names.count("volume") > 1:
        sentence = "the header of an iso file names timestamp, open, high, low, close and maybe volume once each"
        raise BadFile(FileFault.WRONG_HEADER, line, f"{sentence}, here is '{header[:60]}'")
    cells = _split(table[1:], separator, len(names))
    stamp, offset = _iso_stamp(_cell(names.index(str(stamp_name))))
    volume = names.index("volume") if "volume" in names else None
    values = _values([names.index(n) for n in PRICES], volume, empty_volume_is_null=True)
    return cells.select("line", "text", stamp.alias("stamp"), offset.alias("offset_s"), *values)


_READERS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "ninjatrader": _ninjatrader,
    "dukascopy": _dukascopy,
    "iso": _iso,
}


def _iso_stamp(cell: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    date, minute, second, fraction, zone = (cell.str.extract(_ISO_STAMP, n) for n in range(1, 6))
    text = pl.concat_str(
        date,
        pl.lit(" "),
        minute.fill_null("00:00"),
        second.fill_null(":00"),
        pl.lit("."),
        fraction.fill_null("0").str.pad_end(9, "0").str.slice(0, 6),
    )
    stamp = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.6f", strict=False, time_unit="us")
    is_utc = zone.str.to_lowercase() == "z"
    return stamp, pl.when(is_utc).then(pl.lit(0, pl.Int32)).otherwise(_offset_s(zone))


def _offset_s(zone: pl.Expr) -> pl.Expr:
    """Return `+0200`, `+02:00` or `+02` as seconds east of Greenwich."""
    digits = zone.str.replace_all(r"[^0-9]", "").str.pad_end(4, "0")
    hours, minutes = (digits.str.slice(n, 2).cast(pl.Int32, strict=False) for n in (0, 2))
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    return (sign * (hours * 3600 + minutes * 60)).cast(pl.Int32)


def _split(table: pl.DataFrame, separator: str, count: int) -> pl.DataFrame:
    """Return the rows with their cells; a row with another number of cells has none."""
    cells = pl.col("text").str.split(separator)
    return table.with_columns(pl.when(cells.list.len() == count).then(cells).alias("cells"))


def _cell(index: int) -> pl.Expr:
    return pl.col("cells").list.get(index, null_on_oob=True).str.strip_chars(" \"'")


def _values(prices: list[int], volume: int | None, *, empty_volume_is_null: bool = False) -> list[pl.Expr]:
    named = [_number(_cell(i)).alias(n) for n, i in zip(PRICES, prices, strict=True)]
    if volume is None:
        null = pl.lit(None, pl.Float64).alias("volume")
        return [*named, null, pl.col("cells").is_not_null().alias("volume_parsed")]
    read = _number(_cell(volume))
    parsed = read.is_not_null()
    if empty_volume_is_null:
        parsed = parsed | (_cell(volume) == "")
    return [*named, read.alias("volume"), parsed.alias("volume_parsed")]


def _number(cell: pl.Expr) -> pl.Expr:
    number = _when(cell, _NUMBER).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _when(cell: pl.Expr, pattern: str) -> pl.Expr:
    return pl.when(cell.str.contains(pattern)).then(cell)


def _no_offset() -> pl.Expr:
    return pl.lit(None, pl.Int32).alias("offset_s")


def _no_columns(table: pl.DataFrame) -> pl.DataFrame:
    stamp = pl.lit(None, pl.Datetime("us")).alias("stamp")
    numbers = [pl.lit(None, pl.Float64).alias(n) for n in (*PRICES, "volume")]
    return table.select("line", "text", stamp, _no_offset(), *numbers, pl.lit(value=False).alias("volume_parsed"))


def _parsed(rows: pl.DataFrame) -> pl.DataFrame:
    whole = pl.all_horizontal(pl.col(n).is_not_null() for n in ("stamp", *PRICES))
    parsed = (whole & pl.col("volume_parsed")).fill_null(value=False)
    return rows.with_columns(parsed.alias("parsed")).drop("volume_parsed")

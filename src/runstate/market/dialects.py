"""What each vendor's files look like: which cell is what, and what a header must say. No time zone, no judgement of prices.

    ninjatrader         no header    20110103 090100;126.35;126.39;126.35;126.39;1579
    metatrader          no header    2017.01.02,00:05,1.05,1.06,1.04,1.05,123
    dukascopy           header       01.01.2017 22:00:00.000,1.05236,1.05253,1.05221,1.05227,143539993.3
    lean                no header    14760000,1676500,1676500,1676500,1676500,20000    date and instrument in the name
    binance-kline       any header   1577836800000,7195.24,7196.25,7178.64,7179.76,95.5,…    twelve columns
    cryptodatadownload  two lines    2020-05-01 12-AM,BTCUSD,8620,8647,8610,8640,123.4,…    columns by name, newest first
    iso                 any header   2017-01-01T22:00:00Z,…    columns by name, in any order
    custom              as spelled out in [source.custom]

`rows.py` reads with what stands here. Where MARKET.md is silent:
- dukascopy: the first column's name holds "time" or "date", then Open, High, Low, Close, Volume in any case; a stamp may
  end in ` GMT+0200` (the vendor's "local time" export), which is then its offset.
- lean quotes (11 fields): each price is the middle of bid and ask, or the side that is there; a quote has no volume.
- binance-kline and unix columns are instants, whatever `tz` says; `tz` then only tells where the interval's midnight is.
- cryptodatadownload: the stamp is the `date` column on the source's clock, else `unix`; the volume is the first column
  whose name begins with "volume", the one in the base currency.
- iso: separator `,` `;` or tab, whichever the header uses; the stamp's column is `timestamp`, or the only one of
  time, datetime, date; volume may be missing or a cell empty (null); further columns are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

import polars as pl

from runstate.market import cells
from runstate.market.failures import BadFile, FileFault
from runstate.market.settings import Custom

PRICES = ("open", "high", "low", "close")
HEADER_LINES = 8  # how many lines of a file `layout_of` wants to see
_BINANCE_WIDTH = 12
_LEAN_TRADE, _LEAN_QUOTE = 6, 11


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row the bar stands."""

    dialect: str
    separator: str
    width: int  #: Cells of a row.
    stamp: tuple[int, ...]  #: Cells that, joined by a space, are the stamp.
    read_stamp: Callable[[pl.Expr], cells.Stamp]
    prices: tuple[tuple[int, ...], ...]  #: Open, high, low, close: one cell each, or two whose middle counts.
    volume: int | None
    header_line: int = 0  #: Rows begin after this line.
    may_lack_volume: bool = False  #: An empty cell is null and not a fault.
    divisor: float = 1.0  #: What prices are divided by.
    decimal_comma: bool = False
    is_descending: bool = False  #: The vendor writes the newest row first.


@dataclass(frozen=True, slots=True)
class Naming:
    """What a self-naming file's name says."""

    day: date
    is_quote: bool
    divisor: float


def layout_of(
    dialect: str, head: Sequence[tuple[int, str]], *, custom: Custom | None = None, naming: Naming | None = None
) -> Layout:
    """Return how the rows of a file are read.

    Args:
        dialect: One of `config.DIALECTS`.
        head: The first lines that are not blank, with their numbers, stripped.
        custom: For the dialect of that name.
        naming: For lean.

    Raises:
        BadFile: The header is not the dialect's.
    """
    match dialect:
        case "ninjatrader":
            return Layout(dialect, ";", 6, (0,), cells.ninjatrader_stamp, _plain(1), 5)
        case "metatrader":
            return Layout(dialect, ",", 7, (0, 1), cells.metatrader_stamp, _plain(2), 6)
        case "lean":
            assert naming is not None
            return _lean(naming)
        case "custom":
            assert custom is not None
            return _custom(custom, head)
        case _:
            return _BY_HEADER[dialect](head)


def _plain(first: int) -> tuple[tuple[int, ...], ...]:
    return tuple((n,) for n in range(first, first + 4))


def _dukascopy(head: Sequence[tuple[int, str]]) -> Layout:
    layout = Layout("dukascopy", ",", 6, (0,), cells.dukascopy_stamp, _plain(1), 5)
    if not head:
        return layout
    line, header = head[0]
    names = _names(header, ",")
    if names[1:] != [*PRICES, "volume"] or not ("time" in names[0] or "date" in names[0]):
        sentence = "the header of a dukascopy file is Time,Open,High,Low,Close,Volume"
        raise BadFile(FileFault.WRONG_HEADER, line, f"{sentence}, here is '{header[:60]}'")
    return replace(layout, header_line=line)


def _lean(naming: Naming) -> Layout:
    midnight = pl.lit(naming.day).cast(pl.Datetime("us"))
    stamp = partial(cells.since_midnight_stamp, midnight=midnight)
    if naming.is_quote:
        sides = tuple((n, n + 5) for n in range(1, 5))
        return Layout("lean", ",", _LEAN_QUOTE, (0,), stamp, sides, None, divisor=naming.divisor)
    return Layout("lean", ",", _LEAN_TRADE, (0,), stamp, _plain(1), 5, divisor=naming.divisor)


def _binance(head: Sequence[tuple[int, str]]) -> Layout:
    stamp = partial(cells.epoch_stamp, unit="auto")
    layout = Layout("binance-kline", ",", _BINANCE_WIDTH, (0,), stamp, _plain(1), 5)
    if head and _names(head[0][1], ",")[:5] in (["open_time", *PRICES], ["open time", *PRICES]):
        return replace(layout, header_line=head[0][0])
    return layout


def _cryptodatadownload(head: Sequence[tuple[int, str]]) -> Layout:
    layout = Layout("cryptodatadownload", ",", 8, (0,), cells.half_day_stamp, _plain(1), None, is_descending=True)
    if not head:
        return layout
    line, header = head[1] if len(head) > 1 and "://" in head[0][1] else head[0]
    names = _names(header, ",")
    stamp = next((n for n in ("date", "unix", "unix timestamp") if n in names), None)
    volume = next((i for i, name in enumerate(names) if name.startswith("volume")), None)
    if stamp is None or volume is None or any(names.count(n) != 1 for n in PRICES):
        sentence = (
            "the header of a cryptodatadownload file follows an address and names date, open, high, low, close, volume"
        )
        raise BadFile(FileFault.WRONG_HEADER, line, f"{sentence}, here is '{header[:60]}'")
    read = cells.half_day_stamp if stamp == "date" else partial(cells.epoch_stamp, unit="auto")
    return replace(
        layout,
        width=len(names),
        stamp=(names.index(stamp),),
        read_stamp=read,
        prices=tuple((names.index(n),) for n in PRICES),
        volume=volume,
        header_line=line,
    )


def _iso(head: Sequence[tuple[int, str]]) -> Layout:
    layout = Layout("iso", ",", 6, (0,), cells.iso_stamp, _plain(1), 5, may_lack_volume=True)
    if not head:
        return layout
    line, header = head[0]
    separator = max(",;\t", key=header.count)
    names = _names(header, separator)
    stamps = [n for n in ("timestamp", "time", "datetime", "date") if n in names]
    stamp = stamps[0] if "timestamp" in stamps or len(stamps) == 1 else None
    if stamp is None or any(names.count(n) != 1 for n in (stamp, *PRICES)) or names.count("volume") > 1:
        sentence = "the header of an iso file names timestamp, open, high, low, close and maybe volume once each"
        raise BadFile(FileFault.WRONG_HEADER, line, f"{sentence}, here is '{header[:60]}'")
    return replace(
        layout,
        separator=separator,
        width=len(names),
        stamp=(names.index(stamp),),
        prices=tuple((names.index(n),) for n in PRICES),
        volume=names.index("volume") if "volume" in names else None,
        header_line=line,
    )


def _custom(custom: Custom, head: Sequence[tuple[int, str]]) -> Layout:
    names = list(custom.columns)
    stamp = ("timestamp",) if "timestamp" in names else ("date", "time")
    unit = custom.epoch
    read = partial(cells.epoch_stamp, unit=unit) if unit else partial(cells.format_stamp, form=str(custom.format))
    skipped = head[: custom.skip_lines]
    return Layout(
        "custom",
        custom.separator,
        len(names),
        tuple(names.index(n) for n in stamp),
        read,
        tuple((names.index(n),) for n in PRICES),
        names.index("volume") if "volume" in names else None,
        header_line=skipped[-1][0] if skipped else 0,
        divisor=custom.price_divisor,
        decimal_comma=custom.decimal_comma,
        may_lack_volume=True,
    )


_BY_HEADER: dict[str, Callable[[Sequence[tuple[int, str]]], Layout]] = {
    "dukascopy": _dukascopy,
    "binance-kline": _binance,
    "cryptodatadownload": _cryptodatadownload,
    "iso": _iso,
}


def _names(header: str, separator: str) -> list[str]:
    return [name.strip(" \"'").lower() for name in header.split(separator)]

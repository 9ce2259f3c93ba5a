"""A block of text lines becomes a table of rows.

Regular rows are read by polars' CSV reader, at full speed; whatever it stumbles over is read again, cell by cell, and only
that reading says whether a row parses.

The table: line (u32, from 1), stamp (Datetime µs, the clock's reading), offset_s (i32, null = the source's clock),
open high low close volume (f64), parsed (bool). Where `parsed` is false the values mean nothing. A line that is blank is
no row. Quotes and spaces around a cell are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from runstate.market import cells
from runstate.market.dialects import PRICES, Layout

_COLUMNS = ("line", "stamp", "offset_s", *PRICES, "volume", "parsed")


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file, one after the other."""

    first_line: int  #: Number of the first line, from 1.
    content: bytes  #: UTF-8; lines end with LF, the last one maybe not.
    share: float = 1.0  #: How much of the file has been read with it, from 0 to 1.

    def texts(self, lines: pl.Series) -> list[str]:
        """Return the stripped text of these line numbers."""
        every = self.content.split(b"\n")
        return [every[n - self.first_line].decode().strip() for n in lines]

    def count_rows(self) -> int:
        """Return the number of lines that are not blank."""
        return sum(1 for line in self.content.split(b"\n") if line.strip())


def read_rows(layout: Layout, block: Block) -> pl.DataFrame:
    """Return the rows of a block; its lines up to the header's are no rows."""
    skipped = max(0, layout.header_line + 1 - block.first_line)
    content = block.content
    if skipped:
        content = b"\n".join(content.split(b"\n")[skipped:])
    first = block.first_line + skipped
    if not content.strip():
        return _slow(layout, _lines([], first))
    fast = None if layout.decimal_comma else _fast(layout, content, first)
    if fast is None:
        return _slow(layout, _lines(content.decode().split("\n"), first))
    odd = fast.filter(~pl.col("parsed"))
    if odd.is_empty():
        return fast
    texts = Block(first, content).texts(odd["line"])
    table = pl.DataFrame({"line": odd["line"], "text": texts}).filter(pl.col("text") != "")
    again = _slow(layout, table)
    return pl.concat([fast.filter(pl.col("parsed")), again]).sort("line")


def _lines(texts: list[str], first: int) -> pl.DataFrame:
    table = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_row_index("line", offset=first)
    return table.with_columns(pl.col("text").str.strip_chars()).filter(pl.col("text") != "")


def _fast(layout: Layout, content: bytes, first: int) -> pl.DataFrame | None:
    """Return the rows as the CSV reader sees them, or None when the block is too irregular for it."""
    numbers = {i for price in layout.prices for i in price} | ({layout.volume} - {None})
    schema = {f"c{i}": pl.Float64() if i in numbers else pl.String() for i in range(layout.width)}
    try:
        table = pl.read_csv(
            content,
            has_header=False,
            separator=layout.separator,
            schema=schema,
            quote_char=None,
            ignore_errors=True,
            truncate_ragged_lines=False,
        )
    except pl.exceptions.PolarsError:
        return None
    if table.height != content.count(b"\n") + (not content.endswith(b"\n")):
        return None
    values = {i: pl.col(f"c{i}") for i in numbers if i is not None}
    stamp, offset = layout.read_stamp(_joined(layout))
    columns = {
        name: _price([values[i] for i in at], layout.divisor) for name, at in zip(PRICES, layout.prices, strict=True)
    }
    whole = pl.all_horizontal(value.is_finite().fill_null(value=False) for value in values.values())
    volume = pl.lit(None, pl.Float64) if layout.volume is None else values[layout.volume]
    read = table.with_row_index("line", offset=first).select(
        "line", stamp.alias("stamp"), offset.alias("offset_s"), volume.alias("volume"),
        *(column.alias(name) for name, column in columns.items()), whole.alias("whole"),
    )  # fmt: skip
    parsed = (pl.col("whole") & pl.col("stamp").is_not_null()).alias("parsed")
    return read.with_columns(parsed).select(_COLUMNS)


def _slow(layout: Layout, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of (line, text), each cell looked at by itself."""
    split = pl.col("text").str.split(layout.separator)
    fits = pl.when(split.list.len() == layout.width).then(split).alias("cells")
    cell = {i: pl.col("cells").list.get(i, null_on_oob=True).str.strip_chars(" \"'") for i in range(layout.width)}
    table = table.with_columns(fits).with_columns(**{f"c{i}": value for i, value in cell.items()})
    stamp, offset = layout.read_stamp(_joined(layout))
    columns, sound = {}, [pl.col("cells").is_not_null()]
    for name, at in zip(PRICES, layout.prices, strict=True):
        sides = [_number(layout, i) for i in at]
        columns[name] = _price(sides, layout.divisor)
        if len(at) > 1:  # a side that is not quoted is empty; what is not empty must be a number
            sound += [side.is_not_null() | (pl.col(f"c{i}") == "") for side, i in zip(sides, at, strict=True)]
    columns["volume"] = pl.lit(None, pl.Float64)
    if layout.volume is not None:
        columns["volume"] = _number(layout, layout.volume)
        is_empty = pl.col(f"c{layout.volume}") == ""
        sound.append(columns["volume"].is_not_null() | (is_empty if layout.may_lack_volume else pl.lit(value=False)))
    read = table.select(
        "line", stamp.alias("stamp"), offset.alias("offset_s"), pl.all_horizontal(sound).alias("sound"),
        *(column.alias(name) for name, column in columns.items()),
    )  # fmt: skip
    whole = pl.all_horizontal("sound", *(pl.col(n).is_not_null() for n in ("stamp", *PRICES)))
    return read.with_columns(whole.fill_null(value=False).alias("parsed")).select(_COLUMNS)


def _joined(layout: Layout) -> pl.Expr:
    parts = [pl.col(f"c{i}") for i in layout.stamp]
    return parts[0] if len(parts) == 1 else pl.concat_str(parts, separator=" ")


def _number(layout: Layout, index: int) -> pl.Expr:
    cell = pl.col(f"c{index}")
    return cells.number(cell.str.replace(",", ".", literal=True) if layout.decimal_comma else cell)


def _price(sides: list[pl.Expr], divisor: float) -> pl.Expr:
    """Return the price, or the middle of bid and ask, or the one of them that is there."""
    value = sides[0]
    if len(sides) == 2:
        value = pl.coalesce((sides[0] + sides[1]) * 0.5, *sides)
    if divisor == 1.0:
        return value
    # polars divides by a constant as it multiplies by its reciprocal, one digit off: 1000200 / 10000 is 100.02.
    return value / (value * 0.0 + divisor)

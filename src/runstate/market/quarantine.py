"""Rows that were not taken, of one series: from everywhere they come to one table, in order of source and line.

The table `{out}/quarantine/{instrument}_{interval}.parquet` holds the first half million; what is beyond that is in files
`…_2.parquet`, `…_3.parquet` and so on. Memory is bounded however many rows there are: they wait in buckets, and the text of
rows that other rows put here is read from the raw file in one more pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import polars as pl

from runstate.market.buckets import Buckets
from runstate.market.failures import BadFile
from runstate.market.folder import Json, OutFolder
from runstate.market.inventory import Part
from runstate.market.limits import Limits

_LINES_AT_ONCE = 2**18
QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "line": pl.UInt32(),
    "reason": pl.String(),
    "text": pl.String(),
    "date": pl.Date(),  #: Trading day, of rows that were clean until others were looked at.
}


class Quarantine:
    """What a series does not take."""

    def __init__(self, parts: list[Part], scratch: Path, limits: Limits) -> None:
        self._parts, self._rows_a_file = parts, limits.quarantined_rows
        by_name = sorted(range(len(parts)), key=lambda index: parts[index].name)
        ranks = {part: rank for rank, part in enumerate(by_name)}
        key = pl.col("part").replace_strict(ranks, return_dtype=pl.Int64) * 2**32 + pl.col("line") // _LINES_AT_ONCE
        self._buckets = Buckets(scratch, key, limits.memory_bytes // 4)

    def add(self, part: int, rows: pl.DataFrame) -> None:
        """Take rows of a part with line and reason, text (null: it is looked up) and date."""
        index = pl.lit(part, pl.UInt32).alias("part")
        self._buckets.add(rows.select(index, pl.col("line").cast(pl.UInt32), "reason", "text", "date"))

    def drop(self, part: int) -> None:
        """Forget the rows of a part that is quarantined whole."""
        self._buckets.drop(part)

    def write(self, out: OutFolder, name: str) -> list[Json]:
        """Write what there is, at least one table, and return the manifest's entries."""
        written: list[Json] = []
        waiting = pl.DataFrame(schema=QUARANTINE_SCHEMA)
        tables, count = [waiting], 0

        def put(table: pl.DataFrame) -> None:
            number = f"_{len(written) + 1}" if written else ""
            written.append(out.write_table(f"quarantine/{name}{number}.parquet", table).to_json())

        for rows in self._tables():
            tables.append(rows)
            count += rows.height
            if count > self._rows_a_file:
                waiting = pl.concat(tables)
                while waiting.height > self._rows_a_file:
                    put(waiting.head(self._rows_a_file))
                    waiting = waiting.slice(self._rows_a_file)
                tables, count = [waiting], waiting.height
        put(pl.concat(tables))
        for path in (out.path / "quarantine").glob(f"{name}_*.parquet"):
            number = path.stem.removeprefix(f"{name}_")
            if number.isdecimal() and int(number) > len(written):  # of a run that had more
                out.remove(f"quarantine/{path.name}")
        return written

    def close(self) -> None:
        """Remove scratch files."""
        self._buckets.close()

    def _tables(self) -> Iterator[pl.DataFrame]:
        texts: _Texts | None = None
        for key in self._buckets.keys:
            rows = self._buckets.take(key)
            if rows.is_empty():
                continue
            part = self._parts[rows["part"][0]]
            untold = rows.filter(pl.col("text").is_null())["line"]
            if len(untold):
                if texts is None or texts.part is not part:
                    texts = _Texts(part)
                told = pl.DataFrame({"line": untold, "told": texts.of(untold)})
                rows = rows.join(told, on="line", how="left", maintain_order="left")
                rows = rows.with_columns(pl.coalesce("text", "told").alias("text"))
            yield rows.select(pl.lit(part.name, pl.String).alias("source"), "line", "reason", "text", "date")


class _Texts:
    """The lines of a part in a second reading, from the first to the last."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._blocks = part.raw.blocks(part.member)
        self._block = next(self._blocks, None)

    def of(self, lines: pl.Series) -> list[str]:
        """Return the text of these lines, ascending, and after those of the last call."""
        texts: list[str] = []
        try:
            while self._block is not None:
                last = self._block.first_line + self._block.content.count(b"\n")
                texts += self._block.texts(lines.filter(lines.is_between(self._block.first_line, last)))
                if len(texts) == len(lines):
                    break
                self._block = next(self._blocks, None)
        except BadFile:
            pass  # it was text a moment ago: somebody writes to it, and the next run reads it anew
        return texts + [""] * (len(lines) - len(texts))


def read_quarantine(out: OutFolder, entry: Json) -> pl.DataFrame:
    """Return a table that an earlier run wrote and that is as its manifest says."""
    return pl.read_parquet(BytesIO((out.path / str(entry["path"])).read_bytes()))

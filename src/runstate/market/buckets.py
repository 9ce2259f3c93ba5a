"""Rows on their way to where they belong: by key, in memory up to a limit, beyond it in scratch files.

What one key holds is at hand at once, never what a whole series holds; so a file of any length passes in bounded memory.
Scratch files are below `{out}/.scratch`, and mean nothing once the process has ended.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl


class Buckets:
    """Rows by an integer key."""

    def __init__(self, scratch: Path, key: pl.Expr, limit_bytes: int) -> None:
        self._scratch, self._limit_bytes = scratch, limit_bytes
        self._key = key.cast(pl.Int64).alias("key")
        self._held: dict[int, list[pl.DataFrame]] = {}
        self._held_bytes = 0
        self._spilled: dict[int, list[Path]] = {}
        self._dropped: set[int] = set()
        self._count = 0

    @property
    def keys(self) -> list[int]:
        """The keys that have rows, ascending."""
        return sorted({*self._held, *self._spilled})

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows with the columns `part` and `line`, and those of the key."""
        if rows.is_empty():
            return
        keyed = rows.with_columns(self._key)
        first, last = keyed["key"].min(), keyed["key"].max()
        if isinstance(first, int) and first == last:
            self._held.setdefault(first, []).append(rows)
        else:
            for (key,), table in keyed.partition_by("key", as_dict=True, include_key=False).items():
                self._held.setdefault(int(str(key)), []).append(table)
        self._held_bytes += int(rows.estimated_size())
        if self._held_bytes > self._limit_bytes:
            self._spill()

    def drop(self, part: int) -> None:
        """Forget the rows of a part, those to come included."""
        self._dropped.add(part)

    def take(self, key: int) -> pl.DataFrame:
        """Return the rows of a key in order of part and line; they are gone from here then."""
        paths = self._spilled.pop(key, [])
        tables = [pl.read_ipc(path) for path in paths]
        table = pl.concat([*tables, *self._held.pop(key, [])])
        for path in paths:
            path.unlink()
        if self._dropped:
            table = table.filter(~pl.col("part").is_in(list(self._dropped)))
        order = table.select(pl.col("part").cast(pl.Int64) * 2**32 + pl.col("line"))["part"]
        return table if order.is_sorted() else table.sort("part", "line")  # most files are in order

    def close(self) -> None:
        """Remove what is left."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _spill(self) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        for key, tables in self._held.items():
            path = self._scratch / f"{key}.{self._count}.arrow"
            self._count += 1
            pl.concat(tables).write_ipc(path, compression="lz4")
            self._spilled.setdefault(key, []).append(path)
        self._held, self._held_bytes = {}, 0

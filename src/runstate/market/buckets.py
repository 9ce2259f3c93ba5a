"""Clean rows on their way from files to days: by month, in memory up to a limit, beyond it in scratch files.

What one month holds is at hand at once, never what a whole series holds; so a file of any length passes in bounded
memory. Scratch files are below `{out}/.scratch`, and mean nothing once the process has ended.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl


class Buckets:
    """Rows by month of their `day`."""

    def __init__(self, scratch: Path, limit_bytes: int) -> None:
        self._scratch, self._limit_bytes = scratch, limit_bytes
        self._held: dict[str, list[pl.DataFrame]] = {}
        self._held_bytes = 0
        self._spilled: dict[str, list[Path]] = {}
        self._dropped: set[int] = set()
        self._count = 0

    @property
    def months(self) -> list[str]:
        """The months that have rows, ascending."""
        return sorted({*self._held, *self._spilled})

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows with the columns `part` and `day`."""
        if rows.is_empty():
            return
        month = pl.col("day").dt.strftime("%Y-%m").alias("month")
        first, last = rows["day"].min(), rows["day"].max()
        if str(first)[:7] == str(last)[:7]:
            self._held.setdefault(str(first)[:7], []).append(rows)
        else:
            for (name,), table in (
                rows.with_columns(month).partition_by("month", as_dict=True, include_key=False).items()
            ):
                self._held.setdefault(str(name), []).append(table)
        self._held_bytes += int(rows.estimated_size())
        if self._held_bytes > self._limit_bytes:
            self._spill()

    def drop(self, part: int) -> None:
        """Forget the rows of a part, those to come included."""
        self._dropped.add(part)

    def take(self, month: str) -> pl.DataFrame:
        """Return the rows of a month in order of part and line; they are gone from here then."""
        paths = self._spilled.pop(month, [])
        tables = [pl.read_ipc(path) for path in paths]
        table = pl.concat([*tables, *self._held.pop(month, [])])
        for path in paths:
            path.unlink()
        if self._dropped:
            table = table.filter(~pl.col("part").is_in(list(self._dropped)))
        return table.sort("part", "line")

    def close(self) -> None:
        """Remove what is left."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _spill(self) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        for month, tables in self._held.items():
            path = self._scratch / f"{month}.{self._count}.arrow"
            self._count += 1
            pl.concat(tables).write_ipc(path, compression="lz4")
            self._spilled.setdefault(month, []).append(path)
        self._held, self._held_bytes = {}, 0

"""One part read to its end: clean rows into the buckets, everything else into the quarantine with its reason."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from runstate.market.buckets import Buckets
from runstate.market.checks import VALUES, check_rows
from runstate.market.dialects import Layout
from runstate.market.failures import BadFile, FileFault, RowFault
from runstate.market.inventory import Part
from runstate.market.quarantine import Quarantine
from runstate.market.rows import Block, read_rows

BLOCKS_AHEAD = 2  #: Parsed while one is judged.
ROW_COLUMNS = ("timestamp", *VALUES, "part", "line", "day")


@dataclass(slots=True)
class PartFacts:
    """What a part is by itself, whatever the others are."""

    rows: int = 0
    out_of_order: int = 0
    own: dict[str, int] = field(default_factory=dict)  #: Faulty rows by reason.
    days: dict[str, int] = field(default_factory=dict)  #: Clean rows by trading day.
    fault: BadFile | None = None  #: Set when the whole part is quarantined.


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where the rows of a series go, and how."""

    tz: str  #: Of the instrument, whose calendar date is the trading day.
    clean: Buckets
    quarantine: Quarantine
    block_bytes: int
    pool: Executor  #: Parses the next blocks while this one is judged.


def read_part(
    part: Part, index: int, sinks: Sinks, *, days: set[date] | None, on_rows: Callable[[int, float], None]
) -> PartFacts:
    """Read a part; what is wrong with the whole of it is in its facts, and none of its rows goes anywhere then.

    Args:
        part: What to read.
        index: Its place in the series.
        sinks: Take its rows.
        days: Only clean rows of these days are taken; None: all.
        on_rows: Hears how many rows were read so far, and what share of the file.
    """
    facts = PartFacts()
    own: Counter[str] = Counter()
    per_day: Counter[str] = Counter()
    failed, first_failed, furthest = 0, (1, ""), None
    try:
        layout = part.layout()
        for block, rows in _parsed(layout, part.raw.blocks(part.member, sinks.block_bytes), sinks.pool):
            checked = check_rows(rows, part.source, furthest_us=furthest, descending=layout.is_descending)
            furthest = checked.furthest_us
            facts.rows += rows.height
            facts.out_of_order += checked.out_of_order
            bad = checked.table.filter(pl.col("fault").is_not_null())
            if bad.height:
                told = _bad_rows(bad, block)
                unparsed = told.filter(pl.col("reason") == RowFault.UNPARSEABLE.value)
                if not failed and unparsed.height:
                    first_failed = unparsed["line"][0], unparsed["text"][0]
                failed += unparsed.height
                own.update({str(r): int(n) for r, n in told["reason"].value_counts().iter_rows()})
                sinks.quarantine.add(index, told)
            clean = _clean_rows(checked.table, index, sinks.tz)
            per_day.update({str(d): int(n) for d, n in clean["day"].value_counts().iter_rows()})
            sinks.clean.add(clean if days is None else clean.filter(pl.col("day").is_in(list(days))))
            on_rows(facts.rows, block.share)
        if 2 * failed > facts.rows:
            raise _not_the_dialect(part.source.dialect, failed, facts.rows, first_failed)
        part.raw.check_unchanged()
    except BadFile as fault:
        sinks.clean.drop(index)
        sinks.quarantine.drop(index)
        return whole_fault(part, fault)
    facts.own, facts.days = dict(sorted(own.items())), dict(sorted(per_day.items()))
    return facts


def _parsed(layout: Layout, blocks: Iterator[Block], pool: Executor) -> Iterator[tuple[Block, pl.DataFrame]]:
    """Yield each block with its rows; the next ones are parsed meanwhile."""
    waiting: deque[tuple[Block, Future[pl.DataFrame]]] = deque()
    for block in blocks:
        waiting.append((block, pool.submit(read_rows, layout, block)))
        if len(waiting) > BLOCKS_AHEAD:
            first, rows = waiting.popleft()
            yield first, rows.result()
    for first, rows in waiting:
        yield first, rows.result()


def whole_fault(part: Part, fault: BadFile) -> PartFacts:
    """Return the facts of a part that is quarantined whole: its rows are all lines that can be read and are not blank."""
    rows = 0
    try:
        for block in part.raw.blocks(part.member):
            rows += block.count_rows()
    except BadFile:
        rows = _lines_on_disk(part)
    return PartFacts(rows=rows, own={fault.fault.value: rows}, fault=fault)


def _bad_rows(bad: pl.DataFrame, block: Block) -> pl.DataFrame:
    text = pl.Series("text", block.texts(bad["line"]), dtype=pl.String)
    return bad.select("line", pl.col("fault").alias("reason"), text, pl.lit(None, pl.Date).alias("date"))


def _clean_rows(table: pl.DataFrame, index: int, tz: str) -> pl.DataFrame:
    local = pl.col("timestamp") if tz == "UTC" else pl.col("timestamp").dt.convert_time_zone(tz)
    day, part = local.dt.date().alias("day"), pl.lit(index, pl.UInt32).alias("part")
    return (
        table.filter(pl.col("fault").is_null())
        .with_columns(day, part, pl.col("line").cast(pl.UInt32))
        .select(ROW_COLUMNS)
    )


def _not_the_dialect(dialect: str, failed: int, rows: int, first: tuple[int, str]) -> BadFile:
    line, text = first
    shown = text if len(text) <= 60 else text[:57] + "…"
    sentence = f"this is not {dialect}: {failed} of {rows} rows do not parse, first '{shown}'"
    return BadFile(FileFault.NOT_THE_DIALECT, line, sentence)


def _lines_on_disk(part: Part) -> int:
    """Return the lines of a file that is no text, as it lies there."""
    try:
        with part.raw.path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError:
        return 0

"""One part read to its end: clean rows into the buckets, everything else into the quarantine with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from runstate.market.buckets import Buckets
from runstate.market.checks import VALUES, check_rows
from runstate.market.failures import BadFile, FileFault
from runstate.market.inventory import Part
from runstate.market.rows import Block, read_rows

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "line": pl.UInt32(),
    "reason": pl.String(),
    "text": pl.String(),
    "date": pl.Date(),  #: Trading day, of rows that were clean until others were looked at.
}
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
class Reading:
    """A part that was read, and its quarantined rows."""

    facts: PartFacts
    quarantine: list[pl.DataFrame]


def read_part(
    part: Part,
    index: int,
    tz: str,
    sink: Buckets,
    *,
    days: set[date] | None,
    on_rows: Callable[[int], None],
) -> Reading:
    """Read a part; what is wrong with the whole of it is in its facts.

    Args:
        part: What to read.
        index: Its place in the series.
        tz: Of the instrument, whose calendar date is the trading day.
        sink: Takes the clean rows.
        days: Only rows of these days go to the sink; None: all.
        on_rows: Hears how many rows were read so far.
    """
    facts, quarantine = PartFacts(), []
    own: Counter[str] = Counter()
    per_day: Counter[str] = Counter()
    failed, first_failed, furthest = 0, (1, ""), None
    blocks = part.raw.blocks(part.member)
    try:
        layout = part.layout()
        for block in blocks:
            rows = read_rows(layout, block)
            checked = check_rows(rows, part.source, furthest_us=furthest, descending=layout.is_descending)
            furthest = checked.furthest_us
            facts.rows += rows.height
            facts.out_of_order += checked.out_of_order
            bad = _bad_rows(checked.table, block, part.name)
            if bad.height:
                unparsed = bad.filter(pl.col("reason") == "unparseable")
                if not failed and unparsed.height:
                    first_failed = unparsed["line"][0], unparsed["text"][0]
                failed += unparsed.height
                own.update({str(r): int(n) for r, n in bad["reason"].value_counts().iter_rows()})
                quarantine.append(bad)
            clean = _clean_rows(checked.table, index, tz)
            per_day.update({str(d): int(n) for d, n in clean["day"].value_counts().iter_rows()})
            sink.add(clean if days is None else clean.filter(pl.col("day").is_in(list(days))))
            on_rows(facts.rows)
        if 2 * failed > facts.rows:
            raise _not_the_dialect(part.source.dialect, failed, facts.rows, first_failed)
        part.raw.check_unchanged()
    except BadFile as fault:
        sink.drop(index)
        return Reading(whole_fault(part, fault), [])
    facts.own, facts.days = dict(sorted(own.items())), dict(sorted(per_day.items()))
    return Reading(facts, quarantine)


def whole_fault(part: Part, fault: BadFile) -> PartFacts:
    """Return the facts of a part that is quarantined whole: its rows are all lines that can be read and are not blank."""
    rows = 0
    try:
        for block in part.raw.blocks(part.member):
            rows += block.count_rows()
    except BadFile:
        rows = _lines_on_disk(part)
    return PartFacts(rows=rows, own={fault.fault.value: rows}, fault=fault)


def texts_of(part: Part, lines: pl.Series) -> list[str]:
    """Return the text of these lines, ascending, in a second reading."""
    texts: list[str] = []
    try:
        for block in part.raw.blocks(part.member):
            last = block.first_line + block.content.count(b"\n")
            texts += block.texts(lines.filter(lines.is_between(block.first_line, last)))
            if len(texts) == len(lines):
                break
    except BadFile:
        pass  # it was text a moment ago: somebody writes to it, and the next run reads it anew
    return texts + [""] * (len(lines) - len(texts))


def _bad_rows(table: pl.DataFrame, block: Block, name: str) -> pl.DataFrame:
    bad = table.filter(pl.col("fault").is_not_null())
    if bad.is_empty():
        return pl.DataFrame(schema=QUARANTINE_SCHEMA)
    columns = {
        "source": pl.Series([name] * bad.height, dtype=pl.String),
        "line": bad["line"].cast(pl.UInt32),
        "reason": bad["fault"],
        "text": block.texts(bad["line"]),
        "date": pl.Series([None] * bad.height, dtype=pl.Date),
    }
    return pl.DataFrame(columns, schema=QUARANTINE_SCHEMA)


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

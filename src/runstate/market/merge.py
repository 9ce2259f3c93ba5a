"""The merger: results into one table per stream and month, and the report over all months of the streams.

All rows of the days that the analyzer covered are replaced, per stream and instrument; rows of other days stay. First
everything is read and decided, then written: a table that cannot be read is never overwritten, the stage fails and
names it. Counts: a row is unchanged when all but `as_of` is equal. What changed is a fact about this run and not about
the tables, so the counts are in the stage's outputs and, by month, in `{workdir}/merger-counts.json`; the files below
`out` are the same after a second run.

Where MARKET.md is silent: the report covers every month on disk of the streams that the configuration has now; tables
of other streams are left alone. A month whose rows are all removed keeps an empty table.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from runstate.market.failures import MarketError
from runstate.market.folder import Json, OutFolder, replace_file
from runstate.market.manifest import Run, last_manifest, read_manifest, sum_by, with_facts, write_manifest
from runstate.market.page import Digits, render_page
from runstate.market.progress import Steps, paced
from runstate.market.report import StreamReport, report_quality, report_stream, to_document
from runstate.market.results import KEY, RESULT_SCHEMA, in_order
from runstate.market.settings import Config

LISTED_STREAMS = 200  # in the outputs, which are bounded; the manifest and the report have all
COUNTS = ("added", "replaced", "removed", "unchanged")
_TABLE_NAME = re.compile(r"_(?P<year>[0-9]{4})_(?P<month>[0-9]{2})\.parquet")


@dataclass(frozen=True, slots=True)
class Month:
    """One monthly table, decided and not yet written."""

    path: str  #: Relative to the out folder.
    stream: str
    month: str  #: `YYYY-MM`.
    table: pl.DataFrame
    counts: dict[str, int]  #: By `COUNTS`.


def merge(config: Config, out: OutFolder, run: Run) -> Json:
    """Write the monthly tables, the report and the manifest; return the stage's outputs.

    Raises:
        MarketError: An old table cannot be read, or the results are not those of the analyzer.
    """
    manifest = read_manifest(run, out, "analyzer")
    new = _read_results(manifest, out)
    covered = pl.DataFrame(
        [[c["stream"], c["instrument"], c["first"], c["last"]] for c in manifest["covered"]],
        schema=["stream", "instrument", "first", "last"],
        orient="row",
    ).with_columns(pl.col("first", "last").str.to_date())
    streams = covered["stream"].unique().sort().to_list()
    months = [month for stream in streams for month in _decide_stream(stream, new, covered, out)]
    files = []
    steps, begun = Steps(run, len(months), "months"), time.monotonic()
    for month in months:
        steps.say(f"{month.stream} {month.month}")
        written = out.write_table(month.path, month.table)
        files.append(with_facts(written, stream=month.stream, month=month.month))
        steps.say(by=1)
    steps.say(paced(sum(month.table.height for month in months), begun, "rows"))
    reports = _report(streams, months, config, out)
    counts = _write_counts(months, run)
    by_stream = {r.stream: {k: v for k, v in r.total.to_json().items() if k != "results"} for r in reports}
    return {
        "report_json": str(out.path / "report.json"),
        "report_html": str(out.path / "report.html"),
        "streams": dict(list(by_stream.items())[:LISTED_STREAMS]),
        "streams_total": len(by_stream),
        "rows": sum(month.table.height for month in months),
        **counts,
        **write_manifest(out, "merger", {"streams": by_stream}, files),
    }


def _read_results(manifest: dict[str, Any], out: OutFolder) -> pl.DataFrame:
    return pl.read_parquet([out.read_verified(f["path"], f["sha256"], by="analyzer") for f in manifest["files"]])


def _decide_stream(stream: str, new: pl.DataFrame, covered: pl.DataFrame, out: OutFolder) -> list[Month]:
    """Return all months of `stream`, those on disk and those with new rows."""
    month_of = pl.col("date").dt.strftime("%Y-%m").alias("month")
    mine = new.filter(pl.col("stream") == stream).with_columns(month_of)
    on_disk = {_month_in(path): path for path in (out.path / "merged" / stream).glob("*/*.parquet")}
    months = []
    for month in sorted({*mine["month"].unique().to_list(), *on_disk}):
        path = f"merged/{stream}/{month[:4]}/{stream}_{month.replace('-', '_')}.parquet"
        fresh = mine.filter(pl.col("month") == month).drop("month")
        old = _read_table(out.path / path, month) if month in on_disk else new.clear()
        spoken_for = _is_covered(old, covered)
        table = in_order(pl.concat([old.filter(~spoken_for), fresh]))
        counts = _count_changes(old.filter(spoken_for), fresh)
        months.append(Month(path, stream, month, table, counts))
    return months


def _is_covered(rows: pl.DataFrame, covered: pl.DataFrame) -> pl.Series:
    """Return for each row whether this run speaks for its stream, instrument and date."""
    is_covered = pl.lit(value=False)
    for stream, instrument, first, last in covered.iter_rows():
        same = (pl.col("stream") == stream) & (pl.col("instrument") == instrument)
        is_covered = is_covered | (same & pl.col("date").is_between(first, last))
    return rows.with_columns(is_covered.alias("covered"))["covered"]


def _count_changes(old: pl.DataFrame, new: pl.DataFrame) -> dict[str, int]:
    facts = [name for name in RESULT_SCHEMA if name not in (*KEY, "as_of")]
    same = pl.all_horizontal(pl.col(f).eq_missing(pl.col(f"{f}_new")) for f in facts)
    both = old.join(new, on=KEY, how="inner", suffix="_new").select(same.alias("same"))["same"]
    unchanged = int(both.sum())
    numbers = (
        new.height - both.len(),
        both.len() - unchanged,
        old.height - both.len(),
        unchanged,
    )
    return dict(zip(COUNTS, numbers, strict=True))


def _month_in(path: Path) -> str:
    match = _TABLE_NAME.search(path.name)
    if match is None:
        raise MarketError(f"{path} is no monthly table of ours; move it away", code="damaged")
    return f"{match['year']}-{match['month']}"


def _read_table(path: Path, month: str) -> pl.DataFrame:
    """Return an old table; whatever is wrong with it ends the stage."""
    try:
        table = pl.read_parquet(BytesIO(path.read_bytes()))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _unreadable(path, str(error).split("\n", 1)[0]) from None
    if dict(table.schema) != RESULT_SCHEMA:
        raise _unreadable(path, "its columns are not those of a result table")
    if table.select(KEY).is_duplicated().any():
        raise _unreadable(path, "a key is in it twice")
    first = date.fromisoformat(f"{month}-01")
    following = (first + timedelta(days=31)).replace(day=1)
    if not table["date"].is_between(first, following, closed="left").all() or table["date"].has_nulls():
        raise _unreadable(path, f"it has rows outside {month}")
    return table


def _unreadable(path: Path, why: str) -> MarketError:
    return MarketError(
        f"{path} cannot be merged into ({why}) and was left as it is; "
        "restore it or move it away, then run merger again",
        code="damaged",
    )


def _report(streams: list[str], months: list[Month], config: Config, out: OutFolder) -> list[StreamReport]:
    reports = []
    for stream in streams:
        tables = [month.table for month in months if month.stream == stream and month.table.height]
        if tables:
            reports.append(report_stream(stream, pl.concat(tables)))
    traded = {name: config.instrument(name) for r in reports for name in r.instruments}
    digits = {n: Digits(_digits(i.tick), _digits(i.tick * i.scale)) for n, i in traded.items() if i is not None}
    quality = report_quality((last_manifest(out, "translator") or {}).get("inputs", []))
    out.write_json("report.json", to_document(reports, quality), rows=len(reports))
    out.write("report.html", render_page(reports, digits, quality).encode(), rows=len(reports))
    return reports


def _digits(step: Decimal) -> int:
    return max(0, -int(step.normalize().as_tuple().exponent))


def _write_counts(months: list[Month], run: Run) -> dict[str, int]:
    total = dict.fromkeys(COUNTS, 0) | sum_by(month.counts for month in months)
    by_month = [{"stream": m.stream, "month": m.month, **m.counts} for m in months]
    text = json.dumps({**total, "months": by_month}, indent=2) + "\n"
    replace_file(run.workdir / "merger-counts.json", text.encode())
    return total

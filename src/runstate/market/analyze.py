"""The analyzer: for each instrument, session, trade day and slot one row that says what the breakout did.

An instrument with bars of several intervals is analysed on the shortest. A day is analysed again only when something
that decides it changed (plan.py); the manifest keeps its key, and rows of other days are taken from the last tables. So
the tables are the same, byte for byte, whichever way they came to be.

Days are analysed in threads, some of an instrument at a time: nearly all of the work is reading Parquet and arithmetic on
columns, which polars does outside Python's lock, and no bar is copied between processes. A batch has a bounded number of
bars, so memory does not grow with the length of the data.

Where MARKET.md is silent: a slot that had not ended by as_of has no row: nothing can be said about it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import polars as pl

from runstate.market.breakout import Bars, Result, break_out
from runstate.market.calendars import TradeDays, days_from_json
from runstate.market.failures import MarketError
from runstate.market.folder import Json, OutFolder
from runstate.market.manifest import Run, last_manifest, read_manifest, with_facts, write_manifest
from runstate.market.plan import Day, Plan, Task, make_plans
from runstate.market.progress import Steps, cores, paced
from runstate.market.results import INSTANT, Place, Row, in_order, to_row, to_table
from runstate.market.settings import Config

BARS_AT_ONCE = 200_000  #: Bars that a thread has in memory, unless a single day has more.

Batch = Sequence[tuple[Task, Day]]


@dataclass(slots=True)
class Known:
    """What the last run found out about one instrument."""

    keys: dict[tuple[str, str], str] = field(default_factory=dict)  #: By session and day.
    rows: pl.DataFrame | None = None  #: Those of tables that are what the manifest says.


def analyze(
    config: Config, out: OutFolder, run: Run, *, threads: int | None = None, bars_at_once: int = BARS_AT_ONCE
) -> Json:
    """Write the result tables and the manifest; return the stage's outputs.

    Args:
        config: What is traded, and when.
        out: Where the bars are and the results go.
        run: Hears of the progress.
        threads: None: as many as there are cores. The files do not depend on it.
        bars_at_once: In memory by thread; nor on this.

    Raises:
        MarketError: The bars are not those of the translator, a calendar is unknown, or there is nothing to analyse.
    """
    before = last_manifest(out, "analyzer") or {}
    plans = make_plans(config, read_manifest(run, out, "translator"), _known_days(before))
    known = _known(before, out)
    stale = [_stale(plan, known.get(plan.bars.instrument.name, Known())) for plan in plans]
    days, analyzed = sum(len(task.days) for plan in plans for task in plan.tasks), sum(len(some) for some in stale)
    steps, begun = Steps(run, days, "instrument-days", done=days - analyzed), time.monotonic()
    steps.say("comparing days")

    def work(plan: Plan, batch: Batch) -> pl.DataFrame:
        files = {path: entry for _, day in batch for path, entry in day.files.items()}
        bars = plan.bars.load(out, sorted(files.values(), key=itemgetter("first_us")), as_of_us=plan.as_of_us)
        rows: list[Row] = []
        for task, day in batch:
            rows += _analyze_day(plan, task, bars, day)
            steps.say(f"{plan.bars.instrument.name} {day.date}", by=1)
        return to_table(rows)

    files: list[Json] = []
    results: Counter[str] = Counter()
    with ThreadPoolExecutor(threads or cores()) as pool:
        tables: list[list[Future[pl.DataFrame]]] = [
            [pool.submit(work, plan, batch) for batch in batched(some, bars_at_once)]
            for plan, some in zip(plans, stale, strict=True)
        ]
        try:
            for plan, some, mine in zip(plans, stale, tables, strict=True):
                fresh = pl.concat([to_table([]), *(table.result() for table in mine)])
                mine.clear()
                name = plan.bars.instrument.name
                table = _with_known(fresh, known.get(name, Known()), plan, {_place(task, day) for task, day in some})
                files += _write_months(name, table, out)
                results.update(table["result"].to_list())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    steps.say(paced(analyzed, begun, "instrument-days"))
    if not results:
        raise MarketError(
            "no slot of any session had ended by as_of in the bars; check as_of, the sessions and the files",
            code="no_input",
        )
    counts = {result.value: results[result.value] for result in Result}
    facts = {"rows": results.total(), "results": counts, "days": days}
    covered = [_coverage(plan, task) for plan in plans for task in plan.tasks]
    calendars = {task.calendar.made_of: task.calendar.to_json() for plan in plans for task in plan.tasks}
    kept = [calendars[made_of] for made_of in sorted(calendars) if made_of]
    listing = write_manifest(out, "analyzer", {**facts, "calendars": kept, "covered": covered}, files)
    return {**facts, "days_analyzed": analyzed, "days_reused": days - analyzed, **listing}


def _stale(plan: Plan, before: Known) -> list[tuple[Task, Day]]:
    """Return the days of which the last run does not know what is so now, in order of time."""
    days = [(task, day) for task in plan.tasks for day in task.days if before.keys.get(_place(task, day)) != day.key]
    return sorted(days, key=lambda task_day: task_day[1].date)


def batched(days: Batch, bars_at_once: int) -> Iterator[Batch]:
    """Yield the days in order, as many at a time as have so many bars together, at least one."""
    batch: list[tuple[Task, Day]] = []
    bars: set[str] = set()
    total = 0
    for task, day in days:
        more = [int(entry["rows"]) for path, entry in day.files.items() if path not in bars]
        if batch and total + sum(more) > bars_at_once:
            yield batch
            batch, bars, total = [], set(), 0
            more = [int(entry["rows"]) for entry in day.files.values()]
        batch.append((task, day))
        bars |= day.files.keys()
        total += sum(more)
    if batch:
        yield batch


def _place(task: Task, day: Day) -> tuple[str, str]:
    return task.session.name, str(day.date)


def _analyze_day(plan: Plan, task: Task, bars: Bars, day: Day) -> list[Row]:
    instrument = plan.bars.instrument
    rows = []
    for slot, window in day.windows:
        if window.slot_end_us > plan.as_of_us:
            continue
        outcome = break_out(bars, window, target=instrument.target_ticks, as_of_us=plan.as_of_us)
        stream = task.session.stream(instrument.name)
        place = Place(day.date, slot.text, task.session.name, stream, plan.as_of_us)
        rows.append(to_row(place, outcome, instrument))
    return rows


def _with_known(fresh: pl.DataFrame, before: Known, plan: Plan, stale: set[tuple[str, str]]) -> pl.DataFrame:
    """Return the rows of all days: those analysed now, and those of the last run for the others, as of now."""
    kept = [place for task in plan.tasks for day in task.days if (place := _place(task, day)) not in stale]
    if before.rows is None or not kept:
        return in_order(fresh)
    wanted = pl.DataFrame(kept, schema={"session": pl.String, "date": pl.String}, orient="row").with_columns(
        pl.col("date").str.to_date()
    )
    now = pl.lit(plan.as_of_us, pl.Int64).cast(INSTANT).alias("as_of")
    rows = before.rows.join(wanted, on=["session", "date"], how="semi").with_columns(now)
    return in_order(pl.concat([fresh, rows]))


def _known_days(manifest: Mapping[str, Any]) -> list[TradeDays]:
    try:
        return days_from_json(manifest.get("calendars", ()))
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _known(manifest: Mapping[str, Any], out: OutFolder) -> dict[str, Known]:
    """Return what the last run left, by instrument; a table that is not as its manifest says is not known."""
    known: dict[str, Known] = {}
    tables: dict[str, list[bytes]] = {}
    try:
        for entry in manifest.get("covered", ()):
            keys = known.setdefault(entry["instrument"], Known()).keys
            keys.update({(entry["session"], day): key for day, key in entry["days"].items()})
        for entry in manifest.get("files", ()):
            content = out.read_if_held(entry)
            if content is not None:
                tables.setdefault(entry["instrument"], []).append(content)
                continue
            mine = known[entry["instrument"]]
            mine.keys = {place: key for place, key in mine.keys.items() if place[1][:7] != entry["month"]}
        for name, contents in tables.items():
            known[name].rows = pl.read_parquet(contents)
    except (KeyError, TypeError, AttributeError):
        return {}
    return known


def _write_months(instrument: str, table: pl.DataFrame, out: OutFolder) -> list[Json]:
    files = []
    month_of = pl.col("date").dt.strftime("%Y-%m").alias("month")
    months = table.with_columns(month_of).partition_by("month", as_dict=True, maintain_order=True, include_key=False)
    for (month,), rows in sorted(months.items()):
        path = f"analyzed/{instrument}/{str(month)[:4]}/{instrument}_{month}.parquet"
        files.append(with_facts(out.write_table(path, rows), instrument=instrument, month=str(month)))
    return files


def _coverage(plan: Plan, task: Task) -> Json:
    """Return which days this run speaks for, rows or not; the merger replaces exactly these."""
    name = plan.bars.instrument.name
    return {
        "stream": task.session.stream(name),
        "instrument": name,
        "session": task.session.name,
        "first": str(task.first),
        "last": str(task.last),
        "as_of_us": plan.as_of_us,
        "days": {str(day.date): day.key for day in task.days},
    }

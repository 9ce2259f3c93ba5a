"""The analyzer: for each instrument, session, trade day and slot one row that says what the breakout did.

Covered are the trade days from the first bar's date to the date of the last bar's close or as_of, whichever is
earlier, in the session's zone. Bars that had not closed by as_of do not exist. An instrument with bars of several
intervals is analysed on the shortest.

A day is analysed again only when something that decides it changed: the day files with bars from its session's start to
its last expiry, the settings of instrument and session, an early close, the trade day that follows, or `as_of` as long as
the day had not ended by it. The manifest keeps a key of all that for each day; rows of other days are taken from the last
tables. So the tables are the same, byte for byte, whichever way they came to be.

Where MARKET.md is silent:
- Without `as_of` each instrument has its own: its last bar's close.
- A slot that had not ended by as_of has no row: nothing can be said about it.
- A session time that the clock skips (02:30 in March) reads one gap later, one that it shows twice is the first.
- A covered trade day without bars is NoData in every slot, also when it is a holiday that no calendar explained.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from runstate.market.bars import BarFiles, find_bar_files
from runstate.market.breakout import Bars, Result, Window, break_out
from runstate.market.calendars import TradeDays, trade_days
from runstate.market.config import Clock, Config, Session
from runstate.market.failures import MarketError
from runstate.market.folder import Json, OutFolder
from runstate.market.manifest import Run, last_manifest, read_manifest, step, with_facts, write_manifest
from runstate.market.results import INSTANT, Place, Row, in_order, to_row, to_table

DAYS_AT_ONCE = 64  #: Whose bars are in memory together.
VERSION = 1  #: Of what the rules make of the same bars; a new one analyses everything again.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """One instrument in one session."""

    session: Session
    first: date  #: First covered day, in the session's zone.
    last: date
    days: list[tuple[date, date]]  #: Trade day and the one after it.
    early_close_us: dict[date, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """One instrument in all its sessions."""

    files: BarFiles
    as_of_us: int
    tasks: list[Task]


@dataclass(frozen=True, slots=True)
class Day:
    """One trade day of a task."""

    date: date
    windows: list[tuple[Clock, Window]]  #: By slot.
    paths: frozenset[str]  #: Day files with bars that decide it.
    key: str


@dataclass(slots=True)
class Known:
    """What the last run found out about one instrument."""

    keys: dict[tuple[str, str], str] = field(default_factory=dict)  #: By session and day.
    rows: pl.DataFrame | None = None  #: Those of tables that are what the manifest says.


def analyze(config: Config, out: OutFolder, run: Run) -> Json:
    """Write the result tables and the manifest; return the stage's outputs.

    Raises:
        MarketError: The bars are not those of the translator, a calendar is unknown, or there is nothing to analyse.
    """
    manifest = read_manifest(run, out, "translator")
    plans = _plans(config, manifest)
    known = _known(out)
    total = sum(len(task.days) for plan in plans for task in plan.tasks)
    done, analyzed = 0, 0
    files: list[Json] = []
    covered: list[Json] = []
    results: Counter[str] = Counter()
    for plan in plans:
        name = plan.files.instrument.name
        before = known.get(name, Known())
        days = [(task, _days(plan, task)) for task in plan.tasks]
        fresh = [
            (task, day) for task, of_task in days for day in of_task if before.keys.get(_place(task, day)) != day.key
        ]
        fresh.sort(key=lambda task_day: task_day[1].date)
        done += sum(len(of_task) for _, of_task in days) - len(fresh)
        analyzed += len(fresh)
        rows: list[Row] = []
        for some in batched(fresh, DAYS_AT_ONCE):
            paths = {path for _, day in some for path in day.paths}
            bars = plan.files.load(out, paths, as_of_us=plan.as_of_us)
            for task, day in some:
                step(run, done, total, "instrument-days", f"{name} {day.date}")
                rows += _analyze_day(plan, task, bars, day)
                done += 1
        is_fresh = {_place(task, day) for task, day in fresh}
        table = _with_known(to_table(rows), before, days, is_fresh, plan.as_of_us)
        files += _write_months(name, table, out)
        covered += [_coverage(plan, task, of_task) for task, of_task in days]
        results.update(table["result"].to_list())
    step(run, done, total, "instrument-days", None)
    if not results:
        raise MarketError(
            "no slot of any session had ended by as_of in the bars; check as_of, the sessions and the files",
            code="no_input",
        )
    counts = {result.value: results[result.value] for result in Result}
    facts = {"rows": results.total(), "results": counts, "days": done}
    listing = write_manifest(out, "analyzer", {**facts, "covered": covered}, files)
    return {**facts, "days_analyzed": analyzed, "days_reused": done - analyzed, **listing}


def _plans(config: Config, manifest: dict[str, Any]) -> list[Plan]:
    found = find_bar_files(config, manifest)
    for session in config.sessions:
        for name in session.instruments or ():
            if not any(session.trades(f.instrument.name) and f.instrument.name.startswith(name) for f in found):
                raise MarketError(
                    f"the translator wrote no bars of {name}, which session {session.name} trades; run translator again",
                    code="no_input",
                )
    return [plan for files in found if (plan := _plan(config, files)).tasks]


def _plan(config: Config, files: BarFiles) -> Plan:
    name = files.instrument.name
    opened_us, closed_us = files.span_us()
    as_of_us = closed_us if config.as_of_us is None else config.as_of_us
    sessions = [session for session in config.sessions if session.trades(name)]
    if sessions and as_of_us < opened_us + files.interval.seconds * _SECOND_US:
        raise MarketError(
            f"{config.file}: as_of lies before the first bar of {name} has closed; set a later one",
            code="bad_config",
        )
    last_us = min(closed_us, as_of_us) - 1
    return Plan(files, as_of_us, [_task(config, s, opened_us, last_us) for s in sessions])


def _task(config: Config, session: Session, first_us: int, last_us: int) -> Task:
    zone = ZoneInfo(session.tz)
    first, last = _at(first_us, zone).date(), _at(last_us, zone).date()
    calendar: TradeDays = trade_days(session, config, first, last)
    days = calendar.between(first, last)
    return Task(session, first, last, days, dict(calendar.early_close_us))


def _days(plan: Plan, task: Task) -> list[Day]:
    """Return the task's days with everything that decides them."""
    session, zone = task.session, ZoneInfo(task.session.tz)
    told = (
        VERSION, plan.files.instrument, plan.files.interval, session.name, session.tz, session.start, session.slots,
        session.close,
    )  # fmt: skip
    days = []
    for day, following in task.days:
        close_us = min(_instant_us(day, session.close, zone), task.early_close_us.get(day, 2**63))
        start_us = _instant_us(day, session.start, zone)
        windows = [
            (
                slot,
                Window(
                    start_us, _instant_us(day, slot, zone), close_us, _instant_us(following, slot, zone) - _SECOND_US
                ),
            )
            for slot in session.slots
        ]
        end_us = windows[-1][1].expiry_us
        entries = plan.files.between(start_us, end_us)
        is_over = plan.as_of_us >= end_us + plan.files.interval.seconds * _SECOND_US
        shas = [(entry["path"], entry["sha256"]) for entry in entries]
        key = hashlib.sha256(repr((told, windows, shas, None if is_over else plan.as_of_us)).encode()).hexdigest()[:32]
        days.append(Day(day, windows, frozenset(path for path, _ in shas), key))
    return days


def batched(days: Sequence[tuple[Task, Day]], count: int) -> Iterator[Sequence[tuple[Task, Day]]]:
    """Yield the days, `count` at a time."""
    for first in range(0, len(days), count):
        yield days[first : first + count]


def _place(task: Task, day: Day) -> tuple[str, str]:
    return task.session.name, str(day.date)


def _analyze_day(plan: Plan, task: Task, bars: Bars, day: Day) -> list[Row]:
    instrument = plan.files.instrument
    rows = []
    for slot, window in day.windows:
        if window.slot_end_us > plan.as_of_us:
            continue
        outcome = break_out(bars, window, target=instrument.target_ticks, as_of_us=plan.as_of_us)
        stream = task.session.stream(instrument.name)
        place = Place(day.date, slot.text, task.session.name, stream, plan.as_of_us)
        rows.append(to_row(place, outcome, instrument))
    return rows


def _with_known(
    table: pl.DataFrame,
    before: Known,
    days: list[tuple[Task, list[Day]]],
    is_fresh: set[tuple[str, str]],
    as_of_us: int,
) -> pl.DataFrame:
    """Return the rows of all days: those analysed now, and those of the last run for the others, as of now."""
    kept = [_place(task, day) for task, of_task in days for day in of_task if _place(task, day) not in is_fresh]
    if before.rows is None or not kept:
        return table
    wanted = pl.DataFrame(kept, schema={"session": pl.String, "date": pl.String}, orient="row").with_columns(
        pl.col("date").str.to_date()
    )
    now = pl.lit(as_of_us, pl.Int64).cast(INSTANT).alias("as_of")
    rows = before.rows.join(wanted, on=["session", "date"], how="semi").with_columns(now)
    return in_order(pl.concat([table, rows]))


def _known(out: OutFolder) -> dict[str, Known]:
    """Return what the last run left, by instrument; a table that is not as its manifest says is not known."""
    manifest = last_manifest(out, "analyzer")
    known: dict[str, Known] = {}
    try:
        for entry in manifest["covered"] if manifest else ():
            keys = known.setdefault(entry["instrument"], Known()).keys
            keys.update({(entry["session"], day): key for day, key in entry["days"].items()})
        for entry in manifest["files"] if manifest else ():
            mine = known[entry["instrument"]]
            if out.holds(entry):
                rows = pl.read_parquet(BytesIO((out.path / entry["path"]).read_bytes()))
                mine.rows = rows if mine.rows is None else pl.concat([mine.rows, rows])
            else:
                mine.keys = {place: key for place, key in mine.keys.items() if place[1][:7] != entry["month"]}
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


def _coverage(plan: Plan, task: Task, days: list[Day]) -> Json:
    """Return which days this run speaks for, rows or not; the merger replaces exactly these."""
    name = plan.files.instrument.name
    return {
        "stream": task.session.stream(name),
        "instrument": name,
        "session": task.session.name,
        "first": str(task.first),
        "last": str(task.last),
        "as_of_us": plan.as_of_us,
        "days": {str(day.date): day.key for day in days},
    }


def _instant_us(day: date, clock: Clock, zone: ZoneInfo) -> int:
    """Return local `clock` of `day`; a skipped time reads one gap later, a double one is the first (PEP 495)."""
    following, minute = divmod(clock.minute, 24 * 60)
    day = day + timedelta(days=following)
    local = datetime(day.year, day.month, day.day, *divmod(minute, 60), tzinfo=zone)
    return (local - _EPOCH) // timedelta(microseconds=1)


def _at(instant_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(zone)

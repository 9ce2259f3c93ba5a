"""The analyzer: for each instrument, session, trade day and slot one row that says what the breakout did.

Covered are the trade days from the first bar's date to the date of the last bar's close or as_of, whichever is
earlier, in the session's zone. Bars that had not closed by as_of do not exist. An instrument with bars of several
intervals is analysed on the shortest.

Not here yet: re-use of days that did not change. All covered days are analysed each time.

Where MARKET.md is silent:
- Without `as_of` each instrument has its own: its last bar's close.
- A slot that had not ended by as_of has no row: nothing can be said about it.
- A session time that the clock skips (02:30 in March) reads one gap later, one that it shows twice is the first.
- A covered trade day without bars is NoData in every slot, also when it is a holiday that no calendar explained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from runstate.market.bars import BarFiles, find_bar_files
from runstate.market.breakout import Bars, Result, Window, break_out
from runstate.market.calendars import TradeDays, trade_days
from runstate.market.config import Clock, Config, Session
from runstate.market.failures import MarketError
from runstate.market.folder import Json, OutFolder
from runstate.market.manifest import Run, read_manifest, step, with_facts, write_manifest
from runstate.market.results import Place, Row, to_row, to_table

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


def analyze(config: Config, out: OutFolder, run: Run) -> Json:
    """Write the result tables and the manifest; return the stage's outputs.

    Raises:
        MarketError: The bars are not those of the translator, a calendar is unknown, or there is nothing to analyse.
    """
    manifest = read_manifest(run, out, "translator")
    plans = [_plan(config, out, manifest, name) for name in _traded(config)]
    total = sum(len(task.days) for plan in plans for task in plan.tasks)
    done, files, covered = 0, [], []
    results: Counter[str] = Counter()
    for plan in plans:
        bars = plan.files.load(out, as_of_us=plan.as_of_us)
        rows: list[Row] = []
        for task in plan.tasks:
            for day, following in task.days:
                step(run, done, total, "instrument-days", f"{plan.files.instrument.name} {day}")
                rows += _analyze_day(plan, task, bars, day, following)
                done += 1
        files += _write_months(plan.files.instrument.name, rows, out)
        covered += [_coverage(plan, task) for task in plan.tasks]
        results.update(str(row["result"]) for row in rows)
    step(run, done, total, "instrument-days", None)
    if not results:
        raise MarketError(
            "no slot of any session had ended by as_of in the bars; check as_of, the sessions and the files",
            code="no_input",
        )
    counts = {result.value: results[result.value] for result in Result}
    facts = {"rows": results.total(), "results": counts, "days": done}
    listing = write_manifest(out, "analyzer", {**facts, "covered": covered}, files)
    return {**facts, **listing}


def _traded(config: Config) -> list[str]:
    return sorted({name for session in config.sessions for name in session.instruments})


def _plan(config: Config, out: OutFolder, manifest: dict[str, Any], name: str) -> Plan:
    files = find_bar_files(config, manifest, name)
    opened_us, closed_us = files.span_us(out)
    as_of_us = closed_us if config.as_of_us is None else config.as_of_us
    if as_of_us < opened_us + files.interval.seconds * _SECOND_US:
        raise MarketError(
            f"{config.file}: as_of lies before the first bar of {name} has closed; set a later one",
            code="bad_config",
        )
    last_us = min(closed_us, as_of_us) - 1
    sessions = [session for session in config.sessions if name in session.instruments]
    return Plan(files, as_of_us, [_task(config, s, opened_us, last_us) for s in sessions])


def _task(config: Config, session: Session, first_us: int, last_us: int) -> Task:
    zone = ZoneInfo(session.tz)
    first, last = _at(first_us, zone).date(), _at(last_us, zone).date()
    calendar: TradeDays = trade_days(session, config, first, last)
    days = calendar.between(first, last)
    return Task(session, first, last, days, dict(calendar.early_close_us))


def _analyze_day(plan: Plan, task: Task, bars: Bars, day: date, following: date) -> Iterator[Row]:
    instrument = plan.files.instrument
    session, zone = task.session, ZoneInfo(task.session.tz)
    close_us = min(_instant_us(day, session.close, zone), task.early_close_us.get(day, 2**63))
    for slot in session.slots:
        window = Window(
            start_us=_instant_us(day, session.start, zone),
            slot_end_us=_instant_us(day, slot, zone),
            close_us=close_us,
            expiry_us=_instant_us(following, slot, zone) - _SECOND_US,
        )
        if window.slot_end_us > plan.as_of_us:
            continue
        outcome = break_out(bars, window, target=instrument.target_ticks, as_of_us=plan.as_of_us)
        place = Place(day, slot.text, session.name, session.stream(instrument.name), plan.as_of_us)
        yield to_row(place, outcome, instrument)


def _write_months(instrument: str, rows: list[Row], out: OutFolder) -> list[Json]:
    files = []
    rows.sort(key=lambda row: str(row["date"]))
    for month, group in groupby(rows, key=lambda row: str(row["date"])[:7]):
        path = f"analyzed/{instrument}/{month[:4]}/{instrument}_{month}.parquet"
        written = out.write_table(path, to_table(list(group)))
        files.append(with_facts(written, instrument=instrument, month=month))
    return files


def _coverage(plan: Plan, task: Task) -> Json:
    """Return which days this run speaks for, rows or not; the merger replaces exactly these."""
    name = plan.files.instrument.name
    return {
        "stream": task.session.stream(name),
        "instrument": name,
        "session": task.session.name,
        "first": str(task.first),
        "last": str(task.last),
        "as_of_us": plan.as_of_us,
    }


def _instant_us(day: date, clock: Clock, zone: ZoneInfo) -> int:
    """Return local `clock` of `day`; a skipped time reads one gap later, a double one is the first (PEP 495)."""
    following, minute = divmod(clock.minute, 24 * 60)
    day = day + timedelta(days=following)
    local = datetime(day.year, day.month, day.day, *divmod(minute, 60), tzinfo=zone)
    return (local - _EPOCH) // timedelta(microseconds=1)


def _at(instant_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(zone)

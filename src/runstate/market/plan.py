"""Which days the analyzer speaks for, and what decides each of them.

Covered are the trade days from the first bar's date to the date of the last bar's close or as_of, whichever is
earlier, in the session's zone. A day's key is a digest of all that decides it: the day files with bars from its session's
start to its last expiry, the settings of instrument and session, an early close, the trade day that follows, or `as_of`
as long as the day had not ended by it.

Where MARKET.md is silent:
- Without `as_of` each instrument has its own: its last bar's close.
- A session time that the clock skips (02:30 in March) reads one gap later, one that it shows twice is the first.
- A covered trade day without bars is NoData in every slot, also when it is a holiday that no calendar explained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from runstate.market.bars import BarFiles, find_bar_files
from runstate.market.breakout import Window
from runstate.market.calendars import TradeDays, trade_days
from runstate.market.failures import MarketError
from runstate.market.settings import Clock, Config, Session

VERSION = 1  #: Of what the rules make of the same bars; a new one analyses everything again.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Day:
    """One trade day of a task."""

    date: date
    windows: list[tuple[Clock, Window]]  #: By slot.
    files: dict[str, dict[str, Any]]  #: By path, in order of time: the manifest's entries of bars that decide it.
    key: str


@dataclass(frozen=True, slots=True)
class Task:
    """One instrument in one session."""

    session: Session
    first: date  #: First covered day, in the session's zone.
    last: date
    days: list[Day]
    calendar: TradeDays


@dataclass(frozen=True, slots=True)
class Plan:
    """One instrument in all its sessions."""

    bars: BarFiles
    as_of_us: int  #: Bars that had not closed by then do not exist.
    tasks: list[Task]


@dataclass(frozen=True, slots=True)
class _Scope:
    """One instrument before its calendars are known."""

    bars: BarFiles
    as_of_us: int
    spans: list[tuple[Session, date, date]]


def make_plans(config: Config, manifest: dict[str, Any], known_days: Sequence[TradeDays] = ()) -> list[Plan]:
    """Return the plan of every instrument that a session trades.

    Args:
        config: Whose sessions are meant.
        manifest: The translator's.
        known_days: Calendars of earlier runs.

    Raises:
        MarketError: A session trades what has no bars, as_of lies before all bars, or a calendar does not reach.
    """
    found = find_bar_files(config, manifest)
    for session in config.sessions:
        for name in session.instruments or ():
            if not any(session.trades(f.instrument.name) and f.instrument.name.startswith(name) for f in found):
                raise MarketError(
                    f"the translator wrote no bars of {name}, which session {session.name} trades; run translator again",
                    code="no_input",
                )
    scopes = [scope for files in found if (scope := _scope(config, files)).spans]
    calendars = trade_days(config, [span for scope in scopes for span in scope.spans], known_days)
    return [
        Plan(s.bars, s.as_of_us, [_task(s, *span, calendar=calendars[span[0].name]) for span in s.spans])
        for s in scopes
    ]


def _scope(config: Config, files: BarFiles) -> _Scope:
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
    zones = [(session, ZoneInfo(session.tz)) for session in sessions]
    return _Scope(files, as_of_us, [(s, _at(opened_us, z).date(), _at(last_us, z).date()) for s, z in zones])


def _task(scope: _Scope, session: Session, first: date, last: date, *, calendar: TradeDays) -> Task:
    """Return the task with everything that decides its days."""
    zone, interval_us = ZoneInfo(session.tz), scope.bars.interval.seconds * _SECOND_US
    told = (
        VERSION, scope.bars.instrument, scope.bars.interval, session.name, session.tz, session.start, session.slots,
        session.close,
    )  # fmt: skip
    days = []
    for day, following in calendar.between(first, last):
        close_us = min(instant_us(day, session.close, zone), calendar.early_close_us.get(day, 2**63))
        start_us = instant_us(day, session.start, zone)
        windows = [
            (
                slot,
                Window(start_us, instant_us(day, slot, zone), close_us, instant_us(following, slot, zone) - _SECOND_US),
            )
            for slot in session.slots
        ]
        end_us = windows[-1][1].expiry_us
        entries = scope.bars.between(start_us, end_us)
        is_over = scope.as_of_us >= end_us + interval_us
        shas = [(entry["path"], entry["sha256"]) for entry in entries]
        key = hashlib.sha256(repr((told, windows, shas, None if is_over else scope.as_of_us)).encode()).hexdigest()[:32]
        days.append(Day(day, windows, {entry["path"]: entry for entry in entries}, key))
    return Task(session, first, last, days, calendar)


def instant_us(day: date, clock: Clock, zone: ZoneInfo) -> int:
    """Return local `clock` of `day`; a skipped time reads one gap later, a double one is the first (PEP 495)."""
    following, minute = divmod(clock.minute, 24 * 60)
    day = day + timedelta(days=following)
    local = datetime(day.year, day.month, day.day, *divmod(minute, 60), tzinfo=zone)
    return (local - _EPOCH) // timedelta(microseconds=1)


def _at(instant: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone)

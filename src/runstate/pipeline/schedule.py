"""When a schedule fires, and what becomes of each of its times: pure decisions that the scheduler carries out.

A schedule is a cron expression in a time zone. Where clocks change it is as Debian's cron: a time that does not exist is
taken at the first moment after the gap, a time that exists twice counts once, and what recurs within the hour follows
real time. Seconds, a sixth field in front, hold within each minute that the other five name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from runstate.core.errors import InvalidValue
from runstate.core.model import Schedule
from runstate.core.times import format_time, parse_time

if TYPE_CHECKING:
    from cronsim import CronSim

ON_TIME_MS = 60_000  # cron's own grain: whoever was busy or asleep for less has not missed anything
DAY_MS = 24 * 3600 * 1000
YEARS = 50  # without a time that fits: then there is none

MEMBERS: dict[str, type | tuple[type, ...]] = {"cron": str, "tz": str, "enabled": bool, "missed": str, "overlap": str}
_CHOICES = {"missed": ("skip", "run_once"), "overlap": ("skip", "queue")}


class _Cron(NamedTuple):
    minutes: str  #: The five fields.
    seconds: tuple[int, ...]  #: In order.


def check_schedule(schedule: Schedule, *, now_ms: int) -> None:
    """Check what a person wrote.

    Raises:
        InvalidValue: The cron expression, the zone or a policy is not one, or it would never fire; the text names the member.
    """
    for member, kind in MEMBERS.items():
        value = getattr(schedule, member)
        if type(value) is not kind:
            raise InvalidValue(f"{member} is {value!r}; {'true or false' if kind is bool else 'a text'} is needed")
        if member in _CHOICES and value not in _CHOICES[member]:
            raise InvalidValue(f"{member} is {value!r}; use {' or '.join(_CHOICES[member])}")
    _zone(schedule.tz)
    _parse(schedule.cron)
    if next_after(schedule.cron, schedule.tz, now_ms) is None:
        raise InvalidValue(f"cron {schedule.cron!r} never fires: no day fits it")


def merge(old: Schedule | None, members: dict[str, Any], *, now_ms: int) -> Schedule:
    """Return a schedule with these members of `MEMBERS` set anew, its next time counted from now.

    Raises:
        InvalidValue: It would not be a schedule.
    """
    if old is None and "cron" not in members:
        raise InvalidValue("the pipeline has no schedule yet; cron is needed")
    new = replace(old, **members) if old is not None else Schedule(**members)
    check_schedule(new, now_ms=now_ms)
    return anew(new, now_ms=now_ms)


def anew(schedule: Schedule, *, now_ms: int) -> Schedule:
    """Return the schedule with its next time counted from now, and none where it is not enabled."""
    if not schedule.enabled:
        return replace(schedule, next_run_at=None, queued_at=None, last_skip_reason="disabled")
    reason = None if schedule.last_skip_reason == "disabled" else schedule.last_skip_reason
    return replace(schedule, next_run_at=_next(schedule, now_ms), last_skip_reason=reason)


def next_after(cron: str, tz: str, after_ms: int) -> int | None:
    """Return the first time strictly after `after_ms` (both milliseconds since the Unix epoch), None if there is none.

    Raises:
        InvalidValue: `cron` or `tz` is not one.
    """
    from cronsim import CronSim

    parsed, zone = _parse(cron), _zone(tz)
    after_s = after_ms // 1000
    # The minute that we are in may have seconds left, so the search begins before it.
    search = CronSim(parsed.minutes, datetime.fromtimestamp(after_s - after_s % 60 - 1, UTC).astimezone(zone))
    recurs = search.fixup_tz is None and search.dt.tzinfo is not UTC
    for minute in _recurring(search) if recurs else search:
        # An hour that comes twice is searched twice, and names its first coming both times.
        minute_s = int(minute.timestamp())
        for second in parsed.seconds:
            if minute_s + second > after_s:
                return (minute_s + second) * 1000
    return None


def _recurring(cron: CronSim) -> Iterator[datetime]:
    """Yield the minutes that fit an expression that recurs within the hour or every so many hours, in real time.

    cronsim itself loses count where clocks change by half an hour (Lord Howe Island).
    """
    at = cron.dt.astimezone(UTC) + timedelta(seconds=1)
    end = at + timedelta(days=YEARS * 366)
    while at < end:
        local = at.astimezone(cron.dt.tzinfo)
        if local.month not in cron.months or not cron.match_day(local.date()):
            midnight = datetime.combine(local.date() + timedelta(days=1), time(), local.tzinfo).astimezone(UTC)
            at = max(midnight, at + timedelta(minutes=1))
        elif local.hour not in cron.hours:
            at += timedelta(minutes=60 - local.minute)
            # Clocks may have changed in between, to an hour's middle: then its earlier minutes are behind us, and real.
            changed = at.astimezone(local.tzinfo)
            if changed.minute and changed.utcoffset() != local.utcoffset():
                at = _first_of_offset(at, changed)
        else:
            if local.minute in cron.minutes:
                yield local
            at += timedelta(minutes=1)


def _first_of_offset(at: datetime, local: datetime) -> datetime:
    """Return the first minute up to `at` that has the offset of `local`, within the hour before."""
    first = at
    while first > at - timedelta(hours=1):
        before = first - timedelta(minutes=1)
        if before.astimezone(local.tzinfo).utcoffset() != local.utcoffset():
            break
        first = before
    return first


@lru_cache(maxsize=1024)
def _parse(cron: str) -> _Cron:
    from cronsim import CronSim, CronSimError

    fields = cron.split()
    if len(fields) not in (5, 6):
        raise InvalidValue(f"cron {cron!r} has {len(fields)} fields; 5 are needed, or 6 with seconds in front")
    seconds, minutes = (fields[0], fields[1:]) if len(fields) == 6 else ("0", fields)
    start = datetime(2000, 1, 1, tzinfo=UTC)
    try:
        CronSim(" ".join(minutes), start)
        parsed = CronSim(f"{seconds} * * * * *", start)
    except (CronSimError, ValueError, TypeError, AssertionError) as exc:
        raise InvalidValue(
            f"cron {cron!r} is not a cron expression: {str(exc).lower() or 'a field is wrong'}"
        ) from None
    return _Cron(" ".join(minutes), tuple(sorted(parsed.seconds)))


@lru_cache(maxsize=1024)
def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError):
        raise InvalidValue(
            f"tz {tz!r} is not a time zone; use a name of IANA's such as America/Chicago or UTC"
        ) from None


def _next(schedule: Schedule, after_ms: int) -> str | None:
    due_ms = next_after(schedule.cron, schedule.tz, after_ms)
    return None if due_ms is None else format_time(due_ms)


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be committed now."""

    what: Literal["start", "skip", "queue", "correct"]
    schedule: Schedule


def decide_schedule(
    schedule: Schedule, *, now_ms: int, is_active: bool, may_start: bool, was_away: bool
) -> Step | None:
    """Return the one thing to do now about a schedule; None: nothing before `wake_ms`.

    Args:
        is_active: The pipeline has a run that is not over.
        may_start: Its run policy lets a scheduled run start.
        was_away: Nobody looked at the schedule before this, so what is due was due while no server was there.
    """
    if not schedule.enabled:
        return None
    due_ms = None if schedule.next_run_at is None else parse_time(schedule.next_run_at)
    if due_ms is not None and due_ms <= now_ms:
        return _due(schedule, due_ms, now_ms=now_ms, is_active=is_active, may_start=may_start, was_away=was_away)
    if schedule.queued_at is not None and not is_active:
        fields = {"queued_at": None}
        return Step("start", replace(schedule, **fields)) if may_start else _skip(schedule, "blocked", **fields)
    if due_ms is None or due_ms > (next_after(schedule.cron, schedule.tz, now_ms + DAY_MS) or due_ms):
        # The clock was more than a day ahead when this time was found. A smaller step back is waited for: the times
        # that come again have had their runs.
        corrected = replace(schedule, next_run_at=_next(schedule, now_ms))
        return Step("correct", corrected) if corrected != schedule else None
    return None


def _due(schedule: Schedule, due_ms: int, *, now_ms: int, is_active: bool, may_start: bool, was_away: bool) -> Step:
    following = _next(schedule, now_ms)
    if schedule.missed == "skip" and (was_away or now_ms - due_ms > ON_TIME_MS):
        return _skip(schedule, "missed", next_run_at=following)
    if is_active and schedule.overlap == "queue" and schedule.queued_at is None:
        return Step("queue", replace(schedule, next_run_at=following, queued_at=schedule.next_run_at))
    if is_active:
        return _skip(schedule, "overlap", next_run_at=following)
    if not may_start:
        return _skip(schedule, "blocked", next_run_at=following, queued_at=None)
    return Step("start", replace(schedule, next_run_at=following, queued_at=None))


def _skip(schedule: Schedule, reason: str, **fields: Any) -> Step:
    return Step("skip", replace(schedule, last_skip_reason=reason, **fields))


def wake_ms(schedule: Schedule) -> int | None:
    """Return when a schedule has to be looked at next, if nothing else happens before; None: never."""
    if not schedule.enabled or schedule.next_run_at is None:
        return None
    return parse_time(schedule.next_run_at)


def redefine(shown: Schedule | None, before: Schedule | None, now: Schedule | None, *, now_ms: int) -> Schedule | None:
    """Return the schedule that a pipeline shows from now on.

    Args:
        shown: What it shows, which a person may have set.
        before: What its definition said when it was served last.
        now: What its definition says.
    """
    if now == before:
        return shown
    if now is None:
        return None
    kept = {} if shown is None else {"last_run_id": shown.last_run_id, "last_skip_reason": shown.last_skip_reason}
    return anew(replace(now, **kept), now_ms=now_ms)

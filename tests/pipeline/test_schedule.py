"""When schedules fire: held against an oracle that walks through time minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.errors import InvalidValue
from runstate.core.model import Schedule
from runstate.core.times import format_time, parse_time
from runstate.pipeline.schedule import DAY_MS, check_schedule, decide_schedule, next_after

# Whole hours, half an hour, at midnight, on the equator's other side, two hours, and none at all.
ZONES = [
    "America/Chicago", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "Antarctica/Troll",
    "Asia/Kolkata", "Pacific/Apia", "America/St_Johns", "UTC",
]  # fmt: skip
YEAR_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def transitions(zone: str) -> list[int]:
    """Return the moments of 2026 at which the zone's clocks change, in seconds since the epoch."""
    found, tz = [], ZoneInfo(zone)
    for hour in range(365 * 24 * 2):
        at = YEAR_S + hour * 1800
        before, after = (datetime.fromtimestamp(s, tz).utcoffset() for s in (at - 1, at))
        if before != after:
            found.append(at)
    return found


MOMENTS = {zone: transitions(zone) or [YEAR_S] for zone in ZONES}
places = st.sampled_from(ZONES).flatmap(
    lambda zone: st.tuples(
        st.just(zone),
        st.builds(lambda at, off: at + off, st.sampled_from(MOMENTS[zone]), st.integers(-2 * 86400, 86400)),
    )
)


def real_minutes(zone: str, after_s: int, days: int = 4) -> list[tuple[int, datetime]]:
    """Return each minute after a moment, with what the zone's clocks show."""
    first = after_s - after_s % 60 + 60
    tz = ZoneInfo(zone)
    return [(s, datetime.fromtimestamp(s, tz)) for s in range(first, first + days * 86400, 60)]


@given(places, st.sets(st.integers(0, 23), min_size=1, max_size=5))
def test_what_recurs_follows_real_time(place: tuple[str, int], hours: set[int]) -> None:
    """`*/n` in the minutes: every real minute whose clock shows a fitting time has its run, no other has."""
    zone, after_s = place
    hours_field = ",".join(map(str, sorted(hours)))
    cron = f"*/20 {hours_field} * * *"
    fitting = [s for s, local in real_minutes(zone, after_s) if local.hour in hours and local.minute % 20 == 0]
    found = next_after(cron, zone, after_s * 1000)
    assert found is not None
    assert [found // 1000] == fitting[:1]


@given(places, st.integers(0, 23), st.integers(0, 59))
def test_a_fixed_time_comes_once_each_day(place: tuple[str, int], hour: int, minute: int) -> None:
    """Also where clocks change: at the first moment after a gap that swallows it, and not again in an hour that comes twice."""
    zone, after_s = place
    tz, at, days = ZoneInfo(zone), after_s * 1000, []
    for _ in range(4):
        following = next_after(f"{minute} {hour} * * *", zone, at)
        assert following is not None and following > at
        local, at = datetime.fromtimestamp(following / 1000, tz), following
        days.append(local.date())
        wanted = datetime(local.year, local.month, local.day, hour, minute, tzinfo=tz)
        exists = wanted.astimezone(UTC).astimezone(tz) == wanted
        if exists:
            assert local == wanted and local.fold == 0
        else:
            before = datetime.fromtimestamp(following / 1000 - 60, tz)
            assert before.utcoffset() != local.utcoffset(), "the first moment after the gap"
    assert days == [days[0] + timedelta(days=n) for n in range(4)]


@given(places, st.integers(0, 86400))
def test_the_next_time_depends_on_nothing_but_the_present(place: tuple[str, int], later_s: int) -> None:
    """Whoever looks later, but before that time, finds the same one; so a restart changes nothing."""
    zone, after_s = place
    for cron in ("30 2 * * *", "*/15 * * * *", "0 */3 * * 1-5", "*/10 30 1 * * *"):
        found = next_after(cron, zone, after_s * 1000)
        assert found is not None
        between = min(after_s * 1000 + later_s * 1000, found - 1)
        assert next_after(cron, zone, between) == found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("30 2 * * *", "America/Chicago", "2026-03-08T07:00:00.000Z", ["03-08T08:00:00", "03-09T07:30:00"]),
        ("30 1 * * *", "America/Chicago", "2026-11-01T05:00:00.000Z", ["11-01T06:30:00", "11-02T07:30:00"]),
        ("0 30 2 * * *", "America/Chicago", "2026-03-08T07:00:00.000Z", ["03-08T08:00:00", "03-09T07:30:00"]),
        ("*/30 30 1 * * *", "America/Chicago", "2026-11-01T05:00:00.000Z", ["11-01T06:30:00", "11-01T06:30:30", "11-02T07:30:00"]),
        ("*/30 * * * *", "America/Chicago", "2026-11-01T06:00:00.000Z", ["11-01T06:30:00", "11-01T07:00:00", "11-01T07:30:00"]),
        ("15 */2 * * *", "Australia/Lord_Howe", "2026-04-04T13:30:00.000Z", ["04-04T15:45:00", "04-04T17:45:00"]),
        ("0 7 * * 1-5", "America/Chicago", "2026-11-20T15:00:00.000Z", ["11-23T13:00:00", "11-24T13:00:00"]),
        ("0 0 0 1 1 *", "UTC", "2026-01-01T00:00:00.000Z", []),
    ],
)  # fmt: skip
def test_known_days(cron: str, zone: str, after: str, expected: list[str]) -> None:
    """The days on which Chicago's and Lord Howe's clocks change, and ordinary ones."""
    at = parse_time(after)
    for wanted in expected:
        at = next_after(cron, zone, at) or 0
        assert format_time(at) == f"2026-{wanted}.000Z"
    if not expected:
        assert format_time(next_after(cron, zone, at) or 0) == "2027-01-01T00:00:00.000Z"


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_schedule_or_one_sentence(cron: str, tz: str) -> None:
    """Nothing else is ever raised."""
    for schedule in (Schedule(cron=cron), Schedule(cron="0 0 * * *", tz=tz)):
        said = "fine"
        try:
            check_schedule(schedule, now_ms=0)
        except InvalidValue as refusal:
            said = str(refusal)
        assert said == "fine" or said.startswith(("cron ", "tz "))


@given(st.text(alphabet="0123456789*/-,L#W ", max_size=20))
def test_what_is_taken_for_cron_fires_in_order(cron: str) -> None:
    """Each time is later than the one before."""
    try:
        check_schedule(Schedule(cron=cron), now_ms=0)
    except InvalidValue:
        return
    at = 0
    for _ in range(3):
        following = next_after(cron, "Europe/Berlin", at)
        if following is None:
            break
        assert following > at
        at = following


@given(
    next_in_s=st.none() | st.integers(-100_000, 200_000),
    queued=st.booleans(),
    enabled=st.booleans(),
    missed=st.sampled_from(["skip", "run_once"]),
    overlap=st.sampled_from(["skip", "queue"]),
    is_active=st.booleans(),
    may_start=st.booleans(),
    was_away=st.booleans(),
)
def test_every_decision_comes_to_rest(next_in_s: int | None, queued: bool, enabled: bool, missed: str, overlap: str,
                                      is_active: bool, may_start: bool, was_away: bool) -> None:  # fmt: skip
    """Carried out, decisions end within three; nothing starts beside an active run, against the policy, or while disabled."""
    now_ms = YEAR_S * 1000
    due = None if next_in_s is None else format_time(now_ms + next_in_s * 1000)
    queued_at = format_time(now_ms - DAY_MS) if queued else None
    schedule = Schedule(
        cron="*/10 * * * *", enabled=enabled, missed=missed, overlap=overlap, queued_at=queued_at, next_run_at=due
    )  # type: ignore[arg-type]
    starts = 0
    for _ in range(4):
        step = decide_schedule(schedule, now_ms=now_ms, is_active=is_active, may_start=may_start, was_away=was_away)
        if step is None:
            break
        assert enabled
        if step.what == "start":
            assert not is_active and may_start
            starts, is_active = starts + 1, True
        if step.what == "skip":
            assert step.schedule.last_skip_reason in ("missed", "overlap", "blocked")
        schedule = step.schedule
    else:
        raise AssertionError("it never comes to rest")
    assert starts <= 1
    if enabled:
        assert now_ms < parse_time(str(schedule.next_run_at)) <= now_ms + DAY_MS + 600_000

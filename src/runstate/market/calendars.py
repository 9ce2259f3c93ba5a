"""Which days are traded: Monday to Friday, or the sessions of a named exchange.

The only file that knows the package exchange_calendars (optional, pulls pandas). Calendars are built for the span
asked for, never for "now". To import the package and build one takes longer than to find that nothing changed, so the
analyzer's manifest keeps the days: the same calendar of the same version over the same span is not built again.

Where MARKET.md is silent: on a day that the exchange closes early, the session's close is that time if it is earlier;
a late open changes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

from runstate.market.failures import ConfigError, MarketError
from runstate.market.folder import Json
from runstate.market.settings import Config, Session

# The next trade day after the last one asked for must be inside the span; the longest closures of an exchange
# (Lunar New Year, Golden Week) are shorter than this.
_BEYOND = timedelta(days=21)
_FRIDAY = 4


@dataclass(frozen=True, slots=True)
class TradeDays:
    """The trade days of a span and the one after it."""

    days: Sequence[date]  #: Ascending; at least the day after the span.
    early_close_us: Mapping[date, int] = field(default_factory=dict)  #: Microseconds since the epoch.
    made_of: tuple[str, ...] = ()  #: Calendar, version of the package, first and last day asked for; none: weekdays.

    def between(self, first: date, last: date) -> list[tuple[date, date]]:
        """Return each trade day from `first` to `last` with the trade day that follows it."""
        return [(day, following) for day, following in pairwise(self.days) if first <= day <= last]

    def to_json(self) -> Json:
        """Return everything, for the manifest."""
        return {
            "made_of": list(self.made_of),
            "days": [str(day) for day in self.days],
            "early_close_us": {str(day): at for day, at in self.early_close_us.items()},
        }


def days_from_json(entries: Iterable[Mapping[str, Any]]) -> list[TradeDays]:
    """Return what `TradeDays.to_json` made.

    Raises:
        KeyError, TypeError, ValueError: They are not that.
    """
    return [
        TradeDays(
            days=[date.fromisoformat(day) for day in entry["days"]],
            early_close_us={date.fromisoformat(day): int(at) for day, at in entry["early_close_us"].items()},
            made_of=tuple(entry["made_of"]),
        )
        for entry in entries
    ]


def trade_days(
    config: Config, spans: Sequence[tuple[Session, date, date]], known: Sequence[TradeDays] = ()
) -> dict[str, TradeDays]:
    """Return by session name the trade days of all its spans and at least one more.

    A calendar is built once, for all who ask: that takes longer than to analyse a year.

    Args:
        config: Named in messages.
        spans: A session, and the first and last day that somebody wants of it.
        known: Of earlier runs.

    Raises:
        ConfigError: There is no calendar of that name.
        MarketError: The calendar does not reach that far, or the package is missing.
    """
    asked: dict[str | None, list[tuple[Session, date, date]]] = {}
    for span in spans:
        asked.setdefault(span[0].calendar, []).append(span)
    found = {}
    for calendar, mine in asked.items():
        first, last = min(span[1] for span in mine), max(span[2] for span in mine)
        if calendar is None:
            days = TradeDays(_mondays_to_fridays(first, last + _BEYOND))
        else:
            made_of = (calendar, _version(), str(first), str(last))
            of_old = (days for days in known if days.made_of == made_of)
            days = next(of_old, None) or _exchange_days(mine[0][0], config, first, last, made_of)
        found.update({session.name: days for session, _, _ in mine})
    return found


def _mondays_to_fridays(first: date, last: date) -> list[date]:
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [day for day in days if day.weekday() <= _FRIDAY]


def _version() -> str:
    try:
        return version("exchange_calendars")
    except PackageNotFoundError:
        return "none"  # then it cannot be imported either, and that has its sentence


def _exchange_days(session: Session, config: Config, first: date, last: date, made_of: tuple[str, ...]) -> TradeDays:
    where = f"{config.file}:{session.calendar_line}"
    # pandas 3 warns about what exchange_calendars 4.13 does inside; neither is the user's to mend.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import exchange_calendars  # 1.5 s and an extra: only for who names a calendar
        except ModuleNotFoundError:
            raise MarketError(
                f"{where}: calendar '{session.calendar}' needs the package exchange_calendars; "
                'run pip install "runstate[market]"',
                code="no_calendar",
            ) from None
        try:
            calendar = exchange_calendars.get_calendar(
                session.calendar, start=first - timedelta(days=7), end=last + _BEYOND
            )
        except exchange_calendars.errors.InvalidCalendarName:
            raise ConfigError(
                f"{where}: exchange_calendars has no calendar '{session.calendar}'; "
                "use a name such as XNYS, CMES or 24/7, or leave calendar out for Monday to Friday"
            ) from None
        except ValueError as error:
            raise MarketError(
                f"{where}: calendar '{session.calendar}' does not cover {first} to {last}: {error}",
                code="no_calendar",
            ) from None
        days = [day.date() for day in calendar.sessions]
        early = {day.date(): calendar.session_close(day).value // 1000 for day in calendar.early_closes}
        return TradeDays(days, early, made_of)

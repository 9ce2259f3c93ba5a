"""Trade days are those of the named exchange, or Monday to Friday."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from runstate.market.calendars import TradeDays, trade_days
from runstate.market.config import load_config
from runstate.market.failures import ConfigError, MarketError
from runstate.market.settings import Config
from tests.market.world import write_project


@pytest.fixture
def config_with(tmp_path):
    """Return a configuration whose session names a calendar."""

    def make(calendar: str | None) -> Config:
        path = write_project(tmp_path, {})
        if calendar is not None:
            path.write_text(path.read_text().replace('name = "S1"', f'name = "S1"\ncalendar = "{calendar}"'))
        return load_config(path)

    return make


def days(config: Config, first: date, last: date) -> list[tuple[date, date]]:
    return trade_days(config, [(config.sessions[0], first, last)])["S1"].between(first, last)


def test_without_a_calendar_friday_is_followed_by_monday(config_with):
    """Also over a holiday: nobody named one."""
    thursday, friday, monday = date(2011, 1, 13), date(2011, 1, 14), date(2011, 1, 17)

    assert days(config_with(None), thursday, date(2011, 1, 16)) == [(thursday, friday), (friday, monday)]


def test_an_exchange_s_holiday_is_no_trade_day(config_with):
    """Martin Luther King's day, Monday 2011-01-17: Friday's trades run until Tuesday."""
    found = days(config_with("XNYS"), date(2011, 1, 14), date(2011, 1, 18))

    assert found == [(date(2011, 1, 14), date(2011, 1, 18)), (date(2011, 1, 18), date(2011, 1, 19))]


def test_a_market_that_never_closes_trades_on_sundays(config_with):
    assert days(config_with("24/7"), date(2011, 1, 16), date(2011, 1, 16)) == [(date(2011, 1, 16), date(2011, 1, 17))]


def test_days_of_another_span_or_version_are_not_taken_for_these(config_with):
    config = config_with("XNYS")
    span = config.sessions[0], date(2011, 1, 14), date(2011, 1, 18)
    right = trade_days(config, [span])["S1"]
    name, version, first, last = right.made_of

    for made_of in ((name, version, first, "2011-01-19"), (name, "0", first, last), ("CMES", version, first, last)):
        assert trade_days(config, [span], [TradeDays([date(2011, 1, 17)], {}, made_of)])["S1"] == right


def test_an_early_close_is_known(config_with):
    """The day after Thanksgiving ends at 13:00 in New York."""
    config = config_with("XNYS")

    found = trade_days(config, [(config.sessions[0], date(2011, 11, 21), date(2011, 11, 28))])["S1"]

    close = datetime(2011, 11, 25, 18, tzinfo=UTC)
    assert dict(found.early_close_us) == {date(2011, 11, 25): int(close.timestamp()) * 1_000_000}


def test_an_unknown_calendar_is_refused_with_its_line(config_with, tmp_path):
    config = config_with("NYSE-ISH")

    with pytest.raises(ConfigError) as refused:
        days(config, date(2011, 1, 3), date(2011, 1, 4))

    assert str(refused.value) == (
        f"{tmp_path / 'market.toml'}:19: exchange_calendars has no calendar 'NYSE-ISH'; "
        "use a name such as XNYS, CMES or 24/7, or leave calendar out for Monday to Friday"
    )


def test_a_calendar_that_does_not_reach_that_far_says_so(config_with):
    with pytest.raises(MarketError, match="calendar 'XHKG' does not cover 1950-01-03 to 1950-01-04"):
        days(config_with("XHKG"), date(1950, 1, 3), date(1950, 1, 4))

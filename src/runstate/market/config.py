"""The configuration: one TOML file, parsed once into the values of settings.py.

Every mistake is one sentence that begins with `file:line:`. Paths count from the file's folder. The defaults:
`out = "out"`, `on_bad_file = "quarantine"`, `scale = 1`, an instrument's `tz = "UTC"`, a session's `instruments` =
all of them, no calendar = Monday to Friday. Whether a calendar of that name exists is found out by the analyzer.

Where MARKET.md is silent:
- A day begins and ends at local midnight, so `start < slot < close` must hold on the clock; close may be "24:00".
- An interval divides the day: 1s … 12h, 1d.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Literal, cast
from zoneinfo import ZoneInfo

from runstate.market.failures import ConfigError, MarketError
from runstate.market.fields import Table
from runstate.market.settings import Clock, Config, Custom, Instrument, Interval, Session, Source
from runstate.toml_lines import find_lines

DIALECTS = (
    "ninjatrader", "metatrader", "dukascopy", "lean", "binance-kline", "cryptodatadownload", "iso", "custom",
)  # fmt: skip
SELF_NAMING = ("lean", "binance-kline", "cryptodatadownload")  #: Their files say which instrument they hold.
DAY_S = 86_400

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INTERVAL = re.compile(r"([1-9][0-9]*)([smhd])")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_COLUMNS = ("timestamp", "date", "time", "open", "high", "low", "close", "volume", "-")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}


def load_config(file: Path) -> Config:
    """Return the configuration in `file`.

    Raises:
        ConfigError: It cannot be read, is not TOML, or says something it must not; nothing was written.
        MarketError: A session names a calendar and exchange_calendars is not installed.
    """
    try:
        text = file.read_bytes().decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{file}:1: the file is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file}: the configuration cannot be read ({error.strerror}); check the path") from None
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        at = line.group(1) if line else str(text.count("\n") + 1)
        raise ConfigError(f"{file}:{at}: this is not TOML: {error}") from None
    return _config(file, Table(file, find_lines(text), (), values))


def _config(file: Path, table: Table) -> Config:
    out = file.parent / table.text("out", "out")
    as_of_us = table.instant_us("as_of")
    instruments = {k: _instrument(k, t) for k, t in table.named_tables("instrument").items()}
    sources = tuple(_source(t, instruments) for t in table.tables("source"))
    named = [source.instrument for source in sources]
    fed = None if None in named else tuple(sorted({name for name in named if name is not None}))
    sessions: dict[str, Session] = {}
    for session_table in table.tables("session"):
        session = _session(session_table, instruments, fed)
        if session.name in sessions:
            session_table.fail(f"there is a session '{session.name}' already; rename one", "name")
        sessions[session.name] = session
    table.done()
    return Config(file, out, as_of_us, sources, instruments, tuple(sessions.values()))


def _instrument(name: str, table: Table) -> Instrument:
    if not _FILE_NAME.fullmatch(name):
        table.fail(f"instrument name '{name}' becomes a file name; use letters, digits, . _ -")
    tick = table.number_above_zero("tick")
    target = table.number_above_zero("target")
    target_ticks = int((target / tick).to_integral_value(ROUND_HALF_UP))
    if target_ticks < 1:
        table.fail(f"target {target} is less than one tick of {tick}; raise it", "target")
    scale = table.number_above_zero("scale", Decimal(1))
    tz = _tz(table, "UTC")
    table.done()
    return Instrument(name, tick, target_ticks, scale, tz)


def _source(table: Table, instruments: dict[str, Instrument]) -> Source:
    files = table.text("files")
    dialect = table.text("dialect")
    if dialect not in DIALECTS:
        table.fail(f"there is no dialect '{dialect}'; use {', '.join(DIALECTS[:-1])} or {DIALECTS[-1]}", "dialect")
    instrument = table.optional_text("instrument") if dialect in SELF_NAMING else table.text("instrument")
    if instrument is not None and instrument not in instruments:
        table.fail(f"instrument '{instrument}' has no [instrument.{instrument}]; add one", "instrument")
    custom = _custom(table.sub_table("custom")) if dialect == "custom" else None
    divisor = (
        float(table.number_above_zero("price_divisor")) if dialect == "lean" and table.has("price_divisor") else None
    )
    source = Source(
        files=files,
        dialect=dialect,
        instrument=instrument,
        interval=_interval(table),
        tz=_tz(table, None),
        stamp=cast(Literal["open", "close"], table.choice("stamp", ("open", "close"))),
        on_bad_file=cast(
            Literal["quarantine", "fail"],
            table.choice("on_bad_file", ("quarantine", "fail"), "quarantine"),
        ),
        line=table.line_of("files"),
        custom=custom,
        price_divisor=divisor,
    )
    table.done()
    return source


def _custom(table: Table) -> Custom:
    columns = table.column_names("columns")
    for name in columns:
        if name not in _COLUMNS:
            table.fail(f"there is no column '{name}'; use {', '.join(_COLUMNS)}", "columns")
        if name != "-" and columns.count(name) > 1:
            table.fail(f"columns in {table.name} names '{name}' twice; write it once", "columns")
    stamp = {name for name in columns if name in ("timestamp", "date", "time")}
    if stamp not in ({"timestamp"}, {"date", "time"}) or not {"open", "high", "low", "close"} <= set(columns):
        table.fail("columns must name timestamp, or date and time, and open, high, low, close", "columns")
    separator = table.text_of_one("separator", ",")
    epoch = cast(
        Literal["s", "ms", "us"] | None, table.choice("epoch", ("s", "ms", "us")) if table.has("epoch") else None
    )
    form = table.optional_text("format")
    if (form is None) == (epoch is None):
        table.fail(f'{table.name} needs either format = "%Y-%m-%d %H:%M:%S" or epoch = "ms", not both')
    if epoch is not None and "timestamp" not in stamp:
        table.fail("an epoch stands in one column; name it timestamp", "columns")
    custom = Custom(
        columns=columns,
        separator=separator,
        format=form,
        epoch=epoch,
        skip_lines=table.count("skip_lines", 0),
        decimal_comma=table.flag("decimal_comma", default=False),
        price_divisor=float(table.number_above_zero("price_divisor", Decimal(1))),
    )
    if custom.decimal_comma and separator == ",":
        table.fail("a comma cannot be both separator and decimal sign; correct one", "decimal_comma")
    table.done()
    return custom


def _session(table: Table, instruments: dict[str, Instrument], fed: tuple[str, ...] | None) -> Session:
    name = table.text("name")
    if not _FILE_NAME.fullmatch(name):
        table.fail(f"session name '{name}' must consist of letters, digits, . _ -", "name")
    start, close = _clock(table, "start"), _clock(table, "close")
    slots = sorted((_to_clock(table, "slots", s) for s in table.texts("slots")), key=lambda s: s.minute)
    if not start.minute < slots[0].minute:
        table.fail(f"slot {slots[0].text} does not end after the start {start.text}", "slots")
    if not slots[-1].minute < close.minute:
        table.fail(f"slot {slots[-1].text} does not end before the close {close.text}", "slots")
    traded = table.texts("instruments") if table.has("instruments") else None
    for instrument in traded or ():
        if instrument not in instruments:
            table.fail(f"'{instrument}' has no [instrument.{instrument}]; add one", "instruments")
        if fed is not None and instrument not in fed:
            table.fail(f"'{instrument}' has no [[source]]; add one or drop it here", "instruments")
    calendar = table.optional_text("calendar")
    if calendar is not None and importlib.util.find_spec("exchange_calendars") is None:
        raise MarketError(
            f"{table.place('calendar')}: calendar '{calendar}' needs the package exchange_calendars; "
            'run pip install "runstate[market]"',
            code="no_calendar",
        )
    line = table.line_of("calendar")
    session = Session(name, _tz(table, None), start, tuple(slots), close, calendar, line, traded)
    table.done()
    return session


def _tz(table: Table, default: str | None) -> str:
    name = table.text("tz", default)
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        table.fail(f"'{name}' is no time zone; use a name such as America/New_York or UTC", "tz")
    return name


def _interval(table: Table) -> Interval:
    text = table.text("interval")
    interval = to_interval(text)
    if interval is None:
        table.fail(f"interval '{text}' must be a number and s, m, h or d, such as 1m", "interval")
    if interval.seconds > DAY_S or DAY_S % interval.seconds:
        table.fail(f"interval '{text}' does not divide a day; use one that does", "interval")
    return interval


def to_interval(text: str) -> Interval | None:
    """Return `1m` as an interval, None when it is none."""
    match = _INTERVAL.fullmatch(text)
    return Interval(text, int(match.group(1)) * _UNIT_S[match.group(2)]) if match else None


def _clock(table: Table, key: str) -> Clock:
    return _to_clock(table, key, table.text(key))


def _to_clock(table: Table, key: str, text: str) -> Clock:
    if key == "close" and text == "24:00":
        return Clock(text, 24 * 60)
    match = _CLOCK.fullmatch(text)
    if match is None:
        table.fail(f"'{text}' is no time of day; write HH:MM, such as 09:30", key)
    return Clock(text, int(match.group(1)) * 60 + int(match.group(2)))

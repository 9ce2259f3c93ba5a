"""A configuration that can be used is read; any other is refused in one sentence naming file and line."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest

from runstate.market.config import load_config
from runstate.market.failures import ConfigError, MarketError

CONTRACT = """\
out = "out"                    # relative to this file
as_of = "2011-04-01T00:00:00Z" # optional; default: the last bar's close

[[source]]
files = "raw/nt-spy-*.csv"     # glob
dialect = "ninjatrader"
instrument = "SPY"             # lean and other self-naming dialects may leave it out
interval = "1m"
tz = "UTC"                     # the clock of the stamps
stamp = "close"                # open | close
on_bad_file = "quarantine"     # quarantine | fail

[instrument.SPY]
tick = 0.01
target = 1.0
tz = "America/New_York"        # trading day

[[session]]
name = "S1"                    # stream = instrument + trailing digits of the name, here SPY1
tz = "America/New_York"
start = "09:30"
slots = ["10:00", "11:00"]     # slot ends
close = "16:00"
calendar = "XNYS"              # exchange_calendars name, or omit: Monday to Friday
instruments = ["SPY"]
"""


@pytest.fixture
def load(tmp_path):
    """Write a text as `market.toml` and load it."""

    def write_and_load(text: str):
        file = tmp_path / "market.toml"
        file.write_bytes(text.encode())
        return load_config(file)

    return write_and_load


def test_the_configuration_of_the_contract_works_as_it_is(load, tmp_path):
    config = load(CONTRACT)

    (source,), (session,) = config.sources, config.sessions
    assert config.out == tmp_path / "out"
    assert config.as_of_us == 1_301_616_000_000_000
    assert (source.dialect, source.interval.seconds, source.stamp) == ("ninjatrader", 60, "close")
    assert (config.instruments["SPY"].tick, config.instruments["SPY"].target_ticks) == (Decimal("0.01"), 100)
    assert config.instruments["SPY"].scale == 1
    assert [slot.minute for slot in session.slots] == [600, 660]
    assert session.stream("SPY") == "SPY1"


def test_what_has_a_default_may_be_left_out(load, tmp_path):
    """No calendar means Monday to Friday; no list of instruments means all that have a source."""
    drop = ("out =", "as_of", "on_bad_file", "calendar", "instruments")
    config = load("\n".join(line for line in CONTRACT.splitlines() if not line.startswith(drop)))

    assert config.out == tmp_path / "out"
    assert config.as_of_us is None
    assert config.sources[0].on_bad_file == "quarantine"
    assert (config.sessions[0].calendar, config.sessions[0].instruments) == (None, None)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_an_instant_may_be_toml_s_own_and_lines_may_end_as_windows_ends_them(load, line_end):
    text = CONTRACT.replace('"2011-04-01T00:00:00Z"', "2011-03-31T20:00:00-04:00").replace("\n", line_end)

    assert load(text).as_of_us == 1_301_616_000_000_000


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ('dialect = "ninjatrader"', 'dialect = "excel"', 6,
         "there is no dialect 'excel'; use ninjatrader, metatrader, dukascopy, lean, binance-kline, "
         "cryptodatadownload, iso or custom"),
        ('dialect = "ninjatrader"', 'dialect = "custom"', 4, "[[source]] has no 'custom'; add [source.custom]"),
        ('dialect = "ninjatrader"', 'dialect = "ninjatrader"\nprice_divisor = 2', 7,
         "unknown key 'price_divisor' in [[source]]; known keys: dialect, files, instrument, interval, on_bad_file, "
         "stamp, tz"),
        ("tick = 0.01", "tik = 0.01", 14, "unknown key 'tik' in [instrument.SPY]; did you mean 'tick'?"),
        ("tick = 0.01", "", 13, "[instrument.SPY] has no 'tick'; add tick = …"),
        ("target = 1.0", "target = 1.0\nscael = 2", 16,
         "unknown key 'scael' in [instrument.SPY]; did you mean 'scale'?"),
        ('out = "out" ', 'colour = "red" ', 1,
         "unknown key 'colour' in the file; known keys: as_of, instrument, out, session, source"),
        ('instruments = ["SPY"]', 'instruments = ["SPY"]\nx = 1', 26,
         "unknown key 'x' in [[session]]; known keys: calendar, close, instruments, name, slots, start, tz"),
        ('dialect = "ninjatrader"', "", 4, "[[source]] has no 'dialect'; add dialect = …"),
        ('files = "raw/nt-spy-*.csv" ', "files = 3 ", 5, "files in [[source]] must be a text, here is 3"),
        ("tick = 0.01", 'tick = "0.01"', 14, "tick in [instrument.SPY] must be a number above 0, here is '0.01'"),
        ("tick = 0.01", "tick = 0", 14, "tick in [instrument.SPY] must be a number above 0, here is 0"),
        ("tick = 0.01", "tick = true", 14, "tick in [instrument.SPY] must be a number above 0, here is true"),
        ("tick = 0.01", "tick = inf", 14, "tick in [instrument.SPY] must be a number above 0, here is Infinity"),
        ("target = 1.0", "target = 0.001", 15, "target 0.001 is less than one tick of 0.01; raise it"),
        ('tz = "UTC" ', 'tz = "EST/Nowhere" ', 9,
         "'EST/Nowhere' is no time zone; use a name such as America/New_York or UTC"),
        ('tz = "UTC" ', 'tz = "../UTC" ', 9,
         "'../UTC' is no time zone; use a name such as America/New_York or UTC"),
        ('stamp = "close"', 'stamp = "closed"', 10, "stamp in [[source]] is 'closed'; use open or close"),
        ('on_bad_file = "quarantine"', 'on_bad_file = "skip"', 11,
         "on_bad_file in [[source]] is 'skip'; use quarantine or fail"),
        ('interval = "1m"', 'interval = "1min"', 8,
         "interval '1min' must be a number and s, m, h or d, such as 1m"),
        ('interval = "1m"', 'interval = "7m"', 8, "interval '7m' does not divide a day; use one that does"),
        ('start = "09:30"', 'start = "9:30"', 21, "'9:30' is no time of day; write HH:MM, such as 09:30"),
        ('start = "09:30"', 'start = "10:00"', 22, "slot 10:00 does not end after the start 10:00"),
        ('close = "16:00"', 'close = "11:00"', 22, "slot 11:00 does not end before the close 11:00"),
        ('"11:00"]', '"10:00"]', 22, "slots in [[session]] names '10:00' twice; write it once"),
        ('"11:00"]', "11]", 22, "slots in [[session]] must be a list of texts, here is a list"),
        ('slots = ["10:00", "11:00"]', "slots = []", 22,
         "slots in [[session]] must be a list of texts with at least one entry, here is a list"),
        ('instruments = ["SPY"]', 'instruments = ["QQQ"]', 25, "'QQQ' has no [instrument.QQQ]; add one"),
        ('instrument = "SPY" ', 'instrument = "QQQ" ', 7, "instrument 'QQQ' has no [instrument.QQQ]; add one"),
        ('instruments = ["SPY"]', 'instruments = ["SPY"]\n[[session]]\nname = "S1"\ntz = "UTC"\nstart = "09:00"\n'
         'slots = ["10:00"]\nclose = "11:00"', 27, "there is a session 'S1' already; rename one"),
        ('name = "S1" ', 'name = "S/1" ', 19, "session name 'S/1' must consist of letters, digits, . _ -"),
        ('"2011-04-01T00:00:00Z"', '"2011-04-01T00:00:00"', 2,
         "as_of in the file has no time zone; add Z or an offset"),
        ('"2011-04-01T00:00:00Z"', '"soon"', 2,
         "as_of in the file must be an instant such as \"2011-04-01T00:00:00Z\", here is 'soon'"),
        ('"2011-04-01T00:00:00Z"', "5", 2,
         'as_of in the file must be an instant such as "2011-04-01T00:00:00Z", here is 5'),
        ('out = "out" ', 'out = " " ', 1, "out in the file must be a text, here is ' '"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_line(load, tmp_path, old, new, line, sentence):
    assert old in CONTRACT

    with pytest.raises(ConfigError) as refused:
        load(CONTRACT.replace(old, new, 1))

    assert str(refused.value) == f"{tmp_path / 'market.toml'}:{line}: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ":1: the file has no 'instrument'; add at least one [instrument.NAME]"),
        ("[instrument]\nSPY = 3", ":2: instrument must hold tables, here is 3"),
        ("instrument = 3", ":1: instrument in the file must be written as [instrument.NAME], here is 3"),
        ('[instrument.X]\ntick = 1\ntarget = 1\n[source]\nfiles = "x"',
         ":4: source in the file must be written as [[source]], here is a table"),
        ('[instrument."A/B"]\ntick = 1\ntarget = 1',
         ":1: instrument name 'A/B' becomes a file name; use letters, digits, . _ -"),
        ("a = 1\nb = \n", ":2: this is not TOML: Invalid value (at line 2, column 5)"),
        ("a = 1\na = 2\n", ":2: this is not TOML: Cannot overwrite a value (at line 2, column 6)"),
        ("a = [1,", ":1: this is not TOML: Invalid value (at end of document)"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused(load, tmp_path, text, sentence):
    with pytest.raises(ConfigError) as refused:
        load(text)

    assert str(refused.value) == f"{tmp_path / 'market.toml'}{sentence}"


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"x\.toml:1: the file is not UTF-8 text; save it as UTF-8"):
        load_config(tmp_path / "x.toml")
    with pytest.raises(ConfigError, match=r"y\.toml: the configuration cannot be read \(No such file"):
        load_config(tmp_path / "y.toml")


def test_an_instrument_without_source_cannot_be_traded(load):
    text = CONTRACT.replace("[[session]]", "[instrument.QQQ]\ntick = 0.01\ntarget = 1\n[[session]]")

    with pytest.raises(ConfigError, match=r"'QQQ' has no \[\[source\]\]; add one or drop it here"):
        load(text.replace('["SPY"]', '["SPY", "QQQ"]'))


def test_a_calendar_without_its_package_names_what_to_install(load, tmp_path, monkeypatch):
    """The package is optional; who names a calendar learns at once what to install."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "site-packages" not in p])
    for name in [name for name in sys.modules if name.split(".")[0] == "exchange_calendars"]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(MarketError) as refused:
        load(CONTRACT)

    assert str(refused.value) == (
        f"{tmp_path / 'market.toml'}:24: calendar 'XNYS' needs the package exchange_calendars; "
        'run pip install "runstate[market]"'
    )

"""Every table and key of a TOML text has the line where it stands."""

from __future__ import annotations

from runstate.toml_lines import find_lines

TEXT = """\
out = "x" # = y
[[source]]
files = "a#b"
"dialect" = 'iso'

[[source]]
files = "[not]"

[instrument."SPY"]
tick = 0.01
text = \"\"\"
[session]
tz = "no"
\"\"\"
slots = [
  "10:00", # [
  "11:00",
]
target = 1.0
[instrument.ES.more]
a.b = 1
"""


def test_tables_and_keys_have_their_lines():
    lines = find_lines(TEXT)

    assert lines.of(("out",)) == 1
    assert lines.of(("source", 0)) == 2
    assert lines.of(("source", 0, "dialect")) == 4
    assert lines.of(("source", 1)) == 6
    assert lines.of(("source", 1, "files")) == 7
    assert lines.of(("instrument", "SPY", "tick")) == 10
    assert lines.of(("instrument", "SPY", "slots")) == 15
    assert lines.of(("instrument", "SPY", "target")) == 19
    assert lines.of(("instrument", "ES", "more", "a", "b")) == 21


def test_what_is_inside_a_long_text_is_no_table():
    lines = find_lines(TEXT)

    assert ("session",) not in lines.by_path
    assert lines.of(("session", "tz")) == 1


def test_what_has_no_line_has_that_of_the_table_around_it():
    """A missing key is reported where its table begins; keys of an inline table where that stands."""
    assert find_lines(TEXT).of(("source", 1, "tz")) == 6
    assert find_lines("a = 1\nb = { c = 2 }\n").of(("b", "c")) == 2

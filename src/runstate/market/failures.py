"""What the market stages refuse to do, as one sentence: what, where, what to do.

MarketError            the stage fails and no retry can help; `pipeline.py` turns it into `Fatal`
└── ConfigError        the configuration says something it must not; names file and line
BadFile                one input file is not what its source declares; quarantined, or a MarketError
                       when the source says on_bad_file = "fail"
Stopped                somebody asked the run to stop; the work so far stands, file by file
"""

from __future__ import annotations

from enum import StrEnum


class MarketError(Exception):
    """A stage cannot do its work; the text is a sentence for the person who runs it."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code  #: Stable word: bad_config, bad_input, no_input, no_calendar, damaged, in_use.


class ConfigError(MarketError):
    """The configuration is wrong; nothing was read or written."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, code="bad_config")


class Stopped(Exception):
    """The run was asked to stop between two items."""


class FileFault(StrEnum):
    """Why a whole file is quarantined."""

    UNREADABLE_ARCHIVE = "unreadable_archive"  #: A .gz or .zip that does not open, or holds too many files.
    NOT_TEXT = "not_text"  #: Not UTF-8.
    WRONG_HEADER = "wrong_header"  #: The first line does not name the dialect's columns.
    NOT_THE_DIALECT = "not_the_dialect"  #: More than half of the rows do not parse.
    REPEATED_FILE = "repeated_file"  #: The content of another file again, byte by byte.
    WRONG_NAME = "wrong_name"  #: A self-naming dialect whose name does not say what it must.
    UNKNOWN_INSTRUMENT = "unknown_instrument"  #: The file names an instrument that the configuration does not.
    MIXED_KINDS = "mixed_kinds"  #: Quotes of an instrument beside its trades.
    CHANGED_WHILE_READ = "changed_while_read"  #: Somebody is still writing it.


class RowFault(StrEnum):
    """Why one row is quarantined. In this order: a row gets the first that applies."""

    UNPARSEABLE = "unparseable"  #: Wrong number of fields, or a stamp or number that is none.
    NONEXISTENT_TIME = "nonexistent_time"  #: The clock was put forward over this local time.
    AMBIGUOUS_TIME = "ambiguous_time"  #: The clock showed this local time twice.
    OHLC_ORDER = "ohlc_order"  #: high < max(open, close) or low > min(open, close).
    NEGATIVE_VOLUME = "negative_volume"
    OFF_INTERVAL = "off_interval"  #: Not a whole number of intervals after local midnight.
    DUPLICATE = "duplicate"  #: The stamp and values of an earlier row again; the earlier one stays.
    CONFLICT = "conflict"  #: The same stamp with other values; none of them stays.
    REPEATED_DAY = "repeated_day"  #: All times and values of an earlier trading day again.


class BadFile(Exception):
    """A file is not what its source declares.

    Attributes:
        fault: The typed reason.
        line: Where it shows, from 1.
        sentence: What is wrong, without the file's name.
    """

    def __init__(self, fault: FileFault, line: int, sentence: str) -> None:
        super().__init__(sentence)
        self.fault, self.line, self.sentence = fault, line, sentence

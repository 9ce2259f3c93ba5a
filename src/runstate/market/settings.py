"""What a configuration says, as values that cannot be wrong any more; config.py makes them.

A future's expiry is an instrument of its own, `ES201312`; it has the settings of `[instrument.ES201312]` if there is one,
else of `[instrument.ES]`, and a session that trades ES trades its expiries. Sessions whose names end in the same digits
share a stream; the key of a result holds the session as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

_EXPIRY = re.compile(r"[0-9]{6}(?:[0-9]{2})?")


@dataclass(frozen=True, slots=True)
class Interval:
    """The length of a bar."""

    text: str  #: As written, and as in file names: `1m`.
    seconds: int  #: Divides a day.


@dataclass(frozen=True, slots=True)
class Custom:
    """A layout spelled out: `[source.custom]`."""

    columns: tuple[
        str, ...
    ]  #: timestamp (or date and time), open, high, low, close, volume, or "-" for what is ignored.
    separator: str
    format: str | None  #: Of the stamp, as strftime writes it; date and time are joined by a space.
    epoch: Literal["s", "ms", "us"] | None  #: Instead of a format: a count since 1970.
    skip_lines: int  #: Lines before the first row, blank ones not counted.
    decimal_comma: bool
    price_divisor: float


@dataclass(frozen=True, slots=True)
class Source:
    """Raw files of one kind."""

    files: str  #: A glob, relative to the configuration's folder.
    dialect: str
    instrument: str | None  #: None: the files name it.
    interval: Interval
    tz: str  #: The clock of the stamps.
    stamp: Literal["open", "close"]  #: Which side of the bar the stamp is.
    on_bad_file: Literal["quarantine", "fail"]
    line: int  #: Of `files` in the configuration, for messages.
    custom: Custom | None = None  #: For the dialect of that name.
    price_divisor: float | None = None  #: For lean: what prices are divided by; None: what its folder says.


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded."""

    name: str
    tick: Decimal  #: Smallest price step.
    target_ticks: int  #: Distance of the target from the entry, at least 1.
    scale: Decimal  #: Profit per unit of price.
    tz: str  #: Whose calendar date is the trading day.


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day."""

    text: str  #: `HH:MM`.
    minute: int  #: After local midnight, 0 … 1440.


@dataclass(frozen=True, slots=True)
class Session:
    """When a day's opening range is taken and traded, in the session's own zone."""

    name: str
    tz: str
    start: Clock
    slots: tuple[Clock, ...]  #: Slot ends, ascending.
    close: Clock
    calendar: str | None  #: A name of exchange_calendars; None: Monday to Friday.
    calendar_line: int
    instruments: tuple[str, ...] | None  #: None: all that have bars.

    def trades(self, instrument: str) -> bool:
        """Return whether the session is about `instrument`, an expiry included."""
        if self.instruments is None:
            return True
        return any(instrument == name or _is_expiry_of(instrument, name) for name in self.instruments)

    def stream(self, instrument: str) -> str:
        """Return the instrument with the session's trailing digits: SPY and S1 give SPY1."""
        digits = re.search(r"[0-9]*$", self.name)
        return instrument + (digits.group() if digits else "")


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    file: Path
    out: Path
    as_of_us: int | None  #: Microseconds since the epoch; None: each instrument's last bar's close.
    sources: tuple[Source, ...]
    instruments: dict[str, Instrument]
    sessions: tuple[Session, ...]

    @property
    def folder(self) -> Path:
        """What paths are relative to."""
        return self.file.parent

    def instrument(self, name: str) -> Instrument | None:
        """Return the settings of `name`, or of what it is an expiry of; None if there are none."""
        if name in self.instruments:
            return self.instruments[name]
        roots = [root for root in self.instruments if _is_expiry_of(name, root)]
        return replace(self.instruments[roots[0]], name=name) if roots else None


def _is_expiry_of(name: str, root: str) -> bool:
    return name.startswith(root) and _EXPIRY.fullmatch(name[len(root) :]) is not None

"""Suggests a source block for a raw file, and says what no file can tell: its clock and which side of a bar it stamps.

A dialect is suggested when most rows of the first block parse in it; the interval is the commonest distance between two
stamps; the tick is the greatest step that all prices are on. Nothing of it is ever used without being written down.
"""

from __future__ import annotations

import glob
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path, PurePosixPath

import polars as pl

from runstate.market.config import DIALECTS
from runstate.market.dialects import PRICES
from runstate.market.failures import BadFile
from runstate.market.inventory import Part, name_part
from runstate.market.rawfile import RawFile, hash_file
from runstate.market.rows import read_rows
from runstate.market.settings import Interval, Source

_TRIED = [dialect for dialect in DIALECTS if dialect != "custom"]
_INSTANTS = ("binance-kline",)  # epochs need no clock
_INTERVALS = {1: "1s", 60: "1m", 300: "5m", 900: "15m", 1800: "30m", 3600: "1h", 14400: "4h", 86400: "1d"}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a file looks like."""

    file: Path
    dialect: str | None  #: None: none fits.
    instrument: str | None  #: What the file names, if it does.
    interval: str | None
    tick: str | None
    has_own_clock: bool  #: Each stamp is an instant.
    first: str | None  #: First and last stamp, on the file's clock.
    last: str | None
    busiest_hour: str | None  #: On the file's clock, by volume.
    why_not: str | None  #: Why none fits.

    @property
    def root(self) -> str | None:
        """The instrument without an expiry."""
        return None if self.instrument is None else re.sub(r"(?<=[A-Za-z])[0-9]{6}(?:[0-9]{2})?$", "", self.instrument)

    def to_toml(self) -> str:
        """Return the block to paste, with what to find out as comments."""
        if self.dialect is None:
            return f"# {self.file}: {self.why_not}\n"
        clock = '"UTC"    # certain: each stamp says its instant' if self.has_own_clock else (
            '"?"      # cannot be known from the file: ask the vendor, or compare with a feed you trust'
        )  # fmt: skip
        lines = [
            f"# {self.file}: {self.first} to {self.last} on the file's clock",
            *([f"# busiest hour on the file's clock: {self.busiest_hour}"] if self.busiest_hour else []),
            "[[source]]",
            f"files = {self._pattern()}    # a glob for all files of this kind",
            f'dialect = "{self.dialect}"',
            f"# its files name their instrument, this one {self.instrument}"
            if self.instrument
            else 'instrument = "?"    # the file does not say',
            f'interval = "{self.interval or "?"}"' + ("" if self.interval else "    # too few rows to tell"),
            f"tz = {clock}",
            'stamp = "?"    # cannot be known from the file: "open" or "close" of a bar',
            "",
            f"[instrument.{self.root or 'NAME'}]",
            f"tick = {self.tick}    # the greatest step that all prices here are on; the exchange may say less",
            "target = 1.0    # yours to choose",
        ]
        return "\n".join(lines) + "\n"

    def _pattern(self) -> str:
        """Return a glob that matches the file, as TOML writes text."""
        return json.dumps(glob.escape(str(self.file)), ensure_ascii=False)


def sniff(file: Path) -> Suggestion:
    """Return what `file` looks like.

    Raises:
        MarketError: It cannot be read.
    """
    raw = hash_file(file, file.parent)
    try:
        members = raw.members()
    except BadFile as fault:
        return _nothing(file, fault.sentence)
    if raw.is_blank():
        return _nothing(file, "the file is empty")
    best: tuple[float, str, Part, pl.DataFrame] | None = None
    why = "no dialect fits; describe it as custom"
    for dialect in _TRIED:
        part = _part(raw, min(members, key=str), dialect)
        try:
            rows = _first_rows(part)
        except BadFile as fault:
            if fault.fault.value in ("not_text", "unreadable_archive"):
                why = fault.sentence
            continue
        share = float(rows["parsed"].mean() or 0) if rows.height else 0.0  # type: ignore[arg-type]  # of booleans
        if share > 0.5 and (best is None or share > best[0]):
            best = share, dialect, part, rows.filter("parsed")
    return _nothing(file, why) if best is None else _describe(file, best[1], best[2], best[3])


def _part(raw: RawFile, member: str | None, dialect: str) -> Part:
    nameless = dialect in ("lean", "binance-kline", "cryptodatadownload")
    interval = Interval("1m", 60)
    if "_second_" in PurePosixPath(member or raw.name).name:
        interval = Interval("1s", 1)
    source = Source("", dialect, None if nameless else "?", interval, "UTC", "open", "quarantine", 1)
    return name_part(raw, member, source)


def _first_rows(part: Part) -> pl.DataFrame:
    if part.source.dialect == "lean" and part.naming is None:
        assert part.doubt is not None
        raise part.doubt
    layout = part.layout()
    rows = pl.DataFrame({"parsed": []}, schema={"parsed": pl.Boolean})
    for block in islice(part.raw.blocks(part.member), 2):  # the first may hold a header alone
        rows = read_rows(layout, block)
        if rows.height:
            break
    return rows


def _describe(file: Path, dialect: str, part: Part, rows: pl.DataFrame) -> Suggestion:
    stamps = rows["stamp"].sort()
    gaps = stamps.diff().dt.total_seconds().drop_nulls()
    common = gaps.filter(gaps > 0).value_counts(sort=True)
    interval = None if common.is_empty() else _INTERVALS.get(int(common[0, 0]))
    hours = rows.group_by(pl.col("stamp").dt.hour().alias("hour")).agg(pl.col("volume").sum()).sort("volume", "hour")
    has_volume = rows["volume"].null_count() < rows.height and hours.height > 1
    instrument = part.instrument if part.instrument != "?" else None
    return Suggestion(
        file=file,
        dialect=dialect,
        instrument=instrument,
        interval=interval,
        tick=_tick(rows),
        has_own_clock=dialect in _INSTANTS or rows["offset_s"].null_count() == 0,
        first=f"{stamps[0]:%Y-%m-%d %H:%M}",
        last=f"{stamps[-1]:%Y-%m-%d %H:%M}",
        busiest_hour=f"{hours['hour'][-1]:02}:00" if has_volume else None,
        why_not=None,
    )


def _tick(rows: pl.DataFrame) -> str:
    """Return the greatest step that all prices are on."""
    prices = pl.concat([rows[name] for name in PRICES]).head(20_000).cast(pl.String)
    digits = prices.str.extract(r"\.([0-9]*[1-9])$", 1).str.len_chars().max()
    places = int(digits) if isinstance(digits, int) else 0
    steps = {round(float(text) * 10**places) for text in prices.drop_nulls()}
    step = Decimal(math.gcd(*steps) or 1).scaleb(-places)
    return f"{step:f}"


def _nothing(file: Path, why: str) -> Suggestion:
    return Suggestion(file, None, None, None, None, False, None, None, None, why)

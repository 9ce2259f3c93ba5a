"""Which files there are, what they are called and whose bars they hold: sources become parts, parts become series.

A part is one text: a file, or a member of a lean zip. A series is an instrument at one interval; its parts stand in the
order of precedence: sources as configured, then names.

Where MARKET.md is silent:
- lean: `20131007_trade.zip` holds `20131007_es_minute_trade_201312.csv`, which is the instrument ES201312; without an
  expiry it is ES. `instrument` in the source takes the place of ES. Prices are divided by 10 000 below a folder `equity`
  or `option`, by 1 below that of another security type; without such a folder only a future is not divided.
- binance-kline: `BTCUSDT-1m-2020-01.csv` is BTCUSDT. cryptodatadownload: the symbol of the first row, without "/".
"""

from __future__ import annotations

import glob
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from pathlib import Path, PurePosixPath

from runstate.market.dialects import HEADER_LINES, Layout, Naming, layout_of
from runstate.market.failures import BadFile, FileFault, MarketError
from runstate.market.rawfile import RawFile, hash_file, head_of
from runstate.market.settings import Config, Instrument, Interval, Source

_LEAN_MEMBER = re.compile(
    r"(?P<day>[0-9]{8})_(?P<symbol>[a-z0-9.]+)_(?P<step>minute|second)_(?P<kind>trade|quote)(?:_(?P<expiry>[0-9]{6,8}))?\.csv"
    r"(?:\.gz)?",
    re.IGNORECASE,
)
_LEAN_ZIP = re.compile(r"(?P<day>[0-9]{8})_(?P<kind>trade|quote)\.zip", re.IGNORECASE)
_LEAN_STEP_S = {"minute": 60, "second": 1}
_LEAN_TIMES_10000 = {"equity", "option"}
_LEAN_PLAIN = {"future", "futureoption", "forex", "cfd", "crypto", "cryptofuture", "index", "indexoption"}
_BINANCE = re.compile(r"(?P<symbol>[A-Z0-9_]+)-[0-9]+[a-zA-Z]+-[0-9]{4}")
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Part:
    """One text of bars."""

    raw: RawFile
    member: str | None  #: Of a zip.
    name: str  #: As the bars name their source.
    source: Source
    instrument: str | None = None  #: None: it could not be found out.
    naming: Naming | None = None
    doubt: BadFile | None = None  #: What is wrong with it already.

    def layout(self) -> Layout:
        """Return how its rows are read.

        Raises:
            BadFile: The header is not the dialect's, or it is no text.
        """
        head = head_of(self.raw, self.member, HEADER_LINES)
        return layout_of(self.source.dialect, head, custom=self.source.custom, naming=self.naming)


@dataclass(frozen=True, slots=True)
class Series:
    """An instrument at one interval."""

    instrument: Instrument
    interval: Interval
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What there is to translate."""

    series: list[Series]
    strays: list[Part] = field(default_factory=list)  #: Parts that belong to no series; each has its `doubt`.


def take_inventory(config: Config) -> Inventory:
    """Return all files of all sources.

    Raises:
        MarketError: A source has no file, or a file cannot be read.
    """
    found = [(source, path) for source in config.sources for path in _find_files(source, config)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        raws = list(pool.map(lambda f: hash_file(f[1], config.folder), found))
    parts = [part for (source, _), raw in zip(found, raws, strict=True) for part in _parts(raw, source, config)]
    grouped: dict[tuple[str, int, str], list[Part]] = {}
    strays = []
    for part in parts:
        if part.instrument is None:
            strays.append(part)
            continue
        interval = part.source.interval
        grouped.setdefault((part.instrument, interval.seconds, interval.text), []).append(part)
    series = []
    for (name, _, _), members in sorted(grouped.items()):
        instrument = config.instrument(name)
        assert instrument is not None  # or it would be a stray
        _refuse_two_readings(members, config)
        series.append(Series(instrument, members[0].source.interval, _without_quotes_beside_trades(members)))
    return Inventory(series, strays)


def _refuse_two_readings(parts: list[Part], config: Config) -> None:
    sources: dict[str, Source] = {}
    for part in parts:
        other = sources.setdefault(part.name, part.source)
        if other is not part.source:
            raise MarketError(
                f"{config.file}:{part.source.line}: '{part.source.files}' matches {part.name}, "
                f"which is a file of '{other.files}' already; narrow one of them",
                code="bad_config",
            )


def _find_files(source: Source, config: Config) -> list[Path]:
    names = glob.glob(source.files, root_dir=config.folder, recursive=True)  # noqa: PTH207  an absolute pattern is fine too
    paths = sorted(config.folder / name for name in names)
    files = [path for path in paths if path.is_file()]
    if not files:
        raise MarketError(
            f"{config.file}:{source.line}: no file matches '{source.files}' in {config.folder}; "
            "nothing to do is not success, so correct files",
            code="no_input",
        )
    return files


def _parts(raw: RawFile, source: Source, config: Config) -> list[Part]:
    try:
        members = raw.members()
        if len(members) > 1 and source.dialect != "lean":
            sentence = f"the archive holds {len(members)} files, one is needed"
            raise BadFile(FileFault.UNREADABLE_ARCHIVE, 1, sentence)
    except BadFile as fault:
        return [Part(raw, None, raw.name, source, source.instrument, doubt=fault)]
    return [_part(raw, member, source, config, alone=len(members) == 1) for member in sorted(members, key=str)]


def _part(raw: RawFile, member: str | None, source: Source, config: Config, *, alone: bool) -> Part:
    part = name_part(raw, member, source, name=raw.name if alone else f"{raw.name}/{member}")
    if part.instrument is None or config.instrument(part.instrument) is not None:
        return part
    sentence = f"it holds '{part.instrument}', which has no [instrument.{part.instrument}]"
    return replace(part, instrument=None, doubt=BadFile(FileFault.UNKNOWN_INSTRUMENT, 1, sentence))


def name_part(raw: RawFile, member: str | None, source: Source, *, name: str = "") -> Part:
    """Return the part with what its name says; what is wrong with the name is its `doubt`."""
    try:
        instrument, naming, doubt = _named(raw, member, source)
    except BadFile as fault:
        return Part(raw, member, name, source, source.instrument, doubt=fault)
    return Part(raw, member, name, source, instrument, naming, doubt)


def _named(raw: RawFile, member: str | None, source: Source) -> tuple[str, Naming | None, BadFile | None]:
    """Return the instrument, what else the name says, and what is wrong with it."""
    base = PurePosixPath(member or raw.path.name).name
    if source.dialect == "lean":
        return _lean_named(raw, base, source)
    if source.instrument is not None:
        return source.instrument, None, None
    if source.dialect == "binance-kline":
        match = _BINANCE.match(raw.path.name)
        if match is None:
            raise BadFile(FileFault.WRONG_NAME, 1, "the name does not begin as BTCUSDT-1m-2020 does; set instrument")
        return match["symbol"], None, None
    return _symbol_in(raw, member), None, None


def _lean_named(raw: RawFile, base: str, source: Source) -> tuple[str, Naming, BadFile | None]:
    match = _LEAN_MEMBER.fullmatch(base)
    if match is None:
        form = "20131007_es_minute_trade_201312.csv"
        raise BadFile(FileFault.WRONG_NAME, 1, f"'{base}' is not named as lean does, such as {form}")
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        raise BadFile(FileFault.WRONG_NAME, 1, f"'{base}' names no date") from None
    instrument = (source.instrument or match["symbol"].upper()) + (match["expiry"] or "")
    naming = Naming(day, match["kind"].lower() == "quote", source.price_divisor or _lean_divisor(raw, match["expiry"]))
    doubt = None
    outer = _LEAN_ZIP.fullmatch(raw.path.name)
    step_s = _LEAN_STEP_S[match["step"].lower()]
    if outer is not None and outer["day"] != match["day"]:
        doubt = BadFile(FileFault.WRONG_NAME, 1, f"the zip is named {outer['day']} and holds '{base}'")
    elif step_s != source.interval.seconds:
        doubt = BadFile(
            FileFault.WRONG_NAME, 1, f"'{base}' holds {match['step']} bars, the source says {source.interval.text}"
        )
    return instrument, naming, doubt


def _lean_divisor(raw: RawFile, expiry: str | None) -> float:
    folders = {part.lower() for part in PurePosixPath(raw.name).parts[:-1]}
    if folders & _LEAN_TIMES_10000:
        return 10_000.0
    return 1.0 if folders & _LEAN_PLAIN or expiry else 10_000.0


def _symbol_in(raw: RawFile, member: str | None) -> str:
    head = head_of(raw, member, HEADER_LINES)
    rows = [[cell.strip() for cell in text.split(",")] for _, text in head]
    for header, first in pairwise(rows):
        names = [name.lower() for name in header]
        if "symbol" in names and len(first) == len(names):
            symbol = first[names.index("symbol")].replace("/", "")
            if _SYMBOL.fullmatch(symbol):
                return symbol
    raise BadFile(FileFault.WRONG_NAME, 1, "no column 'symbol' names the instrument; set instrument")


def _without_quotes_beside_trades(parts: list[Part]) -> list[Part]:
    """Return the parts; where there are trades and quotes, the quotes get a doubt."""
    kinds = {part.naming.is_quote for part in parts if part.naming is not None}
    if len(kinds) < 2:
        return parts
    sentence = (
        "these are quotes beside trades of the same instrument; read them in a [[source]] with another instrument"
    )
    doubt = BadFile(FileFault.MIXED_KINDS, 1, sentence)
    return [
        replace(part, doubt=part.doubt or doubt) if part.naming is not None and part.naming.is_quote else part
        for part in parts
    ]

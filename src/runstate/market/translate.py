"""The translator: raw exports in, one Parquet file per instrument, interval and trading day out.

A trading day is the calendar date of the bar's open in the instrument's zone. `source` in the bars is the raw file's
name relative to the configuration's folder (and the member's, of a zip with several), so the output does not depend on
where the project lies. The quarantine table `{out}/quarantine/{instrument}_{interval}.parquet` holds each quarantined row
with file, line, reason and text; of a quarantined file the manifest holds the reason and the number of rows (all lines that
are not blank), the rows are still in the raw file.

The output is a function of the configuration and the raw files. A file whose bytes and settings are those of the last
manifest is not read again, unless a day that it shares with a changed one has to be decided again (series.py). Series are
translated side by side in threads: polars does the work outside Python's lock, and no table is copied. Day files of
earlier runs that no raw file covers any more are neither touched nor listed, and later stages read what is listed.

Where MARKET.md is silent: a file is repeated when its bytes are those of an earlier file of the same instrument and
interval. A source without any clean bar (all files empty or quarantined, or all rows) fails the stage: nothing to do
is not success.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from runstate.market.failures import BadFile, FileFault, MarketError
from runstate.market.folder import Json, OutFolder
from runstate.market.inventory import Inventory, Part, Series, take_inventory
from runstate.market.limits import Limits
from runstate.market.manifest import Run, last_manifest, sum_by, write_manifest
from runstate.market.progress import SeriesSteps, Steps, cores, paced
from runstate.market.reading import PartFacts, whole_fault
from runstate.market.series import Ledger, SeriesTranslation, complain, count_later
from runstate.market.settings import Config

_NOT_ITS_OWN_FAULT = {"duplicate", "repeated_file", "repeated_day"}


@dataclass(frozen=True, slots=True)
class Input:
    """What became of one part."""

    part: Part
    facts: PartFacts
    key: str
    later: dict[str, int]  #: Rows that other rows put into the quarantine, by reason.

    @property
    def quarantined(self) -> dict[str, int]:
        """Rows by reason."""
        return sum_by([self.facts.own, self.later])

    @property
    def rows_out(self) -> int:
        """Rows that are in a day file."""
        return self.facts.rows - sum(self.quarantined.values())

    def to_json(self) -> Json:
        """Return the facts for the manifest."""
        source = self.part.source
        facts: Json = {
            "path": self.part.name,
            "bytes": self.part.raw.size_bytes,
            "sha256": self.part.raw.sha256,
            "dialect": source.dialect,
            "instrument": self.part.instrument,
            "interval": source.interval.text,
            "rows_in": self.facts.rows,
            "rows_out": self.rows_out,
            "rows_quarantined": self.quarantined,
            "rows_out_of_order": self.facts.out_of_order,
            "key": self.key,
            "own": self.facts.own,
            "days": self.facts.days,
        }
        if self.facts.fault is not None:
            fault = self.facts.fault
            facts["quarantined"] = {"reason": fault.fault.value, "line": fault.line, "text": fault.sentence}
        return facts


def translate(
    config: Config, out: OutFolder, run: Run, *, threads: int | None = None, limits: Limits | None = None
) -> Json:
    """Write the bars, the quarantine and the manifest; return the stage's outputs.

    Args:
        config: Which raw files there are.
        out: Where the bars go.
        run: Hears of the progress.
        threads: Series side by side; None: as many as there are cores. The files do not depend on it.
        limits: What is held at once; None: the defaults.

    Raises:
        MarketError: A source gives no bars, a file is bad and its source says so, or a file cannot be read.
    """
    shutil.rmtree(out.path / ".scratch", ignore_errors=True)  # of a run that was killed
    inventory = take_inventory(config)
    steps = Steps(run, sum(len(series.parts) for series in inventory.series) + len(inventory.strays), "files")
    steps.say("comparing files")
    begun = time.monotonic()
    log = partial(run.log, level="warning")
    strays = [_stray(part, steps, log) for part in inventory.strays]
    ledgers = _translate_all(inventory, out, steps, log, threads or cores(), limits or Limits())
    inputs = strays + [entry for ledger, series in ledgers for entry in _inputs(ledger, series.parts)]
    _refuse_sources_without_bars(inputs, config)
    files = [ledger.files[day] for ledger, _ in ledgers for day in sorted(ledger.files)]
    totals = _totals(inputs)
    facts = {
        **totals,
        "inputs": [entry.to_json() for entry in inputs],
        "series": [
            {
                "instrument": series.instrument.name,
                "interval": series.interval.text,
                "contents": dict(sorted(ledger.contents.items())),
                "later": {day: ledger.later[day] for day in sorted(ledger.later)},
                "quarantine": ledger.quarantine,
            }
            for ledger, series in ledgers
        ],
    }
    read = {
        "files_read": sum(len(ledger.read) for ledger, _ in ledgers) + len(strays),
        "files_skipped": sum(len(ledger.keys) - len(ledger.read) for ledger, _ in ledgers),
        "days_decided": sum(ledger.written for ledger, _ in ledgers),
    }
    rows_read = sum(ledger.facts[name].rows for ledger, _ in ledgers for name in ledger.read)
    steps.say(paced(rows_read, begun, "rows"))
    return {**totals, **read, **write_manifest(out, "translator", facts, files)}


def _translate_all(
    inventory: Inventory, out: OutFolder, steps: Steps, log: Callable[[str], None], threads: int, limits: Limits
) -> list[tuple[Ledger, Series]]:
    old = _ledgers(last_manifest(out, "translator"))
    threads = max(1, min(threads, len(inventory.series)))
    limits = replace(limits, memory_bytes=limits.memory_bytes // threads)

    def translate_one(series: Series) -> tuple[Ledger, Series]:
        name = series.instrument.name
        mine, known = SeriesSteps(steps, name), old.get((name, series.interval.text))
        ledger = SeriesTranslation(series, out, known, mine, log, limits=limits).run()
        mine.done(len(series.parts))
        return ledger, series

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(translate_one, series) for series in inventory.series]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _stray(part: Part, steps: Steps, log: Callable[[str], None]) -> Input:
    assert part.doubt is not None
    facts = whole_fault(part, part.doubt)
    complain(part, part.doubt, log)
    steps.say(by=1)
    return Input(part, facts, "", {})


def _inputs(ledger: Ledger, parts: list[Part]) -> list[Input]:
    later = count_later(ledger)
    return [Input(p, ledger.facts[p.name], ledger.keys[p.name], dict(later[p.name])) for p in parts]


def _ledgers(manifest: dict[str, Any] | None) -> dict[tuple[str, str], Ledger]:
    """Return what the last manifest knows of each series; what cannot be understood is not known."""
    ledgers: dict[tuple[str, str], Ledger] = {}
    try:
        for series in manifest["series"] if manifest else ():
            ledger = Ledger(contents=series["contents"], later=series["later"], quarantine=series["quarantine"])
            ledgers[series["instrument"], series["interval"]] = ledger
        for entry in manifest["inputs"] if manifest else ():
            known = ledgers.get((entry["instrument"], entry["interval"]))
            if known is None:
                continue
            fault = entry.get("quarantined")
            known.keys[entry["path"]] = entry["key"]
            known.facts[entry["path"]] = PartFacts(
                rows=entry["rows_in"],
                out_of_order=entry["rows_out_of_order"],
                own=entry["own"],
                days=entry["days"],
                fault=fault and BadFile(FileFault(fault["reason"]), fault["line"], fault["text"]),
            )
        for entry in manifest["files"] if manifest else ():
            ledgers[entry["instrument"], entry["interval"]].files[entry["date"]] = entry
    except (KeyError, TypeError, ValueError):
        return {}
    return ledgers


def _refuse_sources_without_bars(inputs: list[Input], config: Config) -> None:
    for source in config.sources:
        mine = [entry for entry in inputs if entry.part.source is source]
        only_repeats = all(set(e.quarantined) <= _NOT_ITS_OWN_FAULT for e in mine)
        if any(e.rows_out for e in mine) or (only_repeats and any(e.facts.rows for e in mine)):
            continue
        raise MarketError(
            f"{config.file}:{source.line}: '{source.files}' gives no bars: {_why_none(mine)}; "
            "check dialect, tz, stamp and interval of the source",
            code="no_input",
        )


def _why_none(inputs: list[Input]) -> str:
    bad = [entry for entry in inputs if entry.facts.fault is not None]
    if bad and bad[0].facts.fault is not None:
        which = "all" if len(bad) == len(inputs) else f"{len(bad)} of"
        first = f"{bad[0].part.name}:{bad[0].facts.fault.line}: {bad[0].facts.fault.sentence}"
        return f"{which} {len(inputs)} files are quarantined, first {first}"
    reasons = sum_by(entry.quarantined for entry in inputs)
    if not reasons:
        return f"all {len(inputs)} files are empty"
    return "every row is quarantined, " + ", ".join(f"{n} {reason}" for reason, n in reasons.items())


def _totals(inputs: list[Input]) -> Json:
    reasons = sum_by(entry.quarantined for entry in inputs)
    return {
        "rows_in": sum(entry.facts.rows for entry in inputs),
        "rows_out": sum(entry.rows_out for entry in inputs),
        "rows_quarantined": sum(reasons.values()),
        "rows_quarantined_by_reason": reasons,
        "rows_out_of_order": sum(entry.facts.out_of_order for entry in inputs),
        "files_in": len(inputs),
        "files_empty": sum(1 for e in inputs if e.facts.rows == 0 and e.facts.fault is None),
        "files_quarantined": sum(1 for e in inputs if e.facts.fault is not None),
    }

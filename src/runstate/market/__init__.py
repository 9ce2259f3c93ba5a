"""The reference pipeline: raw bar exports → Parquet → opening-range-breakout results → monthly tables and a report.

    translator  raw files    → {out}/bars        translate.py ← rawfile, dialects, checks
    analyzer    bars         → {out}/analyzed    analyze.py   ← bars, calendars, breakout (the decision), results
    merger      results      → {out}/merged      merge.py     ← report, page, curve
                               {out}/report.json, report.html

Shared: config (fields), folder (atomic writes), manifest (what the next stage reads), failures. Imports of
runstate are public names only; importing this package is light.
"""

from __future__ import annotations

from runstate.market.pipeline import market

__all__ = ["market"]

"""How much the translator holds at once. What it writes does not depend on it, but for `quarantined_rows`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What all series together may hold."""

    memory_bytes: int = 192 << 20  #: Clean rows, before they go to scratch files.
    block_bytes: int = 8 << 20  #: Of a raw file, read at once.
    quarantined_rows: int = 500_000  #: In one table of the quarantine.

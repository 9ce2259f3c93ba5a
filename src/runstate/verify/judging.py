"""The one place from which `verify` takes the judge of recordings and the events that it judges.

The same judge holds the simulation to the same promises; what only a live server can be asked is judged in `ledger.py`.
"""

from __future__ import annotations

from runstate.testing.guarantees import Broken, Judge
from runstate.testing.recording import Asked, Connected, Event, Greeted, Left, Row, Shown, Snapped, Stepped

__all__ = [
    "Asked", "Broken", "Connected", "Event", "Greeted", "Judge", "Left", "Row", "Shown", "Snapped", "Stepped",
]  # fmt: skip

"""The one place from which `verify` takes the judge of recordings and the events that it judges.

The same judge holds the simulation to the same promises; what only a live server can be asked is judged in `ledger.py`.
"""

from __future__ import annotations

from runstate.testing.guarantees import Broken, Judge
from runstate.testing.recording import Asked, Connected, Event, Greeted, Left, Row, Shown, Snapped, Stepped

__all__ = [
    "Asked", "Broken", "Connected", "Event", "Greeted", "Judge", "Left", "Row", "Shown", "Snapped", "Stepped", "in_words",
]  # fmt: skip

MAX_NAMED = 4  # documents of one frame


def in_words(event: Event) -> str:
    """Return what a reader heard, as evidence says it."""
    match event:
        case Connected(client=client, resume=resume):
            return f"{client}: connected" + ("" if resume is None else f", to go on at {resume}")
        case Greeted(client=client, epoch=epoch, position=position):
            return f"{client}: hello of epoch {epoch} at {position}"
        case Asked(client=client):
            return f"{client}: asked for a snapshot"
        case Snapped(client=client, position=position, reason=reason, rows=rows):
            return f"{client}: snapshot at {position} ({reason}) with {_named(rows)}"
        case Stepped(client=client, start=start, end=end, rows=rows):
            return f"{client}: transition {start} → {end} with {_named(rows)}"
        case Left(client=client, code=code, resume=resume):
            return f"{client}: bye {code}, to go on at {resume}"
        case _:
            return str(event)


def _named(rows: tuple[Row, ...]) -> str:
    some = [f"{row.kind} {row.id} v{row.version}" for row in rows[:MAX_NAMED]]
    more = [f"{len(rows) - MAX_NAMED} more"] if len(rows) > MAX_NAMED else []
    return ", ".join([*some, *more]) or "no document"

"""What a reader does to its own connection, and when: drawn from the seed and the reader's name alone.

Without chaos each stream is cut once and resumed, since a promise about resuming needs a resume. Nothing here touches the
server otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

What = Literal["cut", "renew", "stall", "ask"]

LONGEST_STALL_S = 3.0  # well below the 15 s after which a server lets a slow reader go (PROTOCOL F8)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a reader does to itself."""

    at_s: float  #: Since the beginning.
    what: What  #: Cut and resume; cut and begin anew; stop reading; ask for a snapshot (WebSocket).
    for_s: float = 0.0  #: How long, for a stall.


def chance(seed: int, name: str) -> Random:
    """Return the chance of one reader; the same on every machine."""
    return Random(f"{seed} {name}")


def plan(random: Random, seconds: float, *, chaos: bool, can_ask: bool) -> list[Act]:
    """Return what a stream's reader does to itself within `seconds`, in order."""
    once = Act(seconds * random.uniform(0.35, 0.65), "cut")
    if not chaos:
        return [once]
    words: list[What] = ["cut", "cut", "renew", "stall", "stall"]
    if can_ask:
        words.append("ask")
    pause_s = min(3.0, max(0.3, seconds / 8))
    acts, at_s = [once], 0.0
    while (at_s := at_s + random.uniform(0.2, 1.8) * pause_s) < seconds:
        what = random.choice(words)
        for_s = random.uniform(0.1, min(LONGEST_STALL_S, seconds / 4)) if what == "stall" else 0.0
        acts.append(Act(at_s, what, for_s))
        at_s += for_s
    return sorted(acts, key=lambda act: act.at_s)

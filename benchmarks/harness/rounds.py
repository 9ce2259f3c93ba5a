"""The order of measuring: every side once, then every side again (ABAB), so that a slow minute is everybody's."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

from benchmarks.harness.record import Measure, Role, percentile
from benchmarks.harness.server import Unavailable

SETTLE_S = 0.2


class Figures:
    """What the rounds of one side gave."""

    def __init__(self, name: str, role: Role) -> None:
        self.name, self.role = name, role
        self.rounds: list[float] = []
        self.latencies_ms: list[float] = []

    def measure(self, note: str = "") -> Measure:
        """Return them as a measure; latencies are those of all rounds together."""
        took = self.latencies_ms
        return Measure(
            name=self.name,
            role=self.role,
            rounds=self.rounds,
            p50_ms=percentile(took, 0.5) if took else None,
            p99_ms=percentile(took, 0.99) if took else None,
            note=note,
        )


Once = Callable[[Figures], None]


def alternate(sides: Mapping[str, tuple[Role, Once]], rounds: int, missing: dict[str, str]) -> list[Measure]:
    """Call each side once per round, with where it puts its figures; a peer that fails is named in `missing`."""
    figures = {name: Figures(name, role) for name, (role, _) in sides.items()}
    for _ in range(rounds):
        for name, (role, once) in sides.items():
            if name in missing:
                continue
            gc.collect()
            time.sleep(SETTLE_S)  # what the side before left behind: closed sockets, dirty pages
            try:
                once(figures[name])
            except (OSError, Unavailable) as reason:
                if role == "ours":
                    raise
                missing[name] = f"it failed: {reason}"
    return [each.measure() for name, each in figures.items() if name not in missing]

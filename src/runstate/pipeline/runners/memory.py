"""Whether the kernel has killed for want of memory: a count that grows, read before and after.

Where the process's control group counts such kills (cgroup v2 `memory.events`, v1 `memory.oom_control`), only those in it
count; else the machine's (`/proc/vmstat`). Elsewhere than on Linux nobody says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def oom_kills(root: Path = ROOT) -> int | None:
    """Return how many processes the kernel has killed so far, None where it does not say.

    Args:
        root: Where `/proc` and `/sys` are, for tests.
    """
    for counter in _counters(root):
        with contextlib.suppress(OSError, ValueError):
            for line in counter.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _counters(root: Path) -> Iterator[Path]:
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        # cgroups(7): `hierarchy:controllers:path`; in a container the path may be the host's, and the group the root.
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        for below in (path.strip("/"), ""):
            if controllers == "":
                yield groups / below / "memory.events"
                yield groups / "unified" / below / "memory.events"
            elif "memory" in controllers.split(","):
                yield groups / "memory" / below / "memory.oom_control"
    yield root / "proc/vmstat"

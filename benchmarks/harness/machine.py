"""The machine: its two cores, its names for the record, and what a process took of it.

Law: the server has the first core for itself, the load generator and everything else has the last.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
CAN_PIN = hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1
SHARED_MEMORY = Path("/dev/shm")  # fsync costs nothing there, so what is left is ours
OURS = ("runstate", "uvicorn", "uvloop", "httptools", "websockets", "msgspec", "starlette", "polars")


def server_core() -> None:
    """Keep this process on the first core."""
    if CAN_PIN:
        os.sched_setaffinity(0, {min(ALL_CORES)})


def load_core() -> None:
    """Keep this process, and what it starts, on the last core."""
    if CAN_PIN:
        os.sched_setaffinity(0, {max(ALL_CORES)})


def every_core() -> None:
    """Let this process run anywhere again."""
    if CAN_PIN:
        os.sched_setaffinity(0, ALL_CORES)


ALL_CORES = set(os.sched_getaffinity(0)) if CAN_PIN else {0}


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU time, user and system, of a process and its living children."""
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(map(_cpu_s, family))


def _cpu_s(pid: int) -> float:
    if sys.platform == "linux":
        try:
            # The kernel's own number of another process's CPU clock, in nanoseconds; /proc counts in hundredths of a second.
            return time.clock_gettime((~pid << 3) | 2)
        except OSError:
            return 0.0
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def rss_kib(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1024


def about() -> dict[str, object]:
    """Return what a reader needs to judge a figure: machine, versions, commit and time."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "machine": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "system": f"{platform.system()} {platform.release()}",
            "pinned": CAN_PIN,
            "load": round(os.getloadavg()[0], 2),  # of others as well: figures of a busy machine are worth less
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in OURS},
    }


def commit() -> str:
    """Return the commit that is measured, with a plus sign where files differ from it; empty without git."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return ""
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src"], check=False).returncode
    return head.stdout.strip() + ("+" if changed else "")


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

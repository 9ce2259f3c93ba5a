"""How numbers, times and states read. Pure: the present comes in as `now_ms`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from runstate.core.canonical import Json
from runstate.core.times import parse_time

SIGNS = {
    "pending": "·",
    "running": "●",
    "retrying": "↻",
    "success": "✔",
    "failed": "✘",
    "stopped": "■",
    "skipped": "–",
}
COLOURS = {
    "pending": "dim",
    "running": "cyan",
    "retrying": "yellow",
    "success": "green",
    "failed": "red",
    "stopped": "yellow",
    "skipped": "dim",
    "healthy": "green",
    "degraded": "yellow",
    "unstable": "yellow",
    "blocked": "red",
}


def colour_of(state: str) -> str:
    """Return the colour of a run's or stage's state."""
    return COLOURS.get("running" if state.startswith(("running_", "starting", "scheduled")) else state, "")


def duration(ms: float) -> str:
    """Return a length of time: `12 ms`, `0.4 s`, `59.9 s`, `2 min 05 s`, `1 h 02 min`, `3 d 04 h`."""
    if ms < 100:
        return f"{max(0, round(ms))} ms"
    tenths = round(ms / 100)
    if tenths < 600:
        return f"{tenths / 10:.1f} s"
    seconds = round(tenths / 10)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600:02d} h"


def seconds(value: float) -> str:
    """Return a limit: `10 s`, `2.5 s`, `10 min 00 s`."""
    return f"{value:g} s" if value < 60 else duration(value * 1000)


def age(ms: float) -> str:
    """Return how long ago something was, in one unit."""
    seconds = max(0, int(ms // 1000))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def number(value: float) -> str:
    """Return a number in short: `1,234`, `0.25`, `1.2`."""
    if value % 1:
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{int(value):,}"


def clock_time(at_ms: int) -> str:
    """Return a wall time of today in the local zone: `14:03:22`."""
    return f"{datetime.fromtimestamp(at_ms / 1000).astimezone():%H:%M:%S}"


def when(text: str | None, *, now_ms: int) -> str:
    """Return a time of a document in the local zone, with the date if it is not today's; empty for none."""
    if text is None:
        return ""
    at = datetime.fromtimestamp(parse_time(text) / 1000).astimezone()
    today = datetime.fromtimestamp(now_ms / 1000).astimezone()
    return f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M:%S}"


def amount(progress: Mapping[str, Json] | None) -> str:
    """Return how far a stage is: `3/10 files`, `1,200 rows`; empty where it did not say."""
    if progress is None:
        return ""
    total = "" if progress["total"] is None else f"/{number(progress['total'])}"
    unit = f" {progress['unit']}" if progress["unit"] else ""
    return f"{number(progress['done'])}{total}{unit}"


def share(progress: Mapping[str, Json] | None) -> float | None:
    """Return the done part, from 0 to 1; None where the total is not known."""
    if progress is None or not progress["total"] or progress["total"] < 0:
        return None
    return float(min(1.0, max(0.0, progress["done"] / progress["total"])))


def elapsed_ms(document: Mapping[str, Json], *, now_ms: int) -> int | None:
    """Return how long a run or a stage's attempt took, or takes up to now; None if it has not begun."""
    if document["started_at"] is None:
        return None
    end = now_ms if document["ended_at"] is None else parse_time(document["ended_at"])
    return max(0, end - parse_time(document["started_at"]))


def pace(stage: Mapping[str, Json], *, now_ms: int) -> str:
    """Return rate and remaining time of a running stage whose total is known: `4.1/s, 12 s left`; else empty."""
    progress, spent = stage["progress"], elapsed_ms(stage, now_ms=now_ms)
    done_share = share(progress)
    if stage["state"] != "running" or not done_share or not spent or done_share >= 1 or spent < 1000:
        return ""
    per_s = progress["done"] / spent * 1000
    left = (progress["total"] - progress["done"]) / per_s * 1000
    rate = (
        f"{number(round(per_s, 1 if per_s < 10 else 0))}/s" if per_s >= 0.1 else f"{number(round(per_s * 60, 1))}/min"
    )
    return f"{rate}, {duration(left) if left >= 60_000 else f'{max(1, round(left / 1000))} s'} left"


def one_line(text: str | None, limit: int = 500) -> str:
    """Return the first line of `text`, printable, cut with an ellipsis."""
    line, _, rest = (text or "").strip().partition("\n")
    line = printable(line)
    return line[: limit - 1] + "…" if len(line) > limit or rest else line


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey shown as �."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char in "\t\r\n" else "\ufffd" for char in text)

"""Runs as people watch them: a heading and a bar per stage, as rich renderables. Pure; the present comes in.

What is not live is shown grey and stands still (PROTOCOL F12).
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runstate.cli.lines import health_words, schedule_words
from runstate.cli.seen import Seen
from runstate.cli.words import SIGNS, amount, colour_of, duration, elapsed_ms, one_line, pace, share, when
from runstate.core.canonical import Json

BAR_WIDTH = 20


def run_view(document: Mapping[str, Json], *, now_ms: int, fresh: bool = True) -> RenderableType:
    """Return a run, or a pipeline that has never run (PROTOCOL D5).

    Args:
        fresh: What is shown is the present; else it is grey, and `now_ms` is when it was.
    """
    rows = Table.grid(padding=(0, 1), expand=True)
    rows.add_column(no_wrap=True, overflow="ellipsis", max_width=22)
    rows.add_column(width=BAR_WIDTH)
    rows.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    rows.add_column(no_wrap=True, justify="right")
    rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for name in document["stage_order"]:
        record = document["stages"][name]
        spent = elapsed_ms(record, now_ms=now_ms)
        rows.add_row(
            Text(f" {SIGNS[record['state']]} {name}", style=colour_of(record["state"]) if fresh else "dim"),
            _bar(record, now_ms=now_ms, fresh=fresh),
            Text(amount(record["progress"]), style="" if fresh else "dim"),
            Text("" if spent is None else duration(spent), style="" if fresh else "dim"),
            _detail(record, now_ms=now_ms, fresh=fresh),
        )
    return Group(_heading(document, now_ms=now_ms, fresh=fresh), rows, *_trouble(document, fresh=fresh))


def owner_view(
    document: Mapping[str, Json], owners: Mapping[str, Mapping[str, Json]], *, now_ms: int, fresh: bool = True
) -> list[RenderableType]:
    """Return what belongs below a pipeline's current run: its health and its schedule, where they say something.

    Args:
        owners: The pipelines' documents by name.
    """
    owner = owners.get(document["pipeline"])
    if owner is None or owner["current_run_id"] != document["run_id"]:
        return []
    rows: list[RenderableType] = []
    if owner["health"]["reasons"]:
        style = colour_of(owner["health"]["state"]) if fresh else "dim"
        rows.append(Text(f"   health: {health_words(owner)}", style=style))
    if owner["schedule"] is not None:
        rows.append(Text(f"   schedule: {schedule_words(owner, now_ms=now_ms)}", style="dim"))
    return rows


def _heading(document: Mapping[str, Json], *, now_ms: int, fresh: bool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis", style="" if fresh else "dim")
    text.append(document["pipeline"], style="bold" if fresh else "dim")
    text.append(f"  {document['state']}", style=colour_of(document["state"]) if fresh else "dim")
    if document["run_id"] is None:
        return text.append("  has never run", style="dim")
    spent = elapsed_ms(document, now_ms=now_ms)
    if spent is not None:
        text.append(f"  {duration(spent)}")
    if document["ended_at"] is not None:
        text.append(f"  ended {when(document['ended_at'], now_ms=now_ms)}", style="dim")
    elif document["stop_requested"] is not None:
        text.append("  stopping", style="yellow" if fresh else "dim")
    return text.append(f"  {document['run_id']}", style="dim")


def _trouble(document: Mapping[str, Json], *, fresh: bool) -> list[Text]:
    if not document["error"]:
        return []
    style = (colour_of(document["state"]) or "red") if fresh else "dim"
    return [Text(f"   {one_line(document['error'])}", style=style)]


def _bar(record: Mapping[str, Json], *, now_ms: int, fresh: bool) -> RenderableType:
    state, part = record["state"], share(record["progress"])
    colour = colour_of(state) if fresh else "dim"
    if state in ("pending", "skipped"):
        return Text("")
    if part is None and state == "running":
        if not fresh:
            return Text("╶" * BAR_WIDTH, style="dim")
        return ProgressBar(total=None, width=BAR_WIDTH, pulse=True, animation_time=now_ms / 1000)
    completed = 100 * (part if part is not None else float(state == "success"))
    return ProgressBar(
        total=100, completed=completed, width=BAR_WIDTH, complete_style=colour, finished_style=colour, style="dim"
    )


def _detail(record: Mapping[str, Json], *, now_ms: int, fresh: bool) -> Text:
    state = record["state"]
    said = one_line((record["progress"] or {}).get("message")) if state == "running" else ""
    attempt = f"attempt {record['attempt']}" if record["attempt"] > 1 else ""
    words = [attempt, pace(record, now_ms=now_ms) if fresh else "", said]
    if state in ("failed", "retrying"):
        words = [attempt, record["error_code"] or ""]
    return Text("  ".join(word for word in words if word), style="dim")


def link_line(seen: Seen, *, now_ms: int) -> Text:
    """Return how far what is shown can be trusted, in a line."""
    words = seen.link_words(now_ms=now_ms)
    return Text.assemble(("● " if seen.is_fresh else "○ ", "green" if seen.is_fresh else "yellow"), words)

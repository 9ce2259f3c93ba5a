"""Documents as people read them: tables and pages of rich text. Pure; the present comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runstate.cli.bars import owner_view, run_view
from runstate.cli.lines import patch_words
from runstate.cli.words import SIGNS, amount, colour_of, duration, elapsed_ms, one_line, when
from runstate.core.canonical import Json, digest, encode
from runstate.core.times import parse_time

Document = Mapping[str, Json]


def runs_table(documents: Sequence[Document], *, now_ms: int) -> RenderableType:
    """Return a list of runs, one line each."""
    table = _table("run", "pipeline", "state", "started", "took", "")
    table.columns[-1].overflow = "ellipsis"
    table.columns[-1].ratio = 1
    table.expand = True
    for document in documents:
        spent = elapsed_ms(document, now_ms=now_ms)
        table.add_row(
            document["run_id"],
            document["pipeline"],
            Text(document["state"], style=colour_of(document["state"])),
            when(document["started_at"], now_ms=now_ms),
            "" if spent is None else duration(spent),
            Text(one_line(document["error"]) or _where(document), style="dim"),
        )
    return table


def _where(document: Document) -> str:
    stage = document["stages"].get(document["current_stage"])
    return amount(stage["progress"]) if stage else ""


def run_page(document: Document, *, now_ms: int) -> RenderableType:
    """Return everything that a run's document says."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    trigger = document["trigger"] or {}
    by = f" by {trigger['by']}" if trigger.get("by") else ""
    spent = elapsed_ms(document, now_ms=now_ms)
    rows = {
        "run": document["run_id"],
        "pipeline": document["pipeline"],
        "state": Text(document["state"], style=colour_of(document["state"])),
        "error": f"{document['error']}  ({document['error_code']})" if document["error"] else "",
        "started": when(document["started_at"], now_ms=now_ms) + f"  {trigger.get('kind', '')}{by}",
        "ended": when(document["ended_at"], now_ms=now_ms),
        "took": "" if spent is None else duration(spent),
        "retries": str(document["retry_count"] or ""),
        "stop": _stop_words(document, now_ms=now_ms),
        "metadata": encode(document["metadata"]).decode() if document["metadata"] else "",
        "version": f"{document['version']}  of {when(document['updated_at'], now_ms=now_ms)}",
        "digest": digest(encode(document)),
    }
    for name, value in rows.items():
        if value:
            facts.add_row(name, value if isinstance(value, Text) else Text(value))
    return Group(facts, Text(), _stages(document, now_ms=now_ms), *_words_of_stages(document))


def _stop_words(document: Document, *, now_ms: int) -> str:
    asked = document["stop_requested"]
    if asked is None:
        return ""
    by = f" by {asked['by']}" if asked["by"] else ""
    return f"requested {when(asked['at'], now_ms=now_ms)}{by}{': ' + asked['reason'] if asked['reason'] else ''}"


def _stages(document: Document, *, now_ms: int) -> RenderableType:
    table = _table("stage", "state", "attempt", "started", "took", "progress")
    for name in document["stage_order"]:
        record = document["stages"][name]
        spent = elapsed_ms(record, now_ms=now_ms)
        style = colour_of(record["state"])
        table.add_row(
            Text(f"{SIGNS[record['state']]} {name}", style=style),
            Text(record["state"], style=style),
            str(record["attempt"] or ""),
            when(record["started_at"], now_ms=now_ms),
            "" if spent is None else duration(spent),
            amount(record["progress"]),
        )
    return table


def _words_of_stages(document: Document) -> list[RenderableType]:
    """Return the error and the outputs of each stage that has some."""
    parts: list[RenderableType] = []
    for name in document["stage_order"]:
        record = document["stages"][name]
        if record["error"]:
            parts += [Text(), Text(f"{name}: {record['error_code']}", style="red"), _indented(record["error"])]
        if record["outputs"]:
            parts += [Text(), Text(f"{name} wrote", style="dim")]
            parts += [_indented(f"{key} = {encode(value).decode()}") for key, value in record["outputs"].items()]
    return parts


def _indented(text: str) -> RenderableType:
    return Padding(Text(text, overflow="fold"), (0, 0, 0, 2))


def history_table(commits: Sequence[Document], *, now_ms: int) -> RenderableType:
    """Return the versions of a run, one line each."""
    table = _table("version", "at", "cause", "state", "what changed")
    table.columns[0].justify = "right"
    table.columns[-1].overflow = "ellipsis"
    table.columns[-1].ratio = 1
    table.expand = True
    for commit in commits:
        old, new = commit["old_state"], commit["new_state"]
        move = (
            Text(new, style=colour_of(new))
            if old == new
            else Text.assemble((f"{old} → ", "dim"), (new, colour_of(new)))
        )
        by = f" by {commit['cause']['by']}" if commit["cause"].get("by") else ""
        table.add_row(
            str(commit["version"]),
            f"{when(commit['at'], now_ms=now_ms)}.{parse_time(commit['at']) % 1000:03d}",
            f"{commit['cause']['event'].replace('_', ' ')}{by}",
            move,
            Text(patch_words(commit["patch"]), style="dim"),
        )
    return table


def status_page(documents: Sequence[Document], owners: Mapping[str, Document], *, now_ms: int) -> RenderableType:
    """Return the current runs of pipelines, with a bar per stage.

    Args:
        owners: The pipelines' documents by name: health and schedule are shown where they say something.
    """
    parts: list[RenderableType] = []
    for document in documents:
        parts += [run_view(document, now_ms=now_ms), *owner_view(document, owners, now_ms=now_ms), Text()]
    return Group(*parts[:-1])


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table

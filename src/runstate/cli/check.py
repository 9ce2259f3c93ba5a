"""`check`: whether definitions are right, and what they say."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from runstate.cli.console import show_page, tell, write_json
from runstate.cli.failures import DONE, FAILED
from runstate.cli.options import AsJson, Targets
from runstate.cli.words import seconds
from runstate.core.canonical import Json
from runstate.core.errors import DefinitionError
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.stage import AsyncFunction, Command, PlainFunction, Stage


def check(targets: Targets, as_json: AsJson = False) -> int:
    """Check the definitions of pipelines without running anything.

    Loads each TARGET as `serve` and `run` do, and prints its pipelines and stages. Exits 0 when all is right, 1 when
    a file cannot be loaded or a definition is wrong, 2 when a TARGET is not there.
    """
    from runstate.cli.target import NotLoaded, load_targets

    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the file prints is no part of the answer
            pipelines, _ = load_targets(targets)
    except (DefinitionError, NotLoaded) as mistake:
        if as_json:
            _write({"ok": False, "error": str(mistake)})
        tell(f"runstate: {mistake}")
        return FAILED
    if as_json:
        _write({"ok": True, "pipelines": [_pipeline_json(pipeline) for pipeline in pipelines]})
    else:
        _print(pipelines)
    return DONE


def _write(value: Json) -> None:
    from runstate.core.canonical import encode

    write_json(encode(value))


def _pipeline_json(pipeline: Pipeline) -> Json:
    return {
        "pipeline": pipeline.name,
        "place": pipeline.place,
        "progress_interval_s": pipeline.progress_interval_s,
        "stages": [
            {
                "stage": stage.name,
                "kind": _kind(stage),
                "retries": stage.retries,
                "backoff_s": stage.backoff_s,
                "timeout_s": stage.timeout_s,
                "grace_s": stage.grace_s,
                "on_interrupt": stage.on_interrupt,
            }
            for stage in pipeline.stages
        ],
    }


def _kind(stage: Stage) -> str:
    match stage.work:
        case AsyncFunction():
            return "async"
        case PlainFunction():
            return "process"
        case Command():
            return "command"


KINDS = {"async": "async task", "process": "child process", "command": "shell command"}


def _print(pipelines: Sequence[Pipeline]) -> None:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = []
    for pipeline in pipelines:
        parts.append(Text.assemble(("✔ ", "green"), (pipeline.name, "bold"), (f"  {pipeline.place}", "dim")))
        rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("  stage", "runs as", "retries", "time limit", "grace", "when interrupted"):
            rows.add_column(name, no_wrap=True)
        for stage in pipeline.stages:
            limit = "none" if stage.timeout_s is None else seconds(stage.timeout_s)
            retries = f"{stage.retries}, after {stage.backoff_s:g} s" if stage.retries else "none"
            kind = KINDS[_kind(stage)]
            again = "runs again" if stage.on_interrupt == "resume" else "the run fails"
            rows.add_row(f"  {stage.name}", kind, retries, limit, seconds(stage.grace_s), again)
        parts.append(rows)
    show_page(Group(*parts))

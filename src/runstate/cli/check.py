"""`check`: whether definitions are right, and what they say."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from runstate.cli.console import show_page, tell, write_json
from runstate.cli.failures import DONE, FAILED
from runstate.cli.options import AsJson, Targets
from runstate.cli.words import seconds
from runstate.core.canonical import Json
from runstate.core.errors import DefinitionError
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.stage import LEASE_S, AsyncFunction, Command, PlainFunction, Stage

if TYPE_CHECKING:
    from runstate.cli.target import Loaded
    from runstate.core.model import Schedule
    from runstate.state.retention import Keep


def check(targets: Targets, as_json: AsJson = False) -> int:
    """Check the definitions of pipelines without running anything.

    Loads each TARGET as `serve` and `run` do, and prints its pipelines and stages. Exits 0 when all is right, 1 when
    a file cannot be loaded or a definition is wrong, 2 when a TARGET is not there.
    """
    from runstate.cli.target import NotLoaded, load_targets

    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the file prints is no part of the answer
            loaded = load_targets(targets)
    except (DefinitionError, NotLoaded) as mistake:
        if as_json:
            _write({"ok": False, "error": str(mistake)})
        tell(f"runstate: {mistake}")
        return FAILED
    if as_json:
        _write(_json(loaded))
    else:
        _print(loaded)
    return DONE


def _write(value: Json) -> None:
    from runstate.core.canonical import encode

    write_json(encode(value))


def _json(loaded: Loaded) -> Json:
    keep = None if loaded.keep is None else {"days": loaded.keep.days, "versions": loaded.keep.versions}
    webhooks = [
        {"receiver": hook.receiver, "on": list(hook.on), "secret_env": hook.secret_env} for hook in loaded.webhooks
    ]
    pipelines = [_pipeline_json(pipeline) for pipeline in loaded.pipelines]
    return {"ok": True, "pipelines": pipelines, "keep": keep, "webhooks": webhooks}


def _pipeline_json(pipeline: Pipeline) -> Json:
    return {
        "pipeline": pipeline.name,
        "place": pipeline.place,
        "progress_interval_s": pipeline.progress_interval_s,
        "run_policy": pipeline.run_policy,
        "timeout_s": pipeline.timeout_s,
        "schedule": _schedule_json(pipeline.timetable),
        "stages": [
            {
                "stage": stage.name,
                "kind": _kind(stage),
                "command": stage.work.text if isinstance(stage.work, Command) else None,
                "retries": stage.retries,
                "retry_on": None if stage.retry_on is None else list(stage.retry_on),
                "backoff_s": stage.backoff_s,
                "backoff_max_s": stage.backoff_max_s,
                "timeout_s": stage.timeout_s,
                "grace_s": stage.grace_s,
                "lease_s": None if stage.is_async else stage.lease_s or LEASE_S,
                "on_interrupt": stage.on_interrupt,
            }
            for stage in pipeline.stages
        ],
    }


def _schedule_json(schedule: Schedule | None) -> Json:
    members = ("cron", "tz", "enabled", "missed", "overlap")
    return None if schedule is None else {member: getattr(schedule, member) for member in members}


def _kind(stage: Stage) -> str:
    match stage.work:
        case AsyncFunction():
            return "async"
        case PlainFunction():
            return "process"
        case Command():
            return "command"


KINDS = {"async": "async task", "process": "child process", "command": "shell command"}


def _print(loaded: Loaded) -> None:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = []
    for pipeline in loaded.pipelines:
        parts.append(Text.assemble(("✔ ", "green"), (pipeline.name, "bold"), (f"  {pipeline.place}", "dim")))
        parts += [Text(f"  {sentence}") for sentence in _sentences(pipeline)]
        rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("  stage", "runs as", "retries", "time limit", "grace", "when interrupted"):
            rows.add_column(name, no_wrap=True)
        for stage in pipeline.stages:
            limit = "none" if stage.timeout_s is None else seconds(stage.timeout_s)
            again = "runs again" if stage.on_interrupt == "resume" else "the run fails"
            kind = KINDS[_kind(stage)]
            rows.add_row(f"  {stage.name}", kind, _retries(stage), limit, seconds(stage.grace_s), again)
        parts.append(rows)
    if loaded.keep is not None:
        parts.append(Text(f"history: {_kept(loaded.keep)}"))
    for hook in loaded.webhooks:
        signed = "not signed" if hook.secret_env is None else f"signed with ${hook.secret_env}"
        parts.append(Text(f"webhook: {hook.receiver} on {', '.join(hook.on)}, {signed}"))
    show_page(Group(*parts))


def _sentences(pipeline: Pipeline) -> list[str]:
    """Return what there is to say of a pipeline besides its stages."""
    said = []
    schedule = pipeline.timetable
    if schedule is not None:
        off = "" if schedule.enabled else ", not enabled"
        said.append(
            f"runs at {schedule.cron} ({schedule.tz}){off}; "
            f"when missed: {schedule.missed}, when one is active: {schedule.overlap}"
        )
    if pipeline.run_policy == "gated":
        said.append("starts are gated by its health")
    if pipeline.timeout_s is not None:
        said.append(f"a run may take {seconds(pipeline.timeout_s)}")
    return said


def _retries(stage: Stage) -> str:
    if not stage.retries:
        return "none"
    on = "" if stage.retry_on is None else f", on {' '.join(kind.removeprefix('builtins.') for kind in stage.retry_on)}"
    return f"{stage.retries}, after {stage.backoff_s:g} s{on}"


def _kept(keep: Keep) -> str:
    days = [] if keep.days is None else [f"versions of the last {keep.days:g} days stay"]
    versions = [] if keep.versions is None else [f"the latest {keep.versions} of each document stay"]
    return ", and ".join(days + versions) or "all of it stays"

"""`runstate.toml`: pipelines, what history keeps and who is told, without Python.

    [pipeline.nightly]            progress_interval_s, run_policy, timeout_s, schedule = { cron, tz, missed, overlap, enabled }
    [[pipeline.nightly.stage]]    name, command, retries, retry_on, backoff_s, backoff_max_s, timeout_s, grace_s,
                                  on_interrupt, lease_s, env, cwd
    [store]                       keep_days, keep_versions
    [[webhook]]                   url, on, secret_env

Law: the file says what the Python API says, in its words; every mistake is one sentence that begins with `file:line:`.
A command starts in the file's folder, and `cwd` counts from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from runstate.core.errors import DefinitionError, InvalidValue
from runstate.core.model import Schedule
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.options import CHECKS, COMMAND_CHECKS, check_limit, check_name, check_policy, check_seconds
from runstate.pipeline.schedule import MEMBERS, check_schedule
from runstate.pipeline.toml_table import Table, read_toml
from runstate.pipeline.webhook import WebhookConfig, webhook_config
from runstate.state.retention import Keep


@dataclass(frozen=True, slots=True)
class Configuration:
    """What one `runstate.toml` says."""

    pipelines: tuple[Pipeline, ...]  #: In the order of the file.
    keep: Keep | None  #: None: there is no [store].
    webhooks: tuple[WebhookConfig, ...]


def read_configuration(file: Path) -> Configuration:
    """Return what the file says.

    Raises:
        OSError: It cannot be read.
        DefinitionError: Something in it is wrong; the text begins with `file:line:`.
    """
    whole = read_toml(file)
    folder = file.absolute().parent
    pipelines = [_pipeline(name, table, folder) for name, table in whole.named_tables("pipeline").items()]
    keep = _keep(whole.table("store"))
    webhooks = _webhooks(whole.tables("webhook"))
    whole.done()
    return Configuration(tuple(pipelines), keep, tuple(webhooks))


def _pipeline(name: str, table: Table, folder: Path) -> Pipeline:
    check_name("pipeline", name, table.place())
    options = table.checked(
        {"progress_interval_s": check_seconds, "timeout_s": check_limit, "run_policy": check_policy}
    )
    pipeline = Pipeline(name, place=table.place(), **options)
    schedule = table.table("schedule")
    if schedule is not None:
        _set_schedule(pipeline, schedule)
    stages = table.tables("stage")
    if not stages:
        table.fail(f"pipeline {name} has no stage; add [[pipeline.{name}.stage]] with a name and a command")
    for stage in stages:
        _add_stage(pipeline, stage, folder)
    table.done()
    return pipeline


def _add_stage(pipeline: Pipeline, table: Table, folder: Path) -> None:
    name = check_name("stage", table.needed("name", '"translator"'), table.place("name"))
    table.needed("command", '"python translate.py --out {workdir}"')
    options = table.checked({**COMMAND_CHECKS, **CHECKS})
    table.done()
    cwd = folder / (options.pop("cwd", None) or "")
    pipeline.command(name, options.pop("command"), cwd=cwd, place=table.place(), **options)


def _set_schedule(pipeline: Pipeline, table: Table) -> None:
    values = {"cron": table.needed("cron", '"0 7 * * 1-5"')}
    values |= {member: table.needed(member, "…") for member in MEMBERS if member in table}
    table.done()
    try:
        check_schedule(Schedule(**values), now_ms=0)
    except InvalidValue as wrong:
        member = str(wrong).partition(" ")[0]  # the sentence begins with the member that is wrong
        table.fail(str(wrong), member)
    pipeline.schedule(**values, place=table.place())


def _keep(table: Table | None) -> Keep | None:
    if table is None:
        return None
    found = table.checked({"keep_days": _days, "keep_versions": _versions})
    table.done()
    return Keep(found.get("keep_days"), found.get("keep_versions"))


def _days(name: str, value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise DefinitionError(f"{where}: {name} is {value!r}; a number of days from 0 is needed")
    return float(value)


def _versions(name: str, value: object, where: str) -> int:
    if type(value) is not int or value < 1:
        raise DefinitionError(f"{where}: {name} is {value!r}; a whole number from 1 is needed")
    return value


def _webhooks(tables: list[Table]) -> list[WebhookConfig]:
    webhooks: list[WebhookConfig] = []
    for table in tables:
        webhook = _webhook(table)
        if any(webhook.url == other.url for other in webhooks):
            table.fail("url is that of a [[webhook]] above; put what it is told of into the `on` of one", "url")
        webhooks.append(webhook)
    return webhooks


def _webhook(table: Table) -> WebhookConfig:
    url = table.needed("url", '"https://ops.example/hook"')
    on = table.needed("on", '["failed"]')
    secret = table.needed("secret_env", '"HOOK_SECRET"') if "secret_env" in table else None
    table.done()
    try:
        return webhook_config(url, on, secret)
    except DefinitionError as wrong:
        # The sentence begins with the key that is wrong.
        table.fail(str(wrong), str(wrong).partition(" ")[0])

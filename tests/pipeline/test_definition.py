"""What a person may write, and the one sentence for what they may not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runstate import Pipeline, StageContext
from runstate.core.errors import DefinitionError
from runstate.pipeline.definition import check_pipeline
from runstate.pipeline.options import expand


def plain(ctx: StageContext) -> None:
    """A plain function at the top of a module."""


async def coroutine(ctx: StageContext) -> None:
    """An async one."""


def test_a_stage_is_added_bare_or_called_and_stays_the_function_it_was() -> None:
    """The decorator returns the function itself."""
    pipeline = Pipeline("demo")
    assert pipeline.stage(coroutine) is coroutine
    assert pipeline.stage(name="second", retries=2)(plain) is plain
    first, second = pipeline.stages
    assert (first.name, first.is_async, first.retries) == ("coroutine", True, 0)
    assert (second.name, second.is_async, second.retries) == ("second", False, 2)
    assert (second.work.place.module, second.work.place.qualname) == (__name__, "plain")
    check_pipeline(pipeline)


@pytest.mark.parametrize("name", ["Market", "9lives", "", "a-b", "a b", "é", "a" * 65, 7, None])
def test_names_are_lower_case_words(name: Any) -> None:
    """The sentence names the file and line."""
    with pytest.raises(DefinitionError, match=r"test_definition\.py:\d+: pipeline name"):
        Pipeline(name)
    if name is not None:
        with pytest.raises(DefinitionError, match="stage name"):
            Pipeline("demo").stage(name=name)(coroutine)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"retries": -1}, "retries is -1"),
        ({"retries": 1.5}, "retries is 1.5"),
        ({"retries": True}, "retries is True"),
        ({"backoff_s": "1"}, "backoff_s is '1'"),
        ({"timeout_s": math.nan}, "timeout_s is nan"),
        ({"timeout_s": 0}, "timeout_s is 0; leave it out"),
        ({"grace_s": -1}, "grace_s is -1"),
        ({"lease_s": 5}, "lease_s is for plain functions and commands"),
        ({"lease_s": math.inf}, "lease_s is inf"),
        ({"on_interrupt": "ignore"}, 'use "resume" or "fail"'),
        ({"backoff_max_s": math.inf}, "backoff_max_s is inf"),
        ({"backoff_s": 9, "backoff_max_s": 3}, "backoff_s is 9, more than backoff_max_s 3"),
        ({"retry_on": []}, "a list of exception types or codes is needed"),
        ({"retry_on": 7}, "retry_on is 7"),
        ({"retry_on": ["time-out"]}, "names 'time-out'; it may name exception types .* timeout"),
        ({"retry_on": ["stopped"]}, "names 'stopped'"),
        ({"retry_on": [int]}, "names <class 'int'>"),
    ],
)
def test_a_wrong_option_is_one_sentence_that_names_the_stage(options: dict[str, Any], complaint: str) -> None:
    """And the pipeline, and where the function stands."""
    with pytest.raises(
        DefinitionError, match=rf"stage coroutine of pipeline demo \(.*test_definition\.py:\d+\): .*{complaint}"
    ):
        Pipeline("demo").stage(**options)(coroutine)


def test_stage_names_are_unique() -> None:
    """A second one of the same name is refused."""
    pipeline = Pipeline("demo")
    pipeline.stage(coroutine)
    with pytest.raises(DefinitionError, match="there is a stage coroutine already"):
        pipeline.stage(coroutine)


def test_a_plain_function_must_be_importable() -> None:
    """A child process imports it by module and name."""

    def nested(ctx: StageContext) -> None: ...

    for function in (nested, lambda ctx: None):
        with pytest.raises(DefinitionError, match="must stand at the top of a module"):
            Pipeline("demo").stage(name="nested")(function)


def test_a_stage_takes_one_argument() -> None:
    """The StageContext."""

    async def none() -> None: ...
    async def two(ctx: StageContext, more: int) -> None: ...

    for function in (none, two):
        with pytest.raises(DefinitionError, match="exactly one argument"):
            Pipeline("demo").stage(function)


def test_a_pipeline_without_stages_is_refused_when_it_is_served() -> None:
    """The sentence says how to add one."""
    with pytest.raises(DefinitionError, match=r"add one with @demo\.stage"):
        check_pipeline(Pipeline("demo"))


def test_options_that_are_none_are_refused() -> None:
    """Nothing is silently ignored."""
    with pytest.raises(DefinitionError, match='run_policy is \'never\'; use "always" or "gated"'):
        Pipeline("demo", run_policy="never")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="progress_interval_s is -1"):
        Pipeline("demo", progress_interval_s=-1)
    with pytest.raises(DefinitionError, match="needs a function"):
        Pipeline("demo").stage("nope")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("merger", ""), "command is ''"),
        (("merger", 7), "command is 7"),
        (("merger", "a\0b"), "the text of a shell command is needed"),
        (("merger", "merge {outdir}"), r"'\{outdir\}', which is no placeholder; there are \{workdir\}, \{run_id\}"),
        (("merger", "echo ${HOME}"), r"'\{HOME\}', which is no placeholder.* written twice"),
        (("merger", "echo {}"), "which is no placeholder"),
        (("merger", "echo }"), "'}', which is no placeholder"),
        (("Merger", "true"), "stage name 'Merger'"),
        (("first", "true"), "there is a stage first already"),
    ],
)
def test_a_wrong_command_is_one_sentence_that_names_the_line(arguments: tuple[Any, ...], complaint: str) -> None:
    pipeline = Pipeline("demo")
    pipeline.command("first", "true")
    with pytest.raises(DefinitionError, match=rf"test_definition\.py:\d+.*{complaint}"):
        pipeline.command(*arguments)
    assert pipeline.stage_order == ("first",)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"retries": -1}, "stage merger of pipeline demo .* retries is -1"),
        ({"env": ["A=1"]}, "env is "),
        ({"env": {"A": 1}}, "env sets A to 1"),
        ({"env": {"A=B": "1"}}, "env has a variable named 'A=B'"),
        ({"env": {"RUNSTATE_METADATA": "{}"}}, "runstate's own to set"),
        ({"cwd": ""}, "cwd is ''"),
    ],
)
def test_a_wrong_option_of_a_command_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        Pipeline("demo").command("merger", "true", **options)
    with pytest.raises(TypeError):
        Pipeline("demo").command("merger", "true", shell="zsh")


def test_placeholders_are_replaced_and_braces_stay() -> None:
    """Also where a value looks like a placeholder."""
    values = {"workdir": "{run_id}", "run_id": "7", "attempt": "2"}
    assert expand("a {workdir}/{attempt} ${{HOME}} }}{{", values) == "a {run_id}/2 ${HOME} }{"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"cron": "0 25 * * *"}, "cron '0 25 \\* \\* \\*' is not a cron expression: bad hour"),
        ({"cron": "* * * *"}, "has 4 fields; 5 are needed, or 6 with seconds in front"),
        ({"cron": "0 0 30 2 *"}, "is not a cron expression: bad day-of-month"),
        ({"cron": "0 0 * * *", "tz": "Mars/Olympus"}, "tz 'Mars/Olympus' is not a time zone"),
        ({"cron": "0 0 * * *", "missed": "twice"}, "missed is 'twice'; use skip or run_once"),
        ({"cron": "0 0 * * *", "overlap": "both"}, "overlap is 'both'; use skip or queue"),
        ({"cron": "0 0 * * *", "enabled": 1}, "enabled is 1; true or false is needed"),
        ({"cron": 5}, "cron is 5; a text is needed"),
    ],
)
def test_a_schedule_that_is_none_names_its_place(arguments: dict[str, Any], text: str) -> None:
    """One sentence: where, what, what to do."""
    pipeline = Pipeline("demo")
    with pytest.raises(DefinitionError, match=rf"pipeline demo \(.*test_definition.py:\d+\): schedule: .*{text}"):
        pipeline.schedule(**arguments)


def test_a_pipeline_has_one_schedule() -> None:
    """A second one would be ignored silently."""
    pipeline = Pipeline("demo")
    pipeline.schedule("0 7 * * 1-5", tz="America/Chicago")
    with pytest.raises(DefinitionError, match="there is a schedule already"):
        pipeline.schedule("0 8 * * *")

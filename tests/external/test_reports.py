"""What a report means: pure, on values."""

from __future__ import annotations

import pytest

from runstate.core.canonical import FrozenJson
from runstate.core.errors import InvalidValue, ReporterRefused, StaleAttempt, TransitionRejected
from runstate.core.events import StopAsked
from runstate.core.model import Trigger
from runstate.core.reports import KEPT_ANSWERS, Reporter, fold, read_facts
from runstate.core.run import Run, new_run, step


def fresh(*plan: str) -> Run:
    return new_run(
        pipeline="predict", run_id="r1", plan=plan or ("load", "infer"), metadata=FrozenJson({}),
        trigger=Trigger(kind="external"), now_ms=0,
    )  # fmt: skip


def after(run: Run, *facts: dict) -> Run:
    for event in fold(run, read_facts(list(facts)), now_ms=1000).events:
        run = step(run, event, now_ms=1000)
    return run


def started(stage: str) -> dict:
    return {"fact": "stage_started", "stage": stage}


def succeeded(stage: str, **outputs: object) -> dict:
    return {"fact": "stage_succeeded", "stage": stage, "outputs": outputs}


@pytest.mark.rule("C8", "D2")
def test_facts_take_a_run_from_its_first_stage_to_success():
    run = after(
        fresh(),
        started("load"),
        {"fact": "progress", "stage": "load", "done": 3, "total": 10, "unit": "files", "message": "x.csv"},
        {"fact": "metadata", "metadata": {"user": 7}},
        succeeded("load", rows=3),
        started("infer"),
        {"fact": "heartbeat"},
        {"fact": "stage_skipped", "stage": "infer", "reason": "cached"},
    )

    document = run.context.to_dict()
    assert (document["state"], document["metadata"]) == ("success", {"user": 7})
    assert document["stages"]["load"]["outputs"] == {"rows": 3}
    assert document["stages"]["load"]["progress"] == {"done": 3, "total": 10, "unit": "files", "message": "x.csv"}
    assert document["stages"]["infer"]["state"] == "skipped"


@pytest.mark.rule("C8")
def test_lines_go_to_the_log_and_not_into_the_document():
    facts = read_facts([started("load"), {"fact": "log", "text": "a\nb", "level": "WARNING"}])
    folded = fold(fresh(), facts, now_ms=0)

    assert [(line.stage, line.attempt, line.level, line.text) for line in folded.lines] == [
        ("load", 1, "warning", "a"),
        ("load", 1, "warning", "b"),
    ]
    assert len(folded.events) == 1


@pytest.mark.rule("C8")
@pytest.mark.parametrize(
    ("facts", "refusal", "words"),
    [
        ([started("infer")], TransitionRejected, "starting to running_infer"),
        ([started("load"), started("infer")], TransitionRejected, "running_load to running_infer"),
        ([succeeded("load")], StaleAttempt, "stage load is not running, the run is starting"),
        ([started("load"), {"fact": "progress", "stage": "infer", "done": 1}], StaleAttempt, "running_load"),
        ([started("load"), {"fact": "heartbeat", "stage": "infer"}], StaleAttempt, "stage infer is not running"),
        ([started("nothing")], InvalidValue, "it has load, infer"),
        ([started("load"), {"fact": "progress", "stage": "load", "done": 2**60}], InvalidValue, "progress.done"),
        ([started("load"), succeeded("load", rows="x" * 70_000)], InvalidValue, "outputs of stage load"),
        ([started("load"), {"fact": "stage_failed", "stage": "load"}, started("load")], TransitionRejected, "failed"),
    ],
)
def test_a_fact_that_may_not_be_refuses_all(facts, refusal, words):
    with pytest.raises(refusal, match=words):
        fold(fresh(), read_facts(facts), now_ms=0)


@pytest.mark.rule("C7", "C8")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "1 to 1000 facts"),
        ([{"fact": "nonsense"}], "nonsense"),
        ([{"stage": "load"}], "fact"),
        ([{"fact": "progress", "stage": "load"}], "done"),
        ([started("load"), {"fact": "progress", "stage": "load", "done": True}], r"facts\[1\].done"),
        ([{"fact": "progress", "stage": "load", "done": 1, "more": 2}], "more"),
        ([7], "object"),
        ([{"fact": "heartbeat"}] * 1001, "1 to 1000 facts"),
    ],
)
def test_what_is_no_list_of_facts_is_refused_by_name(value, words):
    with pytest.raises(InvalidValue, match=words):
        read_facts(value)


@pytest.mark.rule("C5", "C8")
@pytest.mark.parametrize(
    "end", [succeeded("load"), {"fact": "stage_failed", "stage": "load"}, {"fact": "stage_failed"}]
)
def test_stop_wins_and_what_follows_is_dropped(end):
    run = after(fresh(), started("load"))
    run = step(run, StopAsked("me", "enough"), now_ms=1)
    run = after(run, end, started("infer"))

    assert (run.context.state, run.context.error) == ("stopped", "Stopped: enough")


@pytest.mark.rule("C8")
@pytest.mark.parametrize("facts", [[], [started("load")]])
def test_a_failure_without_a_stage_is_the_runs(facts):
    run = after(fresh(), *facts, {"fact": "stage_failed", "error": "ValueError: no", "error_code": "bad_input"})

    assert (run.context.state, run.context.error, run.context.error_code) == ("failed", "ValueError: no", "bad_input")


@pytest.mark.rule("C8")
@pytest.mark.parametrize("first", [0, 1])
def test_reports_are_numbered_without_gaps(first):
    reporter = Reporter(token="t", lease_s=1, at_ms=0)
    with pytest.raises(ReporterRefused, match="begin with 1"):
        reporter.check_next(2)
    reporter.check_next(first)
    for at in range(KEPT_ANSWERS + 5):
        reporter = reporter.after(first + at, version=10 + at)

    assert reporter.version_of(first + 5) == 15
    assert reporter.version_of(first + KEPT_ANSWERS + 4) == KEPT_ANSWERS + 14
    assert reporter.version_of(first + 4) is reporter.version_of(first + KEPT_ANSWERS + 5) is None
    with pytest.raises(ReporterRefused, match="not kept"):
        reporter.check_next(first + 4)
    with pytest.raises(ReporterRefused, match=f"a gap; {first + KEPT_ANSWERS + 5} comes next"):
        reporter.check_next(first + KEPT_ANSWERS + 6)

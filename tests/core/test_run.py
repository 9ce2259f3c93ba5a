"""Whatever happens to a run, in whatever order, its document stays true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import FrozenJson
from runstate.core.errors import CallerError, InvalidValue, StaleAttempt, TransitionRejected
from runstate.core.events import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptStarted,
    Event,
    MetadataChanged,
    ProgressReported,
    RunFailed,
    RunRetried,
    RunStopped,
    StageSkipped,
    StageSucceeded,
    StopAsked,
    WorkerHeard,
    WorkerKnown,
)
from runstate.core.machine import Phase, State, check_move, is_terminal, phase_of, status_of
from runstate.core.model import MAX_ERROR_BYTES, Progress, Trigger, Worker, decode_run
from runstate.core.run import Run, new_run, state_of, step

PLAN = ("translator", "analyzer", "merger")
NOW_MS = 1_790_000_000_000

stages = st.sampled_from([*PLAN, "unknown"])
attempts = st.integers(0, 3)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(AttemptStarted, stages),
    st.builds(WorkerKnown, stages, attempts, st.just(Worker(pid=1, start_time=2, boot_id="b"))),
    st.builds(ProgressReported, stages, attempts, st.builds(Progress, done=st.integers(0, 9))),
    st.builds(WorkerHeard, stages, attempts),
    st.builds(
        MetadataChanged, stages, attempts, st.sampled_from([FrozenJson({"a": None}), FrozenJson({"a": {"b": 1}})])
    ),
    st.builds(StageSucceeded, stages, attempts, st.just(FrozenJson({"rows": 1.5}))),
    st.builds(StageSkipped, stages, attempts),
    st.builds(AttemptFailed, stages, attempts, st.text(max_size=5), st.just("exception"), st.booleans()),
    st.builds(AttemptInterrupted, stages, st.booleans()),
    st.just(RunFailed("NotStartable: gone", "not_startable")),
    st.just(RunRetried()),
    st.just(StopAsked("me", "enough")),
    st.just(RunStopped()),
)


def begin() -> Run:
    return new_run(
        pipeline="market",
        run_id="r1",
        plan=PLAN,
        metadata=FrozenJson({}),
        trigger=Trigger(kind="manual"),
        now_ms=NOW_MS,
    )


def run_of(*happened: Event) -> Run:
    run = begin()
    for event in happened:
        run = step(run, event, now_ms=NOW_MS)
    return run


@given(st.lists(events, max_size=30))
def test_every_sequence_of_events_leaves_a_true_document(happened: list[Event]) -> None:
    """Refused events change nothing; the others make legal moves and consistent documents (PROTOCOL D1-D4)."""
    run = begin()
    for event in happened:
        try:
            new = step(run, event, now_ms=NOW_MS)
        except CallerError:
            continue
        old_context, context = run.context, new.context
        if context.state != old_context.state:
            check_move(PLAN, state_of(old_context), state_of(context))
        if is_terminal(old_context.state) and context.state != old_context.state:
            assert (event, context.state) == (RunRetried(), "retrying")
        if isinstance(event, RunRetried):
            assert old_context.state in ("failed", "stopped")
            assert context.stop_requested is None
        assert context.status == status_of(context.state)
        running = [name for name, record in context.stages.items() if record.state in ("running", "retrying")]
        assert running == ([context.current_stage] if context.current_stage else [])
        assert (context.current_stage is not None) == (phase_of(context.state) in (Phase.RUNNING, Phase.RETRYING))
        assert (context.ended_at is not None) == is_terminal(context.state)
        has_error = phase_of(context.state) in (Phase.RETRYING, Phase.FAILED, Phase.STOPPED)
        assert has_error or (context.error is None and context.error_code is None)
        assert context.retry_count == sum(max(0, record.attempt - 1) for record in context.stages.values())
        assert decode_run(context.encoded()) == context
        run = new


def test_an_old_attempt_is_fenced() -> None:
    """Whatever it still sends is refused (PROTOCOL C5)."""
    run = run_of(
        AttemptStarted("translator"),
        AttemptFailed("translator", 1, "ValueError: x", "exception", retry=True),
        AttemptStarted("translator"),
    )
    late: list[Event] = [
        ProgressReported("translator", 1, Progress(done=1)),
        StageSucceeded("translator", 1, FrozenJson({})),
        AttemptFailed("translator", 1, "x", "exception", retry=True),
        MetadataChanged("translator", 1, FrozenJson({"a": 1})),
        WorkerHeard("analyzer", 1),
    ]
    for event in late:
        with pytest.raises(StaleAttempt, match="not the one that is running"):
            step(run, event, now_ms=NOW_MS)


def test_a_refused_move_names_both_states() -> None:
    """Nothing changes then (PROTOCOL D2)."""
    run = run_of(AttemptStarted("translator"))
    with pytest.raises(TransitionRejected, match="from running_translator to running_translator"):
        step(run, AttemptStarted("translator"), now_ms=NOW_MS)
    with pytest.raises(TransitionRejected, match="from starting to running_merger"):
        check_move(PLAN, State(Phase.STARTING, None), State(Phase.RUNNING, "merger"))


def test_metadata_is_changed_by_a_merge_patch() -> None:
    """None removes a member, objects merge (RFC 7396)."""
    run = run_of(AttemptStarted("translator"))
    for patch in ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}, "d": [1]}, {"d": None}):
        run = step(run, MetadataChanged("translator", 1, FrozenJson(patch)), now_ms=NOW_MS)
    assert run.context.metadata == {"a": {"c": 2}}


def test_texts_and_outputs_have_limits() -> None:
    """An error is cut and marked; outputs that are too large are refused."""
    run = run_of(AttemptStarted("translator"), AttemptFailed("translator", 1, "é" * 9000, "exception", retry=False))
    error = run.context.error
    assert error is not None and error.endswith("… [cut]") and len(error.encode()) <= MAX_ERROR_BYTES
    with pytest.raises(InvalidValue, match="outputs of stage translator are"):
        step(
            run_of(AttemptStarted("translator")),
            StageSucceeded("translator", 1, FrozenJson({"x": "y" * 70_000})),
            now_ms=NOW_MS,
        )


def test_nobody_can_change_a_document_that_was_handed_out() -> None:
    """The stages of a frozen context are read-only too."""
    context = begin().context
    with pytest.raises(TypeError):
        context.stages["translator"] = context.stages["merger"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        context.state = "success"  # type: ignore[misc]

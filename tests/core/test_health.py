"""What recent runs say about a pipeline, and what its run policy makes of that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runstate.core.health import (
    BLOCKING,
    RECENT,
    Memory,
    decode_memory,
    encode_memory,
    judge,
    make_remark,
    refusal,
    remember,
)
from runstate.core.model import Health, RunContext, StageRecord

PLAN = ("translator", "analyzer")
ends = st.lists(
    st.tuples(
        st.sampled_from(["success", "failed", "stopped", "idle"]),
        st.sampled_from(["exception", "timeout", "out_of_memory", "not_startable", "mine"]),
        st.sampled_from(PLAN),
        st.integers(0, 6),
    ),
    max_size=12,
)


def end_of(state: str, code: str = "exception", stage: str = "translator", number: int = 0) -> RunContext:
    failed = state == "failed"
    stages = {name: StageRecord(state="failed" if failed and name == stage else "success") for name in PLAN}
    status: Any = {"success": "idle", "idle": "idle", "failed": "error", "stopped": "stopped"}[state]
    return RunContext(
        epoch="1-00000000", pipeline="demo", run_id=f"r{number}", version=9, state=state, status=status,
        error="it says lock, disk and memory" if failed else None, error_code=code if failed else None, stage_order=PLAN, stages=stages,
    )  # fmt: skip


def after(*contexts: RunContext) -> Memory:
    memory = Memory()
    for context in contexts:
        memory = remember(memory, context)
    return memory


def states(*told: tuple[str, ...]) -> str:
    return judge(after(*(end_of(*one, number=number) for number, one in enumerate(told)))).state


def test_the_four_states() -> None:
    """From best to worst; the worst that holds is shown, with every reason."""
    assert states() == "healthy"
    assert states(("success",), ("failed",)) == "healthy"
    assert states(("failed", "exception", "analyzer"), ("failed", "timeout", "analyzer")) == "degraded"
    assert states(("failed", "exception", "analyzer"), ("failed", "timeout", "translator")) == "healthy"
    assert states(("failed",), ("success",), ("failed",), ("success",), ("failed",)) == "unstable"
    for code in BLOCKING:
        assert states(("success",), ("failed", code)) == "blocked"
        assert states(("failed", code), ("success",)) == "healthy"
    health = judge(after(*(end_of("failed", "out_of_memory", number=n) for n in range(3))))
    assert [reason.partition(":")[0] for reason in health.reasons] == ["out_of_memory", "failed_often", "same_stage"]


@given(ends)
def test_health_follows_from_the_last_ends_that_say_something(told: list[tuple[str, str, str, int]]) -> None:
    """An oracle over plain lists: a retried run counts once, stopped and cancelled runs say nothing, texts are not read."""
    memory = after(*(end_of(state, code, stage, number) for state, code, stage, number in told))
    kept: list[tuple[int, str | None, str]] = []
    for state, code, stage, number in told:
        if state in ("success", "failed"):
            kept = [one for one in kept if one[0] != number] + [(number, code if state == "failed" else None, stage)]
    # What was pushed out by newer ends does not come back.
    kept = kept[-RECENT:]
    failed = [one for one in kept if one[1] is not None]
    if kept and kept[-1][1] in BLOCKING:
        expected = "blocked"
    elif len(failed) >= 3:
        expected = "unstable"
    elif len(kept) > 1 and kept[-1][1] and kept[-2][1] and kept[-1][2] == kept[-2][2]:
        expected = "degraded"
    else:
        expected = "healthy"
    health = judge(memory)
    assert health.state == expected
    assert (health.state == "healthy") == (health.reasons == ())
    assert decode_memory(encode_memory(memory)) == memory


@given(st.binary(max_size=60))
def test_what_cannot_be_read_is_blocked(garbage: bytes) -> None:
    """The gate fails closed, and an acknowledgement opens it."""
    memory = decode_memory(garbage)
    if memory.is_damaged:
        assert judge(memory).state == "blocked"
        assert judge(Memory(acknowledged=make_remark("restored", by="me", at="now"))).state == "healthy"


@pytest.mark.parametrize(
    ("state", "scheduled", "override", "starts"),
    [
        ("healthy", True, False, True), ("healthy", False, False, True),
        ("degraded", True, True, False), ("degraded", False, False, False), ("degraded", False, True, True),
        ("unstable", True, True, False), ("unstable", False, False, False), ("unstable", False, True, True),
        ("blocked", True, True, False), ("blocked", False, False, False), ("blocked", False, True, False),
    ],
)  # fmt: skip
def test_the_gate(state: Any, scheduled: bool, override: bool, starts: bool) -> None:
    """`always` refuses nothing; `gated` as the table says."""
    health = Health(state=state)
    assert (refusal(health, "gated", scheduled=scheduled, override=override) is None) == starts
    assert refusal(health, "always", scheduled=scheduled, override=override) is None


def test_an_acknowledgement_is_shown_until_the_next_end() -> None:
    """With who, when and why."""
    memory = Memory(acknowledged=make_remark("more memory", by="ann", at="2026-11-23T12:00:00.000Z"))
    assert judge(memory).reasons == ("acknowledged: more memory (2026-11-23T12:00:00.000Z by ann)",)
    assert judge(remember(memory, end_of("success"))) == Health()
    assert judge(remember(replace(memory), end_of("stopped"))) == judge(memory)

"""What can happen to a pipeline's document: pure functions from one `Owner` to the next.

The commit stamps version and time (`core/commit.py`); health is always what the memory gives (`core/health.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from runstate.core.health import Memory, judge, make_remark, remember
from runstate.core.model import PipelineDocument, RunContext, Schedule
from runstate.core.times import format_time


class Owner(NamedTuple):
    """A pipeline's document and what is remembered beside it."""

    document: PipelineDocument
    memory: Memory


#: What a commit makes of a pipeline; raises what refuses the commit.
Change = Callable[[Owner], Owner]


def with_memory(owner: Owner, memory: Memory) -> Owner:
    """Return the pipeline with this memory and the health that it gives."""
    return Owner(replace(owner.document, health=judge(memory)), memory)


def with_schedule(owner: Owner, schedule: Schedule | None) -> Owner:
    """Return the pipeline with this schedule."""
    return Owner(replace(owner.document, schedule=schedule), owner.memory)


def after_run(owner: Owner, context: RunContext) -> Owner:
    """Return the pipeline after the end of one of its runs."""
    return with_memory(owner, remember(owner.memory, context))


def acknowledged(owner: Owner, reason: str, *, by: str | None, now_ms: int) -> Owner:
    """Return the pipeline after a person took note of what its runs did: they count no more."""
    remark = make_remark(reason, by=by, at=format_time(now_ms))
    return with_memory(owner, Memory(acknowledged=remark, defined=owner.memory.defined))


def start_refused(owner: Owner, *, by: str | None, now_ms: int) -> Owner:
    """Return the pipeline after its run policy refused a start."""
    remark = make_remark(f"a start while {owner.document.health.state}", by=by, at=format_time(now_ms))
    return with_memory(owner, replace(owner.memory, refused=remark))

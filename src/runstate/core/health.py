"""Health: what the recent runs of a pipeline say about it, and whether its run policy lets another one start.

Pure functions over committed ends of runs; they read codes, never texts. What cannot be read counts as bad: a gate that
does not know stays shut. Runs that were stopped or cancelled say nothing, so they can neither cause nor clear anything.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from runstate.core.machine import Phase, phase_of
from runstate.core.model import Health, RunContext, Schedule, cut_text

RECENT = 5  # runs that count
UNSTABLE = 3  # of them failed
BLOCKING = frozenset({"out_of_memory", "not_startable"})  # codes after which another run would only do harm
MAX_REMARK_BYTES = 512

Policy = Literal["always", "gated"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How one run ended that succeeded or failed."""

    run_id: str
    code: str | None = None  #: Its `error_code`; None: it succeeded.
    stage: str | None = None  #: The stage that failed.


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did about a pipeline."""

    at: str
    by: str | None
    text: str


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What must be remembered of a pipeline beside its document; journalled with it."""

    recent: tuple[Ended, ...] = ()  #: The latest ends since the last acknowledgement, oldest first.
    acknowledged: Remark | None = None  #: Until a run ends after it.
    refused: Remark | None = None  #: The last start that the run policy refused, until one is let in.
    defined: Schedule | None = None  #: The schedule as the definition said it last; what a person set is told from it.
    is_damaged: bool = False  #: It could not be read, so nothing is known.


def encode_memory(memory: Memory) -> bytes:
    """Return the memory as it is journalled."""
    return msgspec.json.encode(memory)


def decode_memory(encoded: bytes) -> Memory:
    """Return the memory that `encode_memory` wrote; anything else is a damaged one."""
    try:
        return msgspec.json.decode(encoded, type=Memory)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Memory(is_damaged=True)


def remember(memory: Memory, context: RunContext) -> Memory:
    """Return the memory after this run ended; the end of a retried run takes the place of its earlier one."""
    phase = phase_of(context.state)
    if phase not in (Phase.SUCCESS, Phase.FAILED):
        return memory
    assert context.run_id is not None, "a run that ended has an id"
    failed = [name for name in context.stage_order if context.stages[name].state == "failed"]
    ended = Ended(
        run_id=context.run_id,
        code=None if phase is Phase.SUCCESS else context.error_code or "exception",
        stage=failed[0] if failed and phase is Phase.FAILED else None,
    )
    others = [other for other in memory.recent if other.run_id != context.run_id]
    return replace(memory, recent=tuple([*others, ended][-RECENT:]), acknowledged=None, refused=None)


def judge(memory: Memory) -> Health:
    """Return the health that the recent runs give, with each reason as `word: sentence`."""
    found: list[tuple[Literal["blocked", "unstable", "degraded"], str]] = []
    if memory.is_damaged:
        found.append(("blocked", "history_unreadable: what is remembered of recent runs cannot be read"))
    failed = [ended for ended in memory.recent if ended.code is not None]
    last = memory.recent[-1:]
    if last and last[0].code in BLOCKING:
        where = f" in stage {last[0].stage}" if last[0].stage else ""
        found.append(("blocked", f"{last[0].code}: run {last[0].run_id} ended so{where}"))
    if len(failed) >= UNSTABLE:
        found.append(("unstable", f"failed_often: {len(failed)} of the last {len(memory.recent)} runs failed"))
    pair = memory.recent[-2:]
    if len(pair) == 2 and pair[0].stage is not None and pair[0].stage == pair[1].stage:
        found.append(("degraded", f"same_stage: stage {pair[0].stage} failed in the last two runs"))
    remarks = [("refused", memory.refused), ("acknowledged", memory.acknowledged)]
    said = [f"{word}: {_words(remark)}" for word, remark in remarks if remark is not None]
    state = found[0][0] if found else "healthy"  # they are looked for from worst to best
    return Health(state=state, reasons=tuple([reason for _, reason in found] + said))


def _words(remark: Remark) -> str:
    by = f" by {remark.by}" if remark.by else ""
    return f"{remark.text} ({remark.at}{by})"


def make_remark(text: str, *, by: str | None, at: str) -> Remark:
    """Return a remark, its text cut where it is long."""
    return Remark(at=at, by=by, text=cut_text(text, MAX_REMARK_BYTES))


def refusal(health: Health, policy: Policy, *, scheduled: bool, override: bool) -> str | None:
    """Return why a run may not start now, as a clause; None: it may."""
    if policy == "always" or health.state == "healthy":
        return None
    if health.state == "blocked" or scheduled:
        return f"is {health.state}; scheduled runs wait until it is healthy, others until somebody acknowledges it"
    if not override:
        return f"is {health.state}; start it with override, or acknowledge what happened"
    return None

"""The exam of a `StageRunner`: what every executor of stages promises, checked the same way for each.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_runner(check, tmp_path):
        asyncio.run(check(Candidate(lambda: ChildRunner([PLAIN]), tmp_path)))

`PLAIN` and `ASYNC` hold the same stages for child processes and for the server's loop; a runner of another kind needs
stages of these names that do the same. `SHELL` holds those that a command can be, for `SHELL_CHECKS`. Longer than other
files because a check reads best beside the stage it runs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstate.core import canonical
from runstate.core.errors import InvalidValue, NotStartable
from runstate.core.facts import (
    Fact,
    Failed,
    HeartbeatHeard,
    LineLogged,
    MetadataPatched,
    Outcome,
    ProgressMade,
    Skipped,
    Succeeded,
)
from runstate.core.model import make_progress
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.stage import Fatal, Skip, StageContext
from runstate.ports import Attempt, StageRunner, StageTask

LIMIT_S = 20.0  # for one check; nothing in it takes long
PLAIN = Pipeline("exam")
ASYNC = Pipeline("exam")
SHELL = Pipeline("exam")


def _both(function: Callable[[StageContext], Any]) -> Callable[[StageContext], Any]:
    """Add a stage that never waits to both pipelines."""

    async def the_same(ctx: StageContext) -> Any:
        return function(ctx)

    PLAIN.stage(function)
    ASYNC.stage(name=function.__name__)(the_same)
    return function


@_both
def returns(ctx: StageContext) -> dict[str, object]:
    """Return what the stage knows of its attempt."""
    return {
        "run": [ctx.run_id, ctx.pipeline, ctx.stage, ctx.attempt],
        "metadata": {"user": ctx.metadata["user"], "tags": list(ctx.metadata["tags"])},
        "outputs": ctx.outputs("translator"),
        "workdir": ctx.workdir.name,
        "stopping": ctx.stopping,
    }


@_both
def returns_nothing(ctx: StageContext) -> None:
    """Return None."""


@_both
def returns_list(ctx: StageContext) -> list[int]:
    """Return what is no JSON object."""
    return [1]


@_both
def returns_nan(ctx: StageContext) -> dict[str, float]:
    """Return what JSON has no number for."""
    return {"ratio": float("nan")}


@_both
def returns_much(ctx: StageContext) -> dict[str, object]:
    """Return more than a document holds, quickly refused."""
    return {"text": "x" * 200_000_000}


@_both
def raises(ctx: StageContext) -> None:
    """Raise an ordinary exception."""
    raise ValueError("no such file")


@_both
def fatal(ctx: StageContext) -> None:
    """Fail for good."""
    raise Fatal("the input is bad", code="bad_input")


@_both
def skips(ctx: StageContext) -> None:
    """Have nothing to do."""
    raise Skip("nothing new")


@_both
def exits(ctx: StageContext) -> None:
    """Leave by `sys.exit`."""
    raise SystemExit(3)


@_both
def starves(ctx: StageContext) -> None:
    """Run out of memory."""
    raise MemoryError


@_both
def counts(ctx: StageContext) -> None:
    """Say how far it is, often."""
    for done in range(1, 101):
        ctx.progress(done, total=100, unit="files")


@_both
def misreports(ctx: StageContext) -> None:
    """Say what cannot stand in a document, and learn of it at once."""
    for wrong in (
        lambda: ctx.progress(float("inf")),
        lambda: ctx.update_metadata({"n": 2**60}),
        lambda: ctx.outputs("none"),
    ):
        try:
            wrong()
        except (InvalidValue, KeyError):
            continue
        raise AssertionError("it was taken")


@_both
def speaks(ctx: StageContext) -> None:
    """Log in each way there is, and change the metadata."""
    ctx.log("one\ntwo")
    ctx.log("x" * 10_000, level="ERROR")
    logging.getLogger("somebody").warning("from %s", "logging")
    ctx.update_metadata({"seen": [1.5, None], "user": None})


@PLAIN.stage
def hangs(ctx: StageContext) -> None:
    """Say that it began, then wait for ever; say that it cleans up."""
    try:
        ctx.progress(1)
        threading.Event().wait()
    finally:
        ctx.log("cleaning up")


@PLAIN.stage
def stubborn(ctx: StageContext) -> None:
    """Swallow what asks it to end."""
    while True:
        try:
            ctx.progress(1)
            threading.Event().wait()
        except BaseException:
            ctx.log("no")


async def _hangs(ctx: StageContext) -> None:
    try:
        ctx.progress(1)
        await asyncio.Event().wait()
    finally:
        ctx.log("cleaning up")


async def _stubborn(ctx: StageContext) -> None:
    ctx.progress(1)
    for _ in range(3):  # one that never gives in cannot be killed in the loop
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ctx.log("no")
    await asyncio.Event().wait()


ASYNC.stage(name="hangs")(_hangs)
ASYNC.stage(name="stubborn")(_stubborn)


SHELL.command("counts", 'for n in $(seq 100); do echo "::progress $n/100 files"; done')
SHELL.command("hangs", "trap 'echo cleaning up; exit 1' TERM; echo ::progress 1; sleep 1000 & wait")
SHELL.command("stubborn", "trap 'echo no' TERM; echo ::progress 1; while true; do sleep 1000 & wait; done")


class Heard:
    """Every fact of an attempt, in order."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self._more = asyncio.Event()

    async def report(self, fact: Fact) -> None:
        """Take a fact, as the orchestrator would."""
        self.facts.append(fact)
        self._more.set()

    async def until(self, is_it: Callable[[Fact], bool]) -> None:
        """Return once a fact has come that `is_it`."""
        while not any(is_it(fact) for fact in self.facts):
            self._more.clear()
            await self._more.wait()

    def lines(self) -> list[tuple[str, str]]:
        """Return (level, text) of each log line."""
        return [(fact.level, fact.text) for fact in self.facts if isinstance(fact, LineLogged)]

    def counts(self) -> list[int | float]:
        """Return how far each progress was."""
        return [fact.progress.done for fact in self.facts if isinstance(fact, ProgressMade)]


@dataclass(frozen=True)
class Candidate:
    """A runner that takes the exam."""

    make: Callable[[], AbstractAsyncContextManager[StageRunner]]  #: Its heartbeat must be `0.05` s or more.
    workdir: Path

    def task(self, stage: str, interval_s: float = 0.0) -> StageTask:
        """Return the second attempt of a stage of the exam."""
        return StageTask(
            run_id="r1",
            pipeline="exam",
            stage=stage,
            attempt=2,
            metadata=canonical.encode({"user": "ann", "tags": ["a", "b"]}),
            outputs={"translator": canonical.encode({"files": 10})},
            workdir=self.workdir,
            progress_interval_s=interval_s,
        )

    @asynccontextmanager
    async def prepared(self, stage: str, interval_s: float = 0.0) -> AsyncIterator[tuple[Attempt, Heard]]:
        """Give an attempt that waits for `go`."""
        async with asyncio.timeout(LIMIT_S), self.make() as runner:
            heard = Heard()
            yield await runner.prepare(self.task(stage, interval_s), heard.report), heard

    async def run(self, *stages: str, interval_s: float = 0.0) -> list[tuple[Outcome, Heard]]:
        """Run stages to their ends, one after the other."""
        ended = []
        async with asyncio.timeout(LIMIT_S), self.make() as runner:
            for stage in stages:
                heard = Heard()
                attempt = await runner.prepare(self.task(stage, interval_s), heard.report)
                attempt.go()
                ended.append((await attempt.wait(), heard))
        return ended


Check = Callable[[Candidate], Awaitable[None]]


async def returns_its_outputs(candidate: Candidate) -> None:
    """A stage sees its attempt, the metadata and earlier outputs, and what it returns are its outputs."""
    (outcome, _), (nothing, _) = await candidate.run("returns", "returns_nothing")
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.outputs.to_dict() == {
        "run": ["r1", "exam", "returns", 2],
        "metadata": {"user": "ann", "tags": ["a", "b"]},
        "outputs": {"files": 10},
        "workdir": candidate.workdir.name,
        "stopping": False,
    }
    assert isinstance(nothing, Succeeded), nothing
    assert nothing.outputs.to_dict() == {}


async def refuses_bad_outputs(candidate: Candidate) -> None:
    """A return value that cannot stand in a document fails the attempt, in a sentence naming stage and member."""
    words = {"returns_list": "list", "returns_nan": "outputs.ratio", "returns_much": "64 KiB"}
    for (stage, word), (outcome, _) in zip(words.items(), await candidate.run(*words), strict=True):
        assert isinstance(outcome, Failed), outcome
        assert (outcome.code, outcome.final) == ("bad_output", False)
        assert f"stage {stage}" in outcome.error, outcome.error
        assert word in outcome.error, outcome.error


async def tells_how_it_failed(candidate: Candidate) -> None:
    """Each way to fail has its code; the traceback is in the log."""
    (raised, heard), *others = await candidate.run("raises", "fatal", "skips", "exits", "starves")
    assert raised == Failed("ValueError: no such file", code="exception")
    assert ("error", "ValueError: no such file") in heard.lines()
    assert any("in raises" in text for _, text in heard.lines())
    assert [outcome for outcome, _ in others] == [
        Failed("Fatal: the input is bad", code="bad_input", final=True),
        Skipped("nothing new"),
        Failed("SystemExit: the stage called sys.exit(3)", code="exit_status"),
        Failed("MemoryError: ", code="out_of_memory"),
    ]


async def keeps_every_progress(candidate: Candidate) -> None:
    """With interval 0 every call is a fact, in order."""
    [(outcome, heard)] = await candidate.run("counts")
    assert isinstance(outcome, Succeeded), outcome
    assert heard.counts() == list(range(1, 101))
    assert heard.facts[-1] == ProgressMade(make_progress(100, 100, "files"))


async def folds_progress(candidate: Candidate) -> None:
    """Within the interval calls are folded, in order, and the last is reported before the end."""
    [(outcome, heard)] = await candidate.run("counts", interval_s=3600.0)
    assert isinstance(outcome, Succeeded), outcome
    assert 1 <= len(heard.counts()) <= 2
    assert heard.counts() == sorted(heard.counts())
    assert heard.counts()[-1] == 100


async def refuses_bad_facts(candidate: Candidate) -> None:
    """What cannot stand in a document is refused where the stage says it."""
    [(outcome, heard)] = await candidate.run("misreports")
    assert isinstance(outcome, Succeeded), outcome
    assert heard.facts == []


async def hears_lines_and_metadata(candidate: Candidate) -> None:
    """Log lines arrive one by one, bounded, from `ctx.log` and `logging`; a metadata patch as it was."""
    [(outcome, heard)] = await candidate.run("speaks")
    assert isinstance(outcome, Succeeded), outcome
    lines = heard.lines()
    assert lines[:2] == [("info", "one"), ("info", "two")]
    assert lines[2][0] == "error"
    assert lines[2][1].startswith("xxx")
    assert len(lines[2][1].encode()) <= 8 * 1024
    assert lines[2][1].endswith("[cut]")
    assert lines[3:] == [("warning", "from logging")]
    patches = [fact.patch.to_dict() for fact in heard.facts if isinstance(fact, MetadataPatched)]
    assert patches == [{"seen": [1.5, None], "user": None}]


async def stops(candidate: Candidate) -> None:
    """A stage that is asked to stop ends, and its `finally` blocks run."""
    async with candidate.prepared("hangs") as (attempt, heard):
        attempt.go()
        await heard.until(lambda fact: isinstance(fact, ProgressMade))
        attempt.stop()
        attempt.stop()
        outcome = await attempt.wait()
        assert isinstance(outcome, Failed), outcome
        assert outcome.code == "stopped"
        assert ("info", "cleaning up") in heard.lines()
        attempt.stop()
        attempt.kill()
        assert await attempt.wait() == outcome


async def kills(candidate: Candidate) -> None:
    """A stage that does not listen is killed."""
    async with candidate.prepared("stubborn") as (attempt, heard):
        attempt.go()
        await heard.until(lambda fact: isinstance(fact, ProgressMade))
        attempt.stop()
        await heard.until(lambda fact: fact == LineLogged("info", "no"))
        attempt.kill()
        outcome = await attempt.wait()
        assert isinstance(outcome, Failed), outcome
        assert outcome.code in ("killed", "stopped")


async def runs_nothing_before_go(candidate: Candidate) -> None:
    """An attempt that is stopped or killed before its `go` never ran."""
    for end, code in ((Attempt.stop, "stopped"), (Attempt.kill, "killed")):
        async with candidate.prepared("counts") as (attempt, heard):
            getattr(attempt, end.__name__)()
            attempt.go()
            outcome = await attempt.wait()
            assert isinstance(outcome, Failed), outcome
            assert outcome.code == code
            assert heard.facts == []


async def lives_while_it_is_silent(candidate: Candidate) -> None:
    """A stage that says nothing is still heard."""
    async with candidate.prepared("hangs") as (attempt, heard):
        attempt.go()
        await heard.until(lambda fact: isinstance(fact, HeartbeatHeard))
        attempt.kill()
        await attempt.wait()


async def ends_when_nobody_listens(candidate: Candidate) -> None:
    """An attempt whose facts are refused is killed, and `wait` tells why."""

    async def refuse(fact: Fact) -> None:
        raise InvalidValue(f"not now: {type(fact).__name__}")

    async with asyncio.timeout(LIMIT_S), candidate.make() as runner:
        attempt = await runner.prepare(candidate.task("hangs"), refuse)
        attempt.go()
        try:
            await attempt.wait()
        except InvalidValue as exc:
            assert str(exc) == "not now: ProgressMade"
        else:
            raise AssertionError("it ended well")


async def leaves_nothing_behind(candidate: Candidate) -> None:
    """A runner that is left has ended its attempts."""
    async with candidate.prepared("hangs") as (attempt, heard):
        attempt.go()
        await heard.until(lambda fact: isinstance(fact, ProgressMade))
    outcome = await attempt.wait()
    assert isinstance(outcome, Failed), outcome


async def knows_its_stages(candidate: Candidate) -> None:
    """A stage that the runner does not serve is not startable."""
    try:
        async with candidate.prepared("nothing"):
            pass
    except NotStartable as exc:
        assert "nothing" in str(exc)
    else:
        raise AssertionError("it was prepared")


CHECKS: tuple[Check, ...] = (
    returns_its_outputs,
    refuses_bad_outputs,
    tells_how_it_failed,
    keeps_every_progress,
    folds_progress,
    refuses_bad_facts,
    hears_lines_and_metadata,
    stops,
    kills,
    runs_nothing_before_go,
    lives_while_it_is_silent,
    ends_when_nobody_listens,
    leaves_nothing_behind,
    knows_its_stages,
)

SHELL_CHECKS: tuple[Check, ...] = (
    keeps_every_progress,
    folds_progress,
    stops,
    kills,
    runs_nothing_before_go,
    lives_while_it_is_silent,
    ends_when_nobody_listens,
    leaves_nothing_behind,
    knows_its_stages,
)

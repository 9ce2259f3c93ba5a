"""What a plain stage in its process may rely on, and what it costs the server."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

import pytest

from runstate import Pipeline
from runstate.core.errors import NotStartable
from runstate.core.facts import Failed, LineLogged, ProgressMade, Succeeded
from runstate.pipeline.runners.child import ChildRunner
from runstate.pipeline.runners.load import load_module
from runstate.testing.runner_exam import Heard
from tests.runners.running import LIMIT_S, run, run_once, task
from tests.runners.stages import misfits


def test_output_becomes_log_lines(tmp_path):
    """stdout is `info`, stderr `warning`; a line is cut at 8 KiB, a carriage return ends one, bad bytes do no harm."""
    outcome, heard = run_once(task(tmp_path, "prints"))

    assert isinstance(outcome, Succeeded)
    out = [text for level, text in heard.lines() if level == "info"]
    assert out[:3] == ["höhe", "bad bytes: �", "from a child"]
    assert out[3].startswith("xxx")
    assert out[3].endswith("… [cut]")
    assert len(out[3].encode()) == 8 * 1024
    assert out[4:] == ["no end"]
    assert [text for level, text in heard.lines() if level == "warning"] == ["10%", "20%", "warned"]


def test_a_flood_of_output_is_bounded(tmp_path):
    """100 MB of lines: the loop stays free, and memory does not grow."""

    async def play():
        seen_bytes, longest_s = 0, 0.0

        async def report(fact):
            nonlocal seen_bytes
            seen_bytes += len(fact.text) + 1

        async def watch_the_loop():
            nonlocal longest_s
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.perf_counter() - began)

        async with asyncio.timeout(60), ChildRunner([misfits]) as runner, asyncio.TaskGroup() as group:
            attempt = await runner.prepare(task(tmp_path, "floods"), report)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            watching = group.create_task(watch_the_loop())
            attempt.go()
            outcome = await attempt.wait()
            watching.cancel()
        return outcome, seen_bytes, longest_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    outcome, seen_bytes, longest_s, grown_kib = asyncio.run(play())

    assert isinstance(outcome, Succeeded)
    assert seen_bytes == 100_000_000
    assert longest_s < 0.5
    assert grown_kib < 20_000


def test_a_server_that_is_slow_holds_the_stage_back(tmp_path):
    """While no fact is taken, no more is read than one piece; the stage waits in its own `write`."""

    async def play():
        begun, resume = asyncio.Event(), asyncio.Event()
        count = 0

        async def report(_):
            nonlocal count
            count += 1
            begun.set()
            await resume.wait()

        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            attempt = await runner.prepare(task(tmp_path, "floods_for_ever"), report)
            attempt.go()
            await begun.wait()
            await run(runner, task(tmp_path, "says_when"))  # time enough for more, if more were read
            assert count == 1
            attempt.kill()
            resume.set()
            outcome = await attempt.wait()
        return outcome, count

    outcome, count = asyncio.run(play())

    assert isinstance(outcome, Failed)
    assert 2 * count <= 200_000  # bytes: the pipe and two pieces


def test_progress_is_cheap(tmp_path):
    """A stage may say 100 000 times a second how far it is; the last value arrives, few others do."""
    outcome, heard = run_once(task(tmp_path, "hurries", interval_s=0.1))

    assert isinstance(outcome, Succeeded)
    assert outcome.outputs["calls_per_s"] > 100_000
    assert heard.counts()[-1] == 199_999
    assert heard.counts() == sorted(heard.counts())
    assert len(heard.counts()) < 100


def test_every_progress_of_many_arrives(tmp_path):
    """With interval 0 each call is a fact, in order, however fast."""
    outcome, heard = run_once(task(tmp_path, "counts_much"))

    assert isinstance(outcome, Succeeded)
    assert heard.counts() == list(range(20_000))


def test_any_thread_may_speak(tmp_path):
    """What one thread says arrives whole and in its order."""
    outcome, heard = run_once(task(tmp_path, "many_threads"))

    assert isinstance(outcome, Succeeded)
    texts = [text for _, text in heard.lines()]
    for name in "abcd":
        assert [text for text in texts if text.startswith(name)] == [f"{name} {number}" for number in range(200)]
    assert sum(isinstance(fact, ProgressMade) for fact in heard.facts) == 800


def test_a_stage_may_use_multiprocessing(tmp_path):
    """Its forks log by their output, and their result is the stage's."""
    outcome, heard = run_once(task(tmp_path, "uses_a_pool"))

    assert isinstance(outcome, Succeeded)
    assert outcome.outputs.to_dict() == {"squares": [0, 1, 4, 9, 16]}
    assert ("info", "squaring 3") in heard.lines()


def test_a_worker_holds_nothing_of_the_server(tmp_path):
    """Neither its files nor its sockets, nor those of other attempts; it has a session of its own."""
    with (tmp_path / "held by the server").open("w"):
        outcome, _ = run_once(task(tmp_path, "lists_its_files"))

    assert isinstance(outcome, Succeeded)
    opened = {fd: name for fd, name in outcome.outputs["open"].items() if not name.startswith("/proc/")}
    assert set(opened) == {"0", "1", "2", *(fd for fd, name in opened.items() if name.startswith("socket:"))}
    assert len(opened) == 4
    assert opened["0"] == "/dev/null"
    assert outcome.outputs["threads"] == ("MainThread", "runstate-ear", "runstate-voice")


def test_no_descriptor_is_left_in_the_server(tmp_path):
    """An attempt gives back every descriptor that it took."""

    async def play():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            await run(runner, task(tmp_path, "says_when"))
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(5):
                await run(runner, task(tmp_path, "says_when"))
            return before, len(os.listdir("/proc/self/fd"))

    before, after = asyncio.run(play())

    assert after == before


def test_a_warm_start_is_quick(tmp_path):
    """From `prepare` to the first line of the stage: a tenth of a second at the very most, when the fork server is warm."""

    async def play():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            took_ms = []
            for _ in range(10):
                began = time.monotonic()
                outcome, _ = await run(runner, task(tmp_path, "says_when"))
                took_ms.append((outcome.outputs["at"] - began) * 1000)
            return took_ms

    first_ms, *warm_ms = asyncio.run(play())

    print(f"cold {first_ms:.0f} ms, warm {sorted(warm_ms)[len(warm_ms) // 2]:.1f} ms, worst {max(warm_ms):.1f} ms")
    assert sorted(warm_ms)[len(warm_ms) // 2] < 100


def test_many_attempts_run_at_once(tmp_path):
    """Requests are answered in order, so each attempt has its own worker."""

    async def play():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner, asyncio.TaskGroup() as group:
            running = [group.create_task(run(runner, task(tmp_path, "says_when"))) for _ in range(8)]
        return [ran.result()[0].outputs for ran in running]

    said = asyncio.run(play())

    assert len({outputs["pid"] for outputs in said}) == 8
    assert all(outputs["pid"] == outputs["group"] == outputs["session"] for outputs in said)


def served(folder: Path, text: str, name: str = "served") -> tuple[Pipeline, Path]:
    """Write a module and return the pipeline `p` that it defines."""
    file = folder / f"{name}.py"
    file.write_text(f"from runstate import Pipeline\np = Pipeline('p')\n{text}")
    return load_module(f"{name}_{folder.name}", str(file)).p, file


async def run_of(pipeline: Pipeline, folder: Path, stage: str = "work", **options):
    async with asyncio.timeout(LIMIT_S), ChildRunner([pipeline], **options) as runner:
        return await run(runner, task(folder, stage, pipeline=pipeline.name))


def test_a_function_that_is_gone_cannot_be_started(tmp_path):
    pipeline, file = served(tmp_path, "@p.stage\ndef work(ctx): pass\n")
    file.write_text("")

    outcome, heard = asyncio.run(run_of(pipeline, tmp_path))

    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final) == ("not_startable", True)
    assert outcome.error.startswith("NotStartable: stage work cannot be imported: ImportError: ")
    assert heard.lines()[-1][1].startswith("ImportError: ")


def test_a_module_that_cannot_be_imported_cannot_be_started(tmp_path):
    """Also one that killed the fork server, which then does without it."""
    for number, text in enumerate(
        ["import nothing_like_it\n", "import os; os.kill(os.getpid(), 9)\n", "raise SystemExit(4)\n"]
    ):
        folder = tmp_path / f"case_{number}"
        folder.mkdir()
        pipeline, file = served(folder, "@p.stage\ndef work(ctx): pass\n")
        file.write_text(text)

        outcome, _ = asyncio.run(run_of(pipeline, folder))

        assert isinstance(outcome, Failed)
        assert outcome.code == ("killed" if number == 1 else "not_startable")


def test_a_module_that_starts_threads_is_not_forked(tmp_path, caplog):
    """A fork would lose them, so each worker imports the module itself."""
    pipeline, _ = served(
        tmp_path,
        """
import threading
asked, answered = threading.Event(), threading.Event()

def answer():
    asked.wait()
    answered.set()

threading.Thread(target=answer, daemon=True).start()

@p.stage
def work(ctx):
    asked.set()
    return {"answered": answered.wait(10)}
""",
    )

    outcome, _ = asyncio.run(run_of(pipeline, tmp_path))
    assert outcome.outputs.to_dict() == {"answered": True}
    assert "threads" in caplog.text


def test_polars_works_after_the_fork(tmp_path):
    """It is imported by the fork server, and its threads are made in the worker."""
    pipeline, _ = served(
        tmp_path,
        """
import polars

@p.stage
def work(ctx):
    frame = polars.DataFrame({"a": list(range(100_000)), "b": [1, 2] * 50_000})
    sums = frame.lazy().group_by("b").agg(polars.col("a").sum()).sort("b").collect()
    frame.write_parquet(ctx.workdir / "x.parquet")
    return {"sums": sums["a"].to_list(), "rows": polars.scan_parquet(ctx.workdir / "x.parquet").collect().height}
""",
    )

    outcome, _ = asyncio.run(run_of(pipeline, tmp_path))

    assert outcome == Succeeded(outcome.outputs)
    assert outcome.outputs["rows"] == 100_000


def test_a_runner_without_preloading_works(tmp_path):
    outcome, _ = asyncio.run(run_of(misfits, tmp_path, "says_when", preload=False))

    assert isinstance(outcome, Succeeded)


def test_a_stage_of_somebody_else_is_refused(tmp_path):
    async def play():
        async with ChildRunner([misfits]) as runner:
            await runner.prepare(task(tmp_path, "nothing"), Heard().report)

    with pytest.raises(NotStartable, match="nothing"):
        asyncio.run(play())


def test_lines_of_a_killed_worker_are_still_heard(tmp_path):
    """What it wrote before it died is reported before `wait` returns."""
    outcome, heard = run_once(task(tmp_path, "writes_and_dies"))

    assert outcome == Failed("Killed: the worker was killed by SIGKILL", code="killed")
    assert heard.facts == [LineLogged("info", "last words")]

"""What a shell command may rely on, what its output means, and how each of its ends is named."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

from runstate import Pipeline
from runstate.core import canonical
from runstate.core.facts import Failed, LineLogged, ProgressMade, Succeeded
from runstate.core.model import make_progress
from runstate.pipeline.runners.child import ChildRunner
from runstate.ports import StageTask
from runstate.testing.runner_exam import Heard
from tests.runners.running import LIMIT_S, Alive, peak_kib, run

PYTHON = sys.executable


def as_it_is(text: str) -> str:
    """Return a command without placeholders, as it is written in a definition."""
    return text.replace("{", "{{").replace("}", "}}")


def task_of(workdir, *, attempt=1, interval_s=0.0, outputs=None, **metadata) -> StageTask:
    encoded = {stage: canonical.encode(value) for stage, value in (outputs or {}).items()}
    return StageTask("r1", "shell", "work", attempt, canonical.encode(metadata), encoded, workdir, interval_s)


def runner_of(command: str, **options) -> ChildRunner:
    pipeline = Pipeline("shell")
    pipeline.command("work", command, **options)
    return ChildRunner([pipeline])


def run_command(command: str, task: StageTask, **options):
    async def play():
        async with asyncio.timeout(LIMIT_S), runner_of(command, **options) as runner:
            return await run(runner, task)

    return asyncio.run(play())


def test_a_command_knows_its_attempt(tmp_path):
    """By placeholders, quoted for the shell, and by its environment."""
    workdir = tmp_path / "it's a folder"
    workdir.mkdir()
    program = (
        "import json, os, sys; e = os.environ; "
        'print("::outputs", json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "stdin": sys.stdin.read(), '
        '"own": {k: v for k, v in e.items() if k.startswith("RUNSTATE_")}, "greeting": e["GREETING"]}))'
    )
    command = f"{PYTHON} -c '{as_it_is(program)}' {{workdir}}/x {{run_id}} {{attempt}} ${{{{GREETING}}}}"
    task = task_of(workdir, attempt=2, outputs={"fetch": {"rows": 3}}, day="2024-03-01", name="Zoë")

    outcome, heard = run_command(command, task, env={"GREETING": "höhe"}, cwd=tmp_path)

    assert isinstance(outcome, Succeeded), outcome
    said = outcome.outputs.to_dict()
    assert said["argv"] == [f"{workdir}/x", "r1", "2", "höhe"]
    assert (said["cwd"], said["stdin"], said["greeting"]) == (str(tmp_path), "", "höhe")
    own = said["own"]
    assert json.loads(own.pop("RUNSTATE_METADATA")) == {"day": "2024-03-01", "name": "Zoë"}
    assert json.loads(own.pop("RUNSTATE_OUTPUTS")) == {"fetch": {"rows": 3}}
    assert own.pop("RUNSTATE_WORKER")
    assert own == {
        "RUNSTATE_RUN_ID": "r1",
        "RUNSTATE_PIPELINE": "shell",
        "RUNSTATE_STAGE": "work",
        "RUNSTATE_ATTEMPT": "2",
        "RUNSTATE_WORKDIR": str(workdir),
    }
    assert heard.facts == []


def test_python_is_the_one_that_runs_runstate(tmp_path):
    outcome, _ = run_command(
        """python -c 'import sys, json; print("::outputs", json.dumps(dict(python=sys.prefix)))'""", task_of(tmp_path)
    )

    assert outcome.outputs.to_dict() == {"python": sys.prefix}


def test_output_becomes_lines_and_facts(tmp_path):
    """stdout is `info`, stderr `warning`; a line is bounded, bad bytes survive as U+FFFD, facts are no lines."""
    command = r"""
    echo one; printf 'bad \377 byte\n'; head -c 20000 /dev/zero | tr '\0' x; echo
    echo '::progress 3/10 files reading x.csv'; echo '::outputs {"rows": 10, "files": 1}'; echo ' ::progress 4'
    echo '::progress 0.5'; echo '::progressive'; printf '::outputs {"rows": 11}'
    """
    outcome, heard = run_command(as_it_is(command), task_of(tmp_path))

    assert outcome.outputs.to_dict() == {"rows": 11, "files": 1}
    lines = [text for _, text in heard.lines()]
    assert lines[:2] == ["one", "bad � byte"]
    assert lines[2].endswith("… [cut]")
    assert len(lines[2].encode()) == 8 * 1024
    assert lines[3:] == [" ::progress 4", "::progressive"]
    assert [fact.progress for fact in heard.facts if isinstance(fact, ProgressMade)] == [
        make_progress(3, 10, "files", "reading x.csv"),
        make_progress(0.5),
    ]

    outcome, heard = run_command("echo trouble >&2", task_of(tmp_path))
    assert (outcome, heard.facts) == (Succeeded(outcome.outputs), [LineLogged("warning", "trouble")])


@pytest.mark.parametrize("line", ["three", "3/", "/3", "nan", "1e999", "-1", "9" * 30, ""])
def test_progress_that_is_none_is_a_warning(tmp_path, line):
    outcome, heard = run_command(f"echo '::progress {line}'", task_of(tmp_path))

    assert isinstance(outcome, Succeeded)
    [(level, text)] = heard.lines()
    assert level == "warning"
    assert "progress" in text


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("echo '::outputs [1]'", "stage work: outputs is '[1]'; print a JSON object"),
        ("echo '::outputs {rows}'", "stage work: outputs is '{rows}', which is not JSON"),
        ("echo '::outputs'", "stage work: outputs is ''"),
        ("""echo '::outputs {"n": 9007199254740993}'""", "stage work: outputs.n is an integer beyond"),
        ("printf '::outputs {\"a\": \"'; head -c 200000000 /dev/zero | tr '\\0' x; echo '\"}'", "larger than 64 KiB"),
        (
            """awk 'BEGIN { for (n = 0; n < 4000; n++) printf "::outputs {\\"key %d\\": \\"0123456789\\"}\\n", n }'""",
            "larger than 64 KiB",
        ),
    ],
    ids=["list", "no json", "nothing", "number", "200 MB", "many"],
)
def test_outputs_that_are_none_fail_the_attempt(tmp_path, printed, words):
    """At its end, and the log says so at once; 200 MB of them take no memory."""
    outcome, heard = run_command(as_it_is(printed), task_of(tmp_path))

    assert isinstance(outcome, Failed), outcome
    assert (outcome.code, outcome.final) == ("bad_output", False)
    assert words in outcome.error
    assert sum(level == "warning" for level, _ in heard.lines()) <= 1


@pytest.mark.parametrize(
    ("command", "failed"),
    [
        ("exit 3", Failed("ExitStatus: the command exited with status 3", "exit_status")),
        (
            "echo ignored; echo 'no such day' >&2; exit 200",
            Failed("ExitStatus: the command exited with status 200: no such day", "exit_status"),
        ),
        ("kill -9 $$", Failed("Killed: the command was killed by SIGKILL", "killed")),
        ("kill -SEGV $$", Failed("Killed: the command was killed by SIGSEGV", "killed")),
        (
            "(kill -KILL $(sh -c 'echo $PPID')); exit $?",
            Failed(
                "ExitStatus: the command exited with status 137 (128 + 9: a program was killed by SIGKILL): Killed",
                "exit_status",
            ),
        ),
    ],
)
def test_each_end_has_its_code(tmp_path, command, failed):
    assert run_command(command, task_of(tmp_path))[0] == failed


def test_a_program_that_is_not_there_is_told_by_the_shell(tmp_path):
    outcome, _ = run_command("no-such-program", task_of(tmp_path))

    assert outcome.code == "exit_status"
    assert "127" in outcome.error
    assert "no-such-program" in outcome.error


@pytest.mark.parametrize(
    ("options", "metadata", "words"),
    [
        ({"cwd": "/no/such/folder"}, {}, "No such file or directory: /no/such/folder"),
        ({}, {"text": "x" * 150_000}, "metadata has 150011 bytes, and an environment variable holds 128 KiB"),
        ({"env": {"A": "x" * 150_000}}, {}, "Argument list too long"),
    ],
)
def test_a_command_that_cannot_start_is_not_tried_again(tmp_path, options, metadata, words):
    outcome, _ = run_command("true", task_of(tmp_path, **metadata), **options)

    assert (outcome.code, outcome.final) == ("not_startable", True)
    assert words in outcome.error


def test_large_outputs_of_earlier_stages_are_left_out_of_the_environment(tmp_path):
    """And the log says so: most commands do not need them."""
    outputs = {f"stage_{n}": {"text": "x" * 60_000} for n in range(3)}
    outcome, heard = run_command('test -z "$RUNSTATE_OUTPUTS"', task_of(tmp_path, outputs=outputs))

    assert isinstance(outcome, Succeeded)
    assert heard.lines() == [
        ("warning", "RUNSTATE_OUTPUTS is not set: the outputs so far are more than 128 KiB together")
    ]


def test_what_is_asked_to_stop_may_clean_up(tmp_path):
    """A shell dies of SIGTERM at once; the program that it waits for has the grace period."""
    program = tmp_path / "slow.py"
    program.write_text(
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    print('cleaning up', flush=True)\n"
        "    for n in range(3): print('step', n, flush=True); time.sleep(0.05)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('::progress 1', flush=True)\n"
        "while True: signal.pause()\n"
    )

    async def play():
        async with asyncio.timeout(LIMIT_S), runner_of(f"cd / && {PYTHON} {program}; echo never") as runner:
            heard = Heard()
            attempt = await runner.prepare(task_of(tmp_path), heard.report)
            attempt.go()
            await heard.until(lambda fact: isinstance(fact, ProgressMade))
            attempt.stop()
            return await attempt.wait(), heard.lines()

    outcome, lines = asyncio.run(play())

    assert outcome.code == "stopped"
    assert [text for _, text in lines] == ["cleaning up", "step 0", "step 1", "step 2"]


def test_what_a_command_leaves_in_the_background_dies_with_it(tmp_path):
    """Its output too: a survivor that keeps the pipe full does not hold the attempt."""
    alive = Alive(tmp_path)
    outcome, _ = run_command(
        "exec 9>{workdir}/alive; (trap '' TERM; exec yes) & setsid sleep 1000 & exit 0", task_of(tmp_path)
    )

    assert isinstance(outcome, Succeeded)
    assert not alive.is_anybody()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_a_flood_of_output_is_bounded(tmp_path):
    """100 MB of lines: the loop stays free, and memory does not grow."""

    async def play():
        seen_bytes, longest_s, worker_kib = 0, 0.0, 0

        async def report(fact):
            nonlocal seen_bytes, worker_kib
            before_mb, seen_bytes = seen_bytes // 1_000_000, seen_bytes + len(fact.text) + 1
            if seen_bytes // 1_000_000 > before_mb:
                worker_kib = max(worker_kib, peak_kib(attempt.worker.pid))

        async def watch_the_loop():
            nonlocal longest_s
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.perf_counter() - began)

        line = "x" * 399
        async with (
            asyncio.timeout(60),
            runner_of(f"yes {line} | head -c 100000000") as runner,
            asyncio.TaskGroup() as group,
        ):
            attempt = await runner.prepare(task_of(tmp_path), report)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            watching = group.create_task(watch_the_loop())
            attempt.go()
            outcome = await attempt.wait()
            watching.cancel()
        return outcome, seen_bytes, longest_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, worker_kib

    outcome, seen_bytes, longest_s, grown_kib, worker_kib = asyncio.run(play())

    print(f"longest pause of the loop {longest_s:.3f} s, grown {grown_kib} KiB, worker {worker_kib} KiB")
    assert isinstance(outcome, Succeeded)
    assert seen_bytes == 100_000_000
    assert longest_s < 0.5
    assert grown_kib < 20_000
    assert 0 < worker_kib < 200_000


def test_a_signal_for_the_worker_alone_does_not_end_it(tmp_path):
    """It belongs to the command's group and gets whatever the group gets; it must see the command through."""

    async def play():
        async with (
            asyncio.timeout(LIMIT_S),
            runner_of("echo ::progress 1; read line < {workdir}/go; echo $line") as runner,
        ):
            os.mkfifo(tmp_path / "go")
            heard = Heard()
            attempt = await runner.prepare(task_of(tmp_path), heard.report)
            attempt.go()
            await heard.until(lambda fact: isinstance(fact, ProgressMade))
            os.kill(attempt.worker.pid, signal.SIGTERM)
            await asyncio.to_thread((tmp_path / "go").write_text, "done\n")
            return await attempt.wait(), heard.lines()

    outcome, lines = asyncio.run(play())

    assert isinstance(outcome, Succeeded)
    assert lines == [("info", "done")]

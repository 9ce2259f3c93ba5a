"""Stages that misbehave, as functions and as commands: each ends, is named in `error_code`, and leaves nobody alive.

The table is the whole list, but for the flood, which is measured. Floods are of 20 MB by default; `make sweep` takes 100 MB, and values of 200 MB.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

import pytest

from tests.acceptance.conftest import working
from tests.acceptance.judge import get
from tests.runners.running import Alive, peak_kib

WHOLE = os.environ.get("RUNSTATE_SWEEP") == "1"
FLOOD_BYTES = 100_000_000 if WHOLE else 20_000_000
HUGE_BYTES = 200_000_000 if WHOLE else 20_000_000
LOG_MIB = 2

PIPELINES = f"""
import resource, signal, subprocess, sys
from functools import partial

functions, commands = Pipeline("functions", progress_interval_s=0), Pipeline("commands", progress_interval_s=0)
PAUSE = [sys.executable, "-S", "-c", "import signal; signal.pause()"]

def hold(ctx):
    fd = os.open(os.environ["ALIVE"], os.O_WRONLY)
    os.set_inheritable(fd, True)
    ctx.progress(os.getpid())
    return fd

def function(**options):
    return functions.stage(**dict(grace_s=0.3, lease_s=1.5, retries=0) | options)

def command(name, text, **options):
    commands.command(name, 'exec 9>"$ALIVE"; echo "::progress $$"; ' + text, **dict(grace_s=0.3, lease_s=1.5) | options)

@function()
def floods(ctx):
    hold(ctx)
    for _ in range({FLOOD_BYTES} // 1_000_000):
        os.write(1, (b"x" * 99 + b"\\n") * 10_000)
command("floods", "yes {"x" * 99} | head -c {FLOOD_BYTES}")

@function()
def leaves_a_family(ctx):
    fd = hold(ctx)
    subprocess.Popen(PAUSE, pass_fds=[fd])
    subprocess.Popen(PAUSE, pass_fds=[fd], start_new_session=True)
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
        os.fork()
        while True:
            signal.pause()
command("leaves_a_family", "(trap '' TERM; sleep 1000 & sleep 1000) & (sleep 1000 &); setsid sleep 1000 & true")

@function()
def is_deaf(ctx):
    fd = hold(ctx)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"], pass_fds=[fd])
    while True:
        signal.pause()
command("is_deaf", "trap '' TERM; while :; do sleep 1000; done")

@function()
def waits(ctx):
    hold(ctx)
    signal.pause()
command("waits", "sleep 1000")

@function(timeout_s=0.5)
def never_returns(ctx):
    hold(ctx)
    while True:
        pass
command("never_returns", "trap '' TERM; while :; do :; done", timeout_s=0.5)

@function()
def dies_of_a_signal(ctx):
    hold(ctx)
    os.kill(os.getpid(), signal.SIGSEGV)
command("dies_of_a_signal", "kill -SEGV $$")

@function()
def stands_still(ctx):
    hold(ctx)
    os.kill(os.getpid(), signal.SIGSTOP)
command("stands_still", "kill -STOP $$")

@function()
def wants_too_much_memory(ctx):
    hold(ctx)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**32)
command("wants_too_much_memory", "ulimit -v 1000000; python -S -c 'bytearray(2**32)'")

@function()
def makes_too_much(ctx):
    hold(ctx)
    return {{"blob": "x" * {HUGE_BYTES}}}
command("makes_too_much", "printf '::outputs {{{{\\"blob\\": \\"'; yes | tr -d '\\\\n' | head -c {HUGE_BYTES}; echo '\\"}}}}'")

@function()
def leaves_without_a_word(ctx):
    hold(ctx)
    os._exit(7)
command("leaves_without_a_word", "exit 7")

@function()
def closes_everything(ctx):
    hold(ctx)
    os.closerange(0, 1000)
command("closes_everything", "exec 1>&- 2>&-; sleep 0.2; exit 0")
"""


def stop(server, run_id, pid):
    assert server.stop_run(run_id).status_code == 202


def kill(server, run_id, pid):
    os.kill(pid, signal.SIGKILL)


class Row(NamedTuple):
    """What a stage does, what is done to it, and what must become of it as a function and as a command."""

    stage: str
    do: object
    function: tuple[str, str | None, str]  #: state, error_code, a word of the error
    command: tuple[str, str | None, str]


FINE = ("success", None, "")
TABLE = {
    "leaves a family behind": Row("leaves_a_family", None, FINE, FINE),
    "ignores SIGTERM": Row("is_deaf", stop, ("stopped", "stopped", "Stopped"), ("stopped", "stopped", "Stopped")),
    "is stopped": Row("waits", stop, ("stopped", "stopped", "Stopped"), ("stopped", "stopped", "Stopped")),
    "never returns": Row("never_returns", None, ("failed", "timeout", "0.5 s"), ("failed", "timeout", "0.5 s")),
    "exits by a signal": Row(
        "dies_of_a_signal", None, ("failed", "killed", "SIGSEGV"), ("failed", "killed", "SIGSEGV")
    ),
    "is killed by somebody": Row("waits", kill, ("failed", "killed", "SIGKILL"), ("failed", "killed", "SIGKILL")),
    "stands still": Row("stands_still", None, ("failed", "lost", "last heard"), ("failed", "lost", "last heard")),
    "dies for want of memory": Row(
        "wants_too_much_memory",
        None,
        ("failed", "out_of_memory", "MemoryError"),
        ("failed", "exit_status", "MemoryError"),  # the program says so; the kernel killed nobody
    ),
    "makes a huge value": Row(
        "makes_too_much", None, ("failed", "bad_output", "64 KiB"), ("failed", "bad_output", "64 KiB")
    ),
    "leaves without a word": Row(
        "leaves_without_a_word", None, ("failed", "exit_status", "status 7"), ("failed", "exit_status", "status 7")
    ),
    "closes every descriptor": Row("closes_everything", None, ("failed", "exit_status", "without a result"), FINE),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("misbehaviour")
    alive = Alive(folder)
    os.environ["ALIVE"] = str(folder / "alive")
    try:
        with working(folder, request) as bench:
            yield bench.serve(PIPELINES, "--log-mib", str(LOG_MIB)), alive
    finally:
        del os.environ["ALIVE"]


@pytest.mark.rule("C5", "D9")
@pytest.mark.parametrize("kind", ["function", "command"])
@pytest.mark.parametrize("name", TABLE)
def test_a_stage_that(served, name, kind):
    """It ends in one state with one word, the server answers meanwhile, and nothing of it lives when that can be read."""
    server, alive = served
    row = TABLE[name]
    run_id = server.start_run(f"{kind}s", stages=[row.stage])["run_id"]
    if row.do is not None:
        heard = server.wait_run(run_id, lambda run: run["stages"][row.stage]["progress"] is not None)
        row.do(server, run_id, heard["stages"][row.stage]["progress"]["done"])
    over = server.wait_over(run_id)
    state, code, word = getattr(row, kind)
    assert (over["state"], over["error_code"]) == (state, code), over["error"]
    assert word in (over["error"] or ""), over["error"]
    assert not alive.is_anybody()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell a process's peak memory")
@pytest.mark.parametrize("kind", ["function", "command"])
def test_a_flood_costs_the_server_neither_memory_nor_its_readers(served, kind):
    """Polls are answered meanwhile, what is kept of the log is bounded, and a gap says that lines are missing."""
    server, alive = served
    before_kib = peak_kib(server.process.pid)
    began = time.monotonic()
    run_id, longest_s, polls, state = server.start_run(f"{kind}s", stages=["floods"])["run_id"], 0.0, 0, ""
    while state not in ("success", "failed"):
        asked = time.monotonic()
        state = server.run(run_id)["state"]
        longest_s = max(longest_s, time.monotonic() - asked)
        polls += 1
    took_s = time.monotonic() - began
    grown_kib = peak_kib(server.process.pid) - before_kib
    print(f"{FLOOD_BYTES} bytes in {took_s:.1f} s: {polls} polls, the longest {longest_s:.3f} s, grown {grown_kib} KiB")
    assert state == "success"
    assert not alive.is_anybody()
    assert longest_s < took_s / 2
    assert grown_kib < 60_000
    kept = sum(file.stat().st_size for file in (server.data / "logs" / run_id).iterdir())
    assert kept <= (LOG_MIB + 1) * 1024 * 1024
    page = get(server.http, f"/api/runs/{run_id}/logs?limit=2").json()
    assert page["first"] > 0

"""Nothing of an attempt outlives it, whoever dies first: the stage, its worker, the fork server or the server."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from runstate.core.facts import Failed, Succeeded
from runstate.core.model import Worker
from runstate.pipeline.runners.child import ChildRunner
from runstate.pipeline.runners.process import MARK, identify, is_alive, kill_survivor, mark_of
from tests.runners.running import LIMIT_S, Alive, begun, run, run_once, task
from tests.runners.stages import misfits


@pytest.fixture
def alive(tmp_path):
    return Alive(tmp_path)


def end_of(workdir, stage, *ends):
    """Run a stage until it is under way, end it, return its outcome."""

    async def play():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            async with begun(runner, task(workdir, stage)) as attempt:
                for end in ends:
                    end(attempt)
                outcome = await attempt.wait()
                assert not is_alive(attempt.worker)
                return outcome

    return asyncio.run(play())


def stop(attempt):
    attempt.stop()


def kill(attempt):
    attempt.kill()


@pytest.mark.parametrize("ends", [(kill,), (stop, kill)], ids=["kill", "both"])
def test_what_a_command_started_dies_when_it_is_ended(alive, tmp_path, ends):
    """Also what is deaf to SIGTERM, orphaned, or in a session of its own."""
    outcome = end_of(tmp_path, "command_family_hangs", *ends)

    assert not alive.is_anybody()
    assert isinstance(outcome, Failed)
    assert outcome.code in ("stopped", "killed")


@pytest.mark.parametrize("ends", [(stop,), (kill,), (stop, kill)], ids=["stop", "kill", "both"])
def test_what_a_stage_started_dies_when_it_is_ended(alive, tmp_path, ends):
    """Children, grandchildren, daemons with a session of their own: all are dead when `wait` returns."""
    outcome = end_of(tmp_path, "family_hangs", *ends)

    assert not alive.is_anybody()
    assert isinstance(outcome, Failed)
    assert outcome.code in ("stopped", "killed")


def test_what_a_stage_started_dies_when_it_crashes(alive, tmp_path):
    outcome, _ = run_once(task(tmp_path, "family_crashes"))

    assert not alive.is_anybody()
    assert outcome == Failed("Killed: the worker was killed by SIGKILL", code="killed")


def test_what_a_stage_started_dies_when_it_returns(alive, tmp_path):
    """A daemon that a stage leaves behind would write beside its next attempt."""
    outcome, _ = run_once(task(tmp_path, "family_returns"))

    assert not alive.is_anybody()
    assert isinstance(outcome, Succeeded)


@pytest.mark.parametrize("stage", ["ignores", "never_lets_go"])
def test_a_stage_that_cannot_listen_is_killed(alive, tmp_path, stage):
    outcome = end_of(tmp_path, stage, stop, kill)

    assert not alive.is_anybody()
    assert outcome == Failed("Killed: the worker was killed by SIGKILL", code="killed")


def test_a_stage_that_polls_returns_by_itself(tmp_path):
    """Who looks at `ctx.stopping` is not interrupted."""
    outcome = end_of(tmp_path, "polls", stop)

    assert isinstance(outcome, Succeeded)
    assert outcome.outputs.to_dict() == {"returned": "early"}


def test_a_stage_that_polled_once_is_interrupted_after_half_its_grace(tmp_path):
    outcome = end_of(tmp_path, "polled_once", stop)

    assert outcome == Failed("Stopped: the stage was asked to stop", code="stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGABRT, signal.SIGHUP])
def test_a_worker_killed_by_a_signal_says_which(tmp_path, number):
    outcome, _ = run_once(task(tmp_path, "dies", signal=int(number)))

    assert outcome == Failed(f"Killed: the worker was killed by {number.name}", code="killed")


def test_a_worker_that_crashes_in_c_is_told(tmp_path):
    outcome, _ = run_once(task(tmp_path, "crashes_in_c"))

    assert outcome == Failed("Killed: the worker was killed by SIGSEGV", code="killed")


def test_a_worker_that_leaves_without_a_result_is_told(tmp_path):
    outcome, _ = run_once(task(tmp_path, "leaves"))

    assert outcome == Failed("ExitStatus: the worker exited with status 5 without a result", code="exit_status")


@contextmanager
def hosted(workdir, stage):
    """Give a server in a process of its own with a stage under way."""
    command = [sys.executable, "-m", "tests.runners.host", stage, str(workdir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        try:
            told = msgspec.json.decode(host.stdout.readline())
            yield host, msgspec.convert(told["worker"], Worker), told["fork_server"]
        finally:
            host.kill()


def halt(pid):
    """Stop a process; return when it stands still, which another thread of it may delay."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.parametrize("stage", ["ignores", "never_lets_go", "family_hangs", "command_family_hangs"])
def test_a_server_that_is_killed_takes_its_stages_along(alive, tmp_path, stage):
    """kill -9 of the server: the fork server and the worker see EOF, and nothing is left."""
    with hosted(tmp_path, stage) as (host, worker, _):
        assert alive.is_anybody()
        pidfd = os.pidfd_open(worker.pid)
        host.kill()

        assert alive.wait_until_dead()
        assert select.select([pidfd], [], [], LIMIT_S)[0]
        os.close(pidfd)
    assert not is_alive(worker)


@pytest.mark.parametrize("stage", ["never_lets_go", "family_hangs", "command_family_hangs"])
def test_a_survivor_is_killed_at_the_next_start(alive, tmp_path, stage):
    """Where the fork server cannot act either, what is left of the worker is found by its identity."""
    with hosted(tmp_path, stage) as (host, worker, fork_server):
        halt(host.pid)
        halt(worker.pid)
        os.kill(fork_server, signal.SIGKILL)
        host.kill()
        assert is_alive(worker)
        assert alive.is_anybody()

        assert kill_survivor(worker, LIMIT_S)

        assert not is_alive(worker)
        assert alive.wait_until_dead(0)


@pytest.mark.parametrize("stage", ["family_hangs", "command_family_hangs"])
def test_the_family_of_a_dead_worker_is_killed(alive, tmp_path, stage):
    """Its members, in its group or not, carry its mark, so they are known although their leader is gone."""
    with hosted(tmp_path, stage) as (host, worker, fork_server):
        halt(host.pid)
        os.kill(fork_server, signal.SIGKILL)
        os.kill(worker.pid, signal.SIGKILL)
        host.kill()

        assert kill_survivor(worker, LIMIT_S)
        assert not is_alive(worker)
        assert alive.wait_until_dead(0)


def test_what_is_just_being_executed_is_known(tmp_path):
    """Between its old program and the new one a process shows no environment for a moment, and is ours all the same."""
    with subprocess.Popen(["true"]) as leader:
        worker = identify(leader.pid)
    (restless := tmp_path / "restless").write_text('#!/bin/sh\nexec "$0"\n')
    restless.chmod(0o755)
    for _ in range(30):
        child = subprocess.Popen([restless], env=os.environ | {MARK: mark_of(worker)})
        assert kill_survivor(worker, LIMIT_S)
        assert child.poll() == -signal.SIGKILL


def test_another_process_is_left_alone():
    """A pid that was given again, or a process of another boot, is nobody of ours."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:
        it = identify(stranger.pid)
        later = msgspec.structs.replace(it, start_time=it.start_time - 1)
        elsewhere = msgspec.structs.replace(it, boot_id="another")

        assert (is_alive(it), is_alive(later), is_alive(elsewhere)) == (True, False, False)
        assert kill_survivor(later, LIMIT_S)
        assert kill_survivor(elsewhere, LIMIT_S)
        assert stranger.poll() is None
        assert kill_survivor(it, LIMIT_S)
        assert stranger.wait(LIMIT_S) == -signal.SIGKILL
    assert kill_survivor(it, LIMIT_S)
    with pytest.raises(ProcessLookupError):
        identify(stranger.pid)


def test_a_fork_server_that_dies_is_replaced(alive, tmp_path):
    """Its attempts end as killed, and the next one starts another."""

    async def play():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            async with begun(runner, task(tmp_path, "family_hangs")) as attempt:
                first = runner.fork_server_pid
                os.kill(first, signal.SIGKILL)
                outcome = await attempt.wait()
                assert not alive.is_anybody()
                assert not is_alive(attempt.worker)
            again, _ = await run(runner, task(tmp_path, "says_when"))
            assert runner.fork_server_pid != first
            return outcome, again

    outcome, again = asyncio.run(play())

    assert outcome == Failed("Killed: the fork server died, so the worker was killed", code="killed")
    assert isinstance(again, Succeeded)


def test_a_runner_that_is_left_has_ended_its_attempts(alive, tmp_path):
    """Also when it is left by an exception."""

    async def play():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            async with begun(runner, task(tmp_path, "family_hangs")):
                raise KeyError("the server has a bug")

    with pytest.raises(KeyError):
        asyncio.run(play())

    assert not alive.is_anybody()

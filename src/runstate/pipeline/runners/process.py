"""Processes told apart: a pid alone may be somebody else's tomorrow, so a worker is its pid, start time and boot.

Law: a signal goes only to what is surely ours. Linux reads /proc and signals through pidfds, which cannot hit a later
process with the same pid; elsewhere psutil answers, and the check and the signal are two steps.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runstate.core.model import Worker

MARK = "RUNSTATE_WORKER"  #: Environment variable that everything a worker executes inherits: `<pid>:<start time>`.
POLL_S = 0.01  # only where there are no pidfds
EXEC_S = 0.1  # that a process may show no environment; one that has none shows none for ever
_DEAD = "ZXx"


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    start_time: int | float
    parent: int
    session: int
    name: str
    is_dead: bool  #: A zombie: it executes nothing any more.
    is_stopped: bool  #: By a signal, until another one lets it go on.


def identify(pid: int) -> Worker:
    """Return the identity of a living process.

    Raises:
        ProcessLookupError: There is none with that pid.
    """
    process = _look_at(pid)
    if process is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Worker(pid=pid, start_time=process.start_time, boot_id=boot_id())


def is_alive(worker: Worker) -> bool:
    """Return whether that very process still executes; a zombie does not."""
    process = _look_at(worker.pid) if worker.boot_id == boot_id() else None
    return process is not None and process.start_time == worker.start_time and not process.is_dead


def kill_survivor(worker: Worker, timeout_s: float) -> bool:
    """Kill the worker and everything it started; call it in a thread, it blocks.

    Its descendants and its session die too. Where the worker itself is dead already, what carries its mark does: the
    variable `MARK` in its environment, or the worker's process name.

    Returns:
        True once nothing of it executes, False where something still does after `timeout_s`.

    Raises:
        PermissionError: It belongs to another user.
    """
    if worker.boot_id != boot_id():
        return True  # no process lives through a boot
    deadline = time.monotonic() + timeout_s
    ours: set[tuple[int, int | float]] = set()
    while True:
        survivors = _belonging_to(worker, ours)
        if not survivors:
            return True
        if time.monotonic() >= deadline:
            return False
        _kill(survivors)
        _wait_for_one(survivors, deadline)


def mark_of(worker: Worker) -> str:
    """Return the value of `MARK` for a worker."""
    return f"{worker.pid}:{worker.start_time}"


def name_of(worker: Worker) -> str:
    """Return the process name that a worker gives itself (Linux, 15 bytes): what it forks without exec keeps it."""
    return f"rs{_base36(worker.pid)}.{_base36(int(worker.start_time))}"[:15]


def _base36(number: int) -> str:
    return (_base36(number // 36) if number >= 36 else "") + "0123456789abcdefghijklmnopqrstuvwxyz"[number % 36]


def children_of(pid: int) -> set[int]:
    """Return the pids of a process's children, dead or alive; the process has one thread."""
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:  # not Linux, or a kernel without CONFIG_PROC_CHILDREN
        return {process.pid for process in _table().values() if process.parent == pid}


def stands_still(pid: int) -> bool:
    """Return whether all that process `pid` has started was stopped by a signal, or only waits for what was."""
    children: dict[int, list[_Process]] = {}
    for process in _table().values():
        if not process.is_dead:
            children.setdefault(process.parent, []).append(process)
    descendants = list(children.get(pid, ()))
    for process in descendants:
        descendants += children.get(process.pid, ())
    last = [process for process in descendants if process.pid not in children]
    return bool(last) and all(process.is_stopped for process in last)


def has_session(pid: int) -> bool:
    """Return whether anything executes in the session that process `pid` made."""
    return any(process.session == pid and not process.is_dead for process in _table().values())


@cache
def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=True)
        if found.stdout.strip():
            return found.stdout.strip()
    import psutil

    return str(psutil.boot_time())


def _belonging_to(worker: Worker, ours: set[tuple[int, int | float]]) -> list[_Process]:
    """Return what still executes of the worker; `ours` collects every process that was once found to be."""
    table = _table()
    leader = table.get(worker.pid)
    is_leader_there = leader is not None and leader.start_time == worker.start_time
    is_leader_alive = leader is not None and is_leader_there and not leader.is_dead
    if is_leader_there:
        ours.add((worker.pid, worker.start_time))
    for process in table.values():
        # The number of a session stays taken while its leader is there, dead or not. What was orphaned by the leader's
        # death is found by its mark; while the leader lives, its descendants are all (it is a subreaper).
        is_member = is_leader_there and process.session == worker.pid
        if is_member or (not is_leader_alive and _is_marked(process, worker)):
            ours.add((process.pid, process.start_time))
    grew = True
    while grew:
        found = {
            (process.pid, process.start_time)
            for process in table.values()
            if (parent := table.get(process.parent)) is not None and (parent.pid, parent.start_time) in ours
        }
        grew = not found <= ours
        ours |= found
    return [process for process in table.values() if not process.is_dead and (process.pid, process.start_time) in ours]


def _is_marked(process: _Process, worker: Worker) -> bool:
    if process.start_time < worker.start_time or process.is_dead:
        return False
    return process.name == name_of(worker) or f"{MARK}={mark_of(worker)}" in _environment(process.pid)


def _kill(processes: list[_Process]) -> None:
    for process in processes:
        if sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError), _pidfd(process.pid) as pidfd:
                # The pidfd holds this process; whether it is the one that was found is seen only now.
                if _is_same(process):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        elif _is_same(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _is_same(process: _Process) -> bool:
    found = _look_at(process.pid)
    return found is not None and found.start_time == process.start_time


def _wait_for_one(processes: list[_Process], deadline: float) -> None:
    """Return when one of the processes has ended, or at the deadline."""
    remaining_s = max(0.0, deadline - time.monotonic())
    if sys.platform != "linux":
        select.select([], [], [], min(POLL_S, remaining_s))
        return
    with contextlib.ExitStack() as opened:
        pidfds = []
        for process in processes:
            try:
                pidfds.append(opened.enter_context(_pidfd(process.pid)))
            except ProcessLookupError:
                return
            if not _is_same(process):
                return
        waiting = select.poll()
        for pidfd in pidfds:
            waiting.register(pidfd, select.POLLIN)
        waiting.poll(remaining_s * 1000)


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _environment(pid: int) -> list[str]:
    """Return the environment that the process was executed with; empty where it is not ours to read."""
    if sys.platform == "linux":
        deadline = time.monotonic() + EXEC_S
        while True:
            try:
                text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
            except OSError:
                return []
            if text or time.monotonic() >= deadline:
                return text.split("\0")
            select.select(
                [], [], [], 0.001
            )  # it is just being executed: the old environment is gone, the new one not there yet
    import psutil

    try:
        return [f"{key}={value}" for key, value in psutil.Process(pid).environ().items()]
    except (psutil.Error, OSError):
        return []


def _look_at(pid: int) -> _Process | None:
    return _read_stat(pid) if sys.platform == "linux" else _ask_psutil(pid)


def _table() -> dict[int, _Process]:
    if sys.platform == "linux":
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    else:
        import psutil

        pids = psutil.pids()
    return {pid: process for pid in pids if (process := _look_at(pid)) is not None}


def _read_stat(pid: int) -> _Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name may hold blanks and brackets, so the fields are counted after the last one.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return _Process(
        pid=pid,
        start_time=int(fields[19]),
        parent=int(fields[1]),
        session=int(fields[3]),
        name=head.partition("(")[2],
        is_dead=fields[0] in _DEAD,
        is_stopped=fields[0] == "T",
    )


def _ask_psutil(pid: int) -> _Process | None:
    import psutil

    try:
        found = psutil.Process(pid)
        with found.oneshot():
            return _Process(
                pid=pid,
                start_time=found.create_time(),
                parent=found.ppid(),
                session=os.getsid(pid),
                name=found.name(),
                is_dead=found.status() == psutil.STATUS_ZOMBIE,
                is_stopped=found.status() == psutil.STATUS_STOPPED,
            )
    except (psutil.Error, OSError):
        return None

"""Plain stages that misbehave, for the tests beside them.

Each that may outlive its welcome opens the FIFO `alive` in its `workdir`: its reader sees EOF when all of them are dead.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

from runstate import Pipeline

PAUSE = [sys.executable, "-c", "import signal; signal.pause()"]

misfits = Pipeline("misfits")


def hold(ctx) -> int:
    """Open the writing end of the FIFO; whoever inherits it is seen too."""
    fd = os.open(ctx.workdir / "alive", os.O_WRONLY)
    os.set_inheritable(fd, True)
    return fd


def found_family(ctx) -> None:
    """Start processes of each kind: in the group, in a session of its own, daemonised, forked."""
    fd = hold(ctx)
    subprocess.Popen(PAUSE, pass_fds=[fd])
    subprocess.Popen(PAUSE, pass_fds=[fd], start_new_session=True)
    subprocess.Popen(["sh", "-c", f"{sys.executable} -c 'import signal; signal.pause()' & exit"], pass_fds=[fd]).wait()
    for daemonise in (False, True):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if daemonise:
                os.setsid()
                if os.fork() != 0:
                    os._exit(0)
            while True:
                signal.pause()
    ctx.progress(1)


@misfits.stage
def family_returns(ctx):
    found_family(ctx)


@misfits.stage
def family_crashes(ctx):
    found_family(ctx)
    os.kill(os.getpid(), signal.SIGKILL)


@misfits.stage
def family_hangs(ctx):
    found_family(ctx)
    while True:
        signal.pause()


@misfits.stage
def ignores(ctx):
    hold(ctx)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctx.progress(1)
    while True:
        signal.pause()


@misfits.stage
def never_lets_go(ctx):
    """Stay in C code that holds the interpreter: neither our threads nor signal handlers run any more."""
    hold(ctx)
    ctx.progress(1)
    sum(itertools.repeat(0))


@misfits.stage
def polls(ctx):
    assert not ctx.stopping
    ctx.progress(1)
    while not ctx.stopping:
        time.sleep(0.001)
    return {"returned": "early"}


@misfits.stage(grace_s=0.2)
def polled_once(ctx):
    assert not ctx.stopping
    ctx.progress(1)
    threading.Event().wait()


@misfits.stage
def dies(ctx):
    os.kill(os.getpid(), ctx.metadata["signal"])
    threading.Event().wait()


@misfits.stage
def crashes_in_c(ctx):
    ctypes.string_at(0)


@misfits.stage
def leaves(ctx):
    os._exit(5)


@misfits.stage
def prints(ctx):
    print("höhe")
    print("bad bytes:", end=" ")
    sys.stdout.flush()
    os.write(1, b"\xff\n")
    os.write(2, b"10%\r20%\r\nwarned\n")
    subprocess.run(
        ["sh", "-c", "echo from a child; head -c 20000 /dev/zero | tr '\\0' x; echo; printf 'no end'"], check=True
    )
    assert sys.stdin.read() == ""


@misfits.stage
def floods(ctx):
    line = b"x" * 99 + b"\n"
    for _ in range(100_000_000 // 10_000 // len(line)):
        os.write(1, line * 10_000)


@misfits.stage
def floods_for_ever(ctx):
    while True:
        os.write(1, b"y\n" * 1000)


@misfits.stage
def hurries(ctx):
    began = time.perf_counter()
    for done in range(200_000):
        ctx.progress(done, total=200_000, unit="rows", message="going on")
    return {"calls_per_s": 200_000 / (time.perf_counter() - began)}


@misfits.stage
def counts_much(ctx):
    for done in range(20_000):
        ctx.progress(done)


@misfits.stage
def says_when(ctx):
    return {"at": time.monotonic(), "pid": os.getpid(), "group": os.getpgrp(), "session": os.getsid(0)}


@misfits.stage
def many_threads(ctx):
    def speak(name):
        for number in range(200):
            ctx.log(f"{name} {number}")
            ctx.progress(number)

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def square(number):
    logging.getLogger("pool").info("squaring %s", number)
    return number * number


@misfits.stage
def uses_a_pool(ctx):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return {"squares": pool.map(square, range(5))}


@misfits.stage
def lists_its_files(ctx):
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return {"open": found, "threads": sorted(thread.name for thread in threading.enumerate())}


@misfits.stage
def writes_and_dies(ctx):
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)


# Children in the group, one in a session of its own, an orphan, and all of them deaf to SIGTERM.
misfits.command(
    "command_family_hangs",
    """exec 9>{workdir}/alive; trap '' TERM
    sleep 1000 & (sleep 1000 &) ; setsid sleep 1000 &
    echo ::progress 1; wait""",
)

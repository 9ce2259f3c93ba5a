"""Stages that fall silent, each in its own way."""

from __future__ import annotations

import os
import re
import signal
import time

from runstate import Pipeline

LEASE_S = 1.5

hanging = Pipeline("hanging", progress_interval_s=0)
hanging.command("command_stands_still", "echo ::progress $$; kill -STOP $$", lease_s=LEASE_S)
hanging.command("program_stands_still", "echo ::progress $$; sh -c 'kill -STOP $$'; true", lease_s=LEASE_S)
hanging.command("command_is_quiet", "echo ::progress $$; sleep 2.5", lease_s=LEASE_S)


@hanging.stage(lease_s=LEASE_S)
def stands_still(ctx):
    ctx.progress(os.getpid())
    os.kill(os.getpid(), signal.SIGSTOP)


@hanging.stage(lease_s=LEASE_S)
def holds_the_gil(ctx):
    ctx.progress(os.getpid())
    re.match(r"(a|a)+$", "a" * 64 + "b")  # one call into C that takes longer than anybody lives


@hanging.stage(lease_s=LEASE_S)
def is_quiet(ctx):
    ctx.progress(os.getpid())
    time.sleep(2.5)


@hanging.stage(lease_s=LEASE_S)
def sleeps(ctx):
    ctx.progress(os.getpid())
    time.sleep(600)

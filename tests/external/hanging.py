"""Stages that fall silent, each in its own way."""

from __future__ import annotations

import os
import re
import signal
import time

from runstate import Pipeline

hanging = Pipeline("hanging", progress_interval_s=0)


@hanging.stage
def stands_still(ctx):
    ctx.progress(os.getpid())
    os.kill(os.getpid(), signal.SIGSTOP)


@hanging.stage
def holds_the_gil(ctx):
    ctx.progress(os.getpid())
    re.match(r"(a|a)+$", "a" * 64 + "b")  # one call into C that takes longer than anybody lives


@hanging.stage
def is_quiet(ctx):
    ctx.progress(os.getpid())
    time.sleep(2.5)


@hanging.stage
def sleeps(ctx):
    ctx.progress(os.getpid())
    time.sleep(600)

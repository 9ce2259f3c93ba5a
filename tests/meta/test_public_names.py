"""The public names are few, and each is there on purpose."""

from __future__ import annotations

import json
import subprocess
import sys

import runstate

PUBLIC = [
    "EventBus",
    "Fatal",
    "Orchestrator",
    "Pipeline",
    "PipelineStateManager",
    "RunContext",
    "Runstate",
    "Skip",
    "StageContext",
    "__version__",
]
# What a server, a store or a command line needs is loaded when it is first asked for.
HEAVY = {"asyncio", "httpx", "polars", "psutil", "rich", "sqlite3", "starlette", "typer", "uvicorn", "websockets"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_public_names_are_the_listed_ones():
    assert sorted(runstate.__all__) == PUBLIC


def test_each_public_name_can_be_used():
    for name in PUBLIC:
        assert getattr(runstate, name) is not None, name


def test_importing_runstate_loads_nothing_heavy():
    loaded = set(json.loads(python("import runstate, json, sys; print(json.dumps(list(sys.modules)))")))

    assert loaded & HEAVY == set()


def test_importing_runstate_takes_less_than_150_ms():
    # The processor's time, since other tests run at the same time.
    timed = "import time; start = time.process_time(); import runstate; print(time.process_time() - start)"

    assert min(float(python(timed)) for _ in range(7)) < 0.150

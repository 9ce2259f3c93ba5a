"""Values, exceptions and exit statuses become outcomes in one sentence each."""

from __future__ import annotations

import pytest

from runstate import Fatal, Skip
from runstate.core.facts import Failed, Skipped, Succeeded
from runstate.core.model import MAX_ERROR_BYTES, MAX_OUTPUTS_BYTES
from runstate.pipeline.runners.outcome import (
    MAX_TRACEBACK_LINES,
    outcome_of_exception,
    outcome_of_exit,
    outcome_of_value,
    traceback_lines,
)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1], "BadOutput: stage load: outputs is of type list; return a JSON object (dict) or None"),
        (
            {"n": 2**53},
            "BadOutput: stage load: outputs.n is an integer beyond ±(2^53−1), which JSON readers cannot hold; send it as text",
        ),
        (
            {"a": [{"b": float("nan")}]},
            "BadOutput: stage load: outputs.a[0].b is nan, which JSON has no number for; use None",
        ),
        ({1: 2}, "BadOutput: stage load: outputs has the key 1; the keys of a JSON object are text"),
        (
            {"x": "x" * MAX_OUTPUTS_BYTES},
            "BadOutput: stage load: outputs is larger than 64 KiB; write a file into ctx.workdir and return its path",
        ),
    ],
)
def test_a_bad_value_names_stage_and_member(value, error):
    assert outcome_of_value(value, "load") == Failed(error, code="bad_output")


def test_the_limit_is_exact():
    """64 KiB of canonical bytes pass, one more does not."""
    room = MAX_OUTPUTS_BYTES - len('{"x":""}')

    assert isinstance(outcome_of_value({"x": "x" * room}, "load"), Succeeded)
    assert isinstance(outcome_of_value({"x": "x" * (room + 1)}, "load"), Failed)
    assert isinstance(outcome_of_value({"x": "é" * (room // 2 + 1)}, "load"), Failed)


def test_what_contains_itself_is_bad_output():
    value = {}
    value["self"] = value

    assert outcome_of_value(value, "load").code == "bad_output"


@pytest.mark.parametrize(
    ("exc", "outcome"),
    [
        (KeyError("rows"), Failed("KeyError: 'rows'", code="exception")),
        (Fatal("no", code="bad_input"), Failed("Fatal: no", code="bad_input", final=True)),
        (Skip("nothing new"), Skipped("nothing new")),
        (MemoryError(), Failed("MemoryError: ", code="out_of_memory")),
        (SystemExit(3), Failed("SystemExit: the stage called sys.exit(3)", code="exit_status")),
        (Unprintable(), Failed("Unprintable: (its text cannot be shown)", code="exception")),
    ],
)
def test_an_exception_becomes(exc, outcome):
    assert outcome_of_exception(exc) == outcome


def test_a_long_error_is_cut():
    outcome = outcome_of_exception(ValueError("x" * 100_000))

    assert len(outcome.error.encode()) == MAX_ERROR_BYTES
    assert outcome.error.endswith("[cut]")


@pytest.mark.parametrize(
    ("returncode", "error", "code"),
    [
        (0, "ExitStatus: the worker exited with status 0 without a result", "exit_status"),
        (-9, "Killed: the worker was killed by SIGKILL", "killed"),
        (-60, "Killed: the worker was killed by signal 60", "killed"),
    ],
)
def test_an_exit_becomes(returncode, error, code):
    assert outcome_of_exit(returncode) == Failed(error, code=code)


def test_a_long_traceback_keeps_both_ends():
    try:
        raise ExceptionGroup("many", [ValueError(str(number)) for number in range(14)]) from ValueError(
            "\n" * 300 + "first"
        )
    except ExceptionGroup as exc:
        lines = traceback_lines(exc)

    assert len(lines) == MAX_TRACEBACK_LINES + 1
    assert "cut]" in lines[MAX_TRACEBACK_LINES // 2]

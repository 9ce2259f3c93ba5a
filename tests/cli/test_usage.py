"""Help, versions and wrong usage."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.cli.terminal import RUNSTATE, assert_refused, environment, runstate

ASKING = ["status", "runs", "show", "history", "logs", "watch", "start", "stop", "retry"]
COMMANDS = ["serve", "run", *ASKING, "check", "init", "demo"]


@pytest.mark.parametrize("words", [*([command] for command in COMMANDS), ["market", "run"]], ids=" ".join)
def test_every_command_teaches(tmp_path, words):
    done = runstate(*words, "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert f"Example: runstate {' '.join(words)}" in done.stdout
    assert len(done.stdout.split("Options:")[0]) > 250, "a paragraph that explains"


@pytest.mark.parametrize("command", [*ASKING, "check"])
def test_every_command_with_an_answer_speaks_json(tmp_path, command):
    assert "--json" in runstate(command, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("command", ASKING)
def test_every_command_that_asks_a_server_takes_its_url_and_token(tmp_path, command):
    shown = runstate(command, "--help", cwd=tmp_path).stdout

    assert "RUNSTATE_URL" in shown
    assert "RUNSTATE_TOKEN" in shown


def test_help_lists_every_command(tmp_path):
    done = runstate("--help", cwd=tmp_path)

    assert [command for command in [*COMMANDS, "market"] if f"\n  {command} " not in done.stdout] == []


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_program_starts_in_less_than_300_ms(tmp_path, option):
    """Of the processor's time: what a machine does besides is not the program's."""

    def took() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([RUNSTATE, option], check=True, capture_output=True, env=environment(), cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(took() for _ in range(7)) < 0.3


def test_light_commands_load_nothing_heavy(tmp_path):
    code = "import sys, runstate.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)

    assert {"asyncio", "httpx", "polars", "psutil", "rich", "sqlite3", "starlette", "uvicorn"} & set(
        done.stdout.split()
    ) == set()


def test_nothing_asked_for_shows_the_help(tmp_path):
    done = runstate(cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("Usage: runstate")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "no such command 'nope'"),
        (["serve"], "TARGET"),
        (["serve", "x.py", "--port", "70000"], "65535"),
        (["serve", "x.py", "--token", ""], "--token"),
        (["run", "x.py", "--nope"], "--nope"),
        (["runs", "--status", "well"], "idle, running, stopped, error"),
        (["runs", "--limit", "0"], "--limit"),
        (["show", "latest@zero"], "latest@3"),
        (["status", "--url", "ftp://x"], "ftp://x"),
        (["market", "run", "none.toml"], "none.toml"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_sentence(tmp_path, words, said):
    assert_refused(runstate(*words, cwd=tmp_path), 2, said)


def test_output_that_nobody_reads_is_no_error(home):
    piped = f"{RUNSTATE} check pipelines.py | true"
    done = subprocess.run(piped, shell=True, cwd=home, env=environment(), capture_output=True, text=True, check=True)

    assert done.stderr == ""

"""`logs`: what the stages said, once and as they say it."""

from __future__ import annotations

import json
import re
import signal

import pytest

from runstate.cli.logs import words
from runstate.core.times import parse_time
from tests.cli.terminal import Program, Server, assert_refused, runstate

TALKS = """
import asyncio
from runstate import Pipeline

talk = Pipeline("talk")

@talk.stage
async def first(ctx):
    ctx.log(f"attempt {ctx.attempt} begins")
    ctx.log("careful\\x1b[2J now", level="warning")
    if ctx.metadata.get("hold") and ctx.attempt == 1:
        await asyncio.sleep(3600)

@talk.stage
async def second(ctx):
    for number in range(ctx.metadata.get("lines", 2)):
        ctx.log(f"line {number}")
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / "pipelines.py").write_text(TALKS)
    return tmp_path


def test_lines_are_printed_with_time_stage_and_level(call):
    assert call("start", "talk", "--wait").returncode == 0

    lines = call("logs", "latest").stdout.splitlines()

    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "first | attempt 1 begins",
        "first | warning: careful�[2J now",
        "second | line 0",
        "second | line 1",
    ]
    assert call("logs", "latest", "-f").stdout.splitlines() == lines
    assert call("logs", "latest", "--stage", "second").stdout.splitlines() == lines[2:]
    assert call("logs", "latest", "--stage", "first,second").stdout.splitlines() == lines


def test_json_is_one_object_per_line(call):
    run_id = call("start", "talk", "--wait", "--json").stdout

    done = call("logs", json.loads(run_id)["run_id"][:24].lower(), "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.stderr == ""
    assert [sorted(line) for line in lines] == [["at", "attempt", "level", "offset", "stage", "text"]] * 4
    assert [line["text"] for line in lines][1:3] == ["careful\x1b[2J now", "line 0"]
    assert call("logs", "latest", "-f", "--json").stdout == done.stdout


def test_long_logs_are_read_to_their_end(call):
    assert call("start", "talk", "--wait", "--meta", "lines=2500").returncode == 0

    for more in ((), ("-f",)):
        lines = call("logs", "latest", "--stage", "second", *more).stdout.splitlines()
        assert len(lines) == 2500
        assert lines[-1].endswith("second | line 2499")


def test_following_ends_with_the_run(server, home, call):
    call("start", "talk", "--meta", "hold=true")
    with Program("logs", "latest", "-f", "--url", server.url, cwd=home) as following:
        following.out.until("careful")
        assert call("stop", "latest", "--wait").returncode == 0

        assert following.wait() == 0
        assert following.err.lines == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_following_goes_on_over_a_restart_without_losing_or_repeating_a_line(home, number):
    with Server("pipelines.py", cwd=home) as server:
        port = server.url.rpartition(":")[2]
        runstate("start", "talk", "--meta", "hold=true", "--url", server.url, cwd=home)
        with Program("logs", "latest", "-f", "--url", server.url, cwd=home) as following:
            following.out.until("careful")
            server.signal(number)
            following.err.until("the server is away")
            server.wait()
            with Program("serve", "pipelines.py", "--port", port, cwd=home) as again:
                again.out.until("is serving")

                assert following.wait() == 0

    assert [line.partition(" ")[2] for line in following.out.lines] == [
        "first | attempt 1 begins",
        "first | warning: careful�[2J now",
        "first, attempt 2 | attempt 2 begins",
        "first, attempt 2 | warning: careful�[2J now",
        "second | line 0",
        "second | line 1",
    ]
    assert len(following.err.lines) == 1


def test_ctrl_c_ends_following(server, home, call):
    call("start", "talk", "--meta", "hold=true")
    with Program("logs", "latest", "-f", "--url", server.url, cwd=home) as following:
        following.out.until("careful")
        following.signal(signal.SIGINT)

        assert following.wait() == 130
        assert following.err.lines == []


def test_what_is_not_there_is_wrong_usage(call, tmp_path):
    assert_refused(call("logs", "latest"), 2, "no run yet")
    assert_refused(call("logs", "0" * 26, "-f"), 2, "0" * 26)
    assert call("start", "talk", "--wait").returncode == 0
    assert_refused(call("logs", "latest", "--stage", "nope"), 2, "nope", "first, second")
    for more in ((), ("-f",)):
        assert_refused(runstate("logs", "latest", *more, "--url", "http://127.0.0.1:1", cwd=tmp_path), 3, "127.0.0.1:1")


@pytest.mark.parametrize(("level", "style"), [("warning", "yellow"), ("error", "red"), ("critical", "bold red")])
def test_levels_that_matter_are_coloured(level, style):
    line = {"at": "2024-03-01T10:00:00.000Z", "stage": "fetch", "attempt": 1, "level": level, "text": "hm\n"}

    parts = words(line, now_ms=parse_time(line["at"]))

    assert parts[2:] == [(f"{level}: ", style), ("hm", "")]
    assert words(line | {"level": "debug"}, now_ms=0)[2:] == [("", "dim"), ("hm", "dim")]

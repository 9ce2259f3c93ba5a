"""`schedule` and `acknowledge`: what people decide about a pipeline, in words and as the document."""

from __future__ import annotations

import json

from tests.cli.terminal import assert_refused, runstate


def test_a_schedule_is_set_shown_and_turned_off(call):
    on = call("schedule", "quick", "--cron", "0 7 1 1 *", "--tz", "Asia/Tokyo", "--overlap", "queue")
    assert on.returncode == 0, on.stderr
    assert on.stdout.splitlines()[1].startswith("schedule: 0 7 1 1 * Asia/Tokyo, next ")
    assert "schedule: 0 7 1 1 * Asia/Tokyo, next" in call("status", "quick").stdout

    off = json.loads(call("schedule", "quick", "--disable", "--json").stdout)
    assert (off["schedule"]["enabled"], off["schedule"]["last_skip_reason"]) == (False, "disabled")
    assert call("schedule", "quick").stdout.splitlines()[1] == "schedule: 0 7 1 1 * Asia/Tokyo, disabled"


def test_what_is_no_schedule_is_refused(call):
    assert_refused(call("schedule", "quick", "--cron", "0 25 * * *"), 2, "bad hour")
    assert_refused(call("schedule", "quick", "--cron", "0 1 * * *", "--tz", "Mars/Olympus"), 2, "is not a time zone")
    assert_refused(call("schedule", "nothing"), 2, "there is no pipeline nothing")


def test_an_acknowledgement_is_shown_with_its_reason(call):
    done = call("acknowledge", "quick", "--reason", "looked into it")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("quick: healthy (acknowledged: looked into it (")
    assert_refused(call("acknowledge", "quick", "--reason", " "), 2, "reason is empty")
    assert_refused(call("acknowledge", "quick"), 2, "--reason")


GATED = """
from runstate import Pipeline
work = Pipeline("work", run_policy="gated")
@work.stage
async def fetch(ctx):
    if "bad" in ctx.metadata:
        raise ValueError("bad")
work.schedule("* * * * * *", missed="run_once")
"""


def test_a_run_in_this_process_obeys_the_run_policy(tmp_path):
    """And leaves the schedule alone, which is a server's to fire."""
    (tmp_path / "gated.py").write_text(GATED)
    for _ in range(2):
        assert runstate("run", "gated.py", "--meta", "bad=1", cwd=tmp_path).returncode == 1
    refused = runstate("run", "gated.py", cwd=tmp_path)
    assert refused.returncode == 4
    assert "pipeline work is degraded; start it with override" in refused.stderr
    done = runstate("run", "gated.py", "--override", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["trigger"]["kind"] == "manual"

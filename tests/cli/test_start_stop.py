"""`start`, `stop` and `retry`: done when they are committed."""

from __future__ import annotations

import json
import re
import signal

from tests.cli.terminal import Program, assert_refused, runstate


def test_start_prints_the_id_and_wait_says_how_it_ended(call):
    begun = call("start", "quick")
    assert begun.returncode == 0, begun.stderr
    assert re.fullmatch(r"[0-9A-Z]{26}\n", begun.stdout)

    stopped = call("stop", begun.stdout.strip(), "--wait")
    assert stopped.returncode in (0, 4), "it may have been over by then"

    ended = call("start", "quick", "--wait", "--stage", "fetch")
    assert ended.returncode == 0
    assert "of quick: success after" in ended.stdout


def test_a_failed_run_exits_1_and_json_is_its_document(call):
    done = call("start", "quick", "--meta", "fail=true", "--wait", "--json")

    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["state"] == "failed"
    assert document["metadata"] == {"fail": True}


def test_stop_ends_a_run_and_keeps_the_reason(call):
    run_id = call("start", "held").stdout.strip()

    asked = call("stop", run_id[:24].lower(), "--reason", "wrong day", "--json")
    over = call("stop", "latest", "--wait")

    assert json.loads(asked.stdout)["stop_requested"]["reason"] == "wrong day"
    assert over.returncode in (0, 4)
    assert json.loads(call("show", "latest", "--json").stdout)["run_id"] == run_id


def test_a_run_that_is_stopped_ends_a_waiting_start_with_130(server, home, call):
    with Program("start", "held", "--wait", "--url", server.url, cwd=home) as waiting:
        waiting.err.until("hold: running")
        assert call("stop", "latest", "--wait").returncode == 0

        assert waiting.wait() == 130
        assert "of held: stopped after" in waiting.out.lines[-1]


def test_ctrl_c_leaves_a_waiting_start_and_not_the_run(server, home, call):
    with Program("start", "held", "--wait", "--url", server.url, cwd=home) as waiting:
        waiting.err.until("hold: running")
        waiting.signal(signal.SIGINT)

        assert waiting.wait() == 130
        assert not [line for line in waiting.err.lines if "Traceback" in line]

    assert json.loads(call("status", "held", "--json").stdout)["state"] == "running_hold"


def test_a_second_start_is_refused(call):
    run_id = call("start", "held").stdout.strip()

    assert_refused(call("start", "held"), 4, "already running", run_id)


def test_stopping_what_is_over_is_refused(call):
    assert call("start", "quick", "--wait").returncode == 0

    assert_refused(call("stop", "latest"), 4)


def test_retry_goes_on_with_a_run_that_was_stopped(call):
    run_id = call("start", "held", "--meta", "once=true").stdout.strip()
    assert call("stop", "latest", "--wait").returncode == 0

    again = call("retry", "latest", "--wait")

    assert again.returncode == 0, again.stderr
    assert f"run {run_id} of held: success after" in again.stdout
    assert_refused(call("retry", "latest"), 4, "success")


def test_retry_prints_the_id_once_it_is_committed(call):
    run_id = call("start", "held").stdout.strip()
    assert_refused(call("retry", "latest"), 4)
    assert call("stop", "latest", "--wait").returncode == 0

    assert call("retry", run_id[:24].lower()).stdout == f"{run_id}\n"
    document = json.loads(call("show", "latest", "--json").stdout)
    assert (document["state"], document["stop_requested"]) == ("running_hold", None)


def test_a_retried_run_that_fails_again_exits_1(call):
    failed = json.loads(call("start", "quick", "--meta", "fail=true", "--wait", "--json").stdout)

    again = call("retry", "latest", "--wait", "--json")

    document = json.loads(again.stdout)
    assert again.returncode == 1
    assert document["state"] == "failed"
    assert document["version"] > failed["version"]
    assert document["stages"]["fetch"] == failed["stages"]["fetch"]


def test_unknown_names_are_wrong_usage(call):
    assert_refused(call("start", "nope"), 2, "nope")
    assert_refused(call("start", "quick", "--stage", "nope"), 2, "nope", "fetch, count, publish")
    assert_refused(call("stop", "latest"), 2, "no run yet")
    assert_refused(call("retry", "latest"), 2, "no run yet")


def test_no_server_is_3(tmp_path):
    for words in (["start", "x"], ["stop", "latest"], ["retry", "latest"], ["start", "x", "--wait"]):
        assert_refused(runstate(*words, "--url", "http://127.0.0.1:1", cwd=tmp_path), 3, "127.0.0.1:1")

"""`watch`: live, over restarts of the server, and honest about its age."""

from __future__ import annotations

import json
import signal

from tests.cli.terminal import Program, Server, assert_refused, runstate


def test_once_prints_the_present_and_leaves(call):
    run_id = call("start", "held").stdout.strip()
    call("schedule", "quick", "--cron", "0 7 * * 1")

    page = call("watch", "--once")
    line = call("watch", "pipeline:held", "--once", "--json")

    assert page.returncode == 0
    assert run_id in page.stdout
    assert "schedule: 0 7 * * 1 UTC, next" in page.stdout
    seen = json.loads(line.stdout)
    assert sorted(seen) == ["documents", "link", "position"]
    assert seen["link"] in ("live", "quiet")
    assert [document.get("run_id") for document in seen["documents"]] == [None, run_id]


def test_changes_come_as_they_happen(server, home, call):
    with Program("watch", "--url", server.url, cwd=home) as watching:
        call("start", "held")
        watching.out.until("hold: running")
        call("start", "quick", "--wait")
        watching.out.until("of quick: success after")
        call("schedule", "quick", "--cron", "0 7 * * 1")
        watching.out.until("schedule of quick: 0 7 * * 1 UTC, next")
        watching.signal(signal.SIGINT)

        assert watching.wait() == 130
        assert watching.err.lines == []


def test_json_is_one_line_per_change(server, home, call):
    with Program("watch", "pipeline:quick", "--json", "--url", server.url, cwd=home) as watching:
        watching.out.until("quick")
        document = json.loads(call("start", "quick", "--wait", "--json").stdout)
        watching.out.until('"state":"success","status"')
        watching.signal(signal.SIGINT)

        assert watching.wait() == 130
        last = [run for run in json.loads(watching.out.lines[-1])["documents"] if "run_id" in run]
        assert last == [document]


def test_it_goes_on_over_a_restart_and_says_so_meanwhile(home):
    with Server("pipelines.py", cwd=home) as server:
        port = server.url.rpartition(":")[2]
        with Program("watch", "--url", server.url, cwd=home) as watching:
            runstate("start", "held", "--meta", "once=true", "--url", server.url, cwd=home)
            watching.out.until("hold: running")
            server.kill()
            watching.out.until("link: reconnecting, as of")
            with Program("serve", "pipelines.py", "--port", port, cwd=home) as again:
                again.out.until("is serving")
                watching.out.until("link: live")
                watching.out.until("of held: success after")


def test_unknown_topics_are_wrong_usage(call):
    assert_refused(call("watch", "pipeline:nope"), 2, "nope")
    assert_refused(call("watch", "nonsense"), 2, "nonsense")

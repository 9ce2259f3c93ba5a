"""Stop A, start B at once: whatever A's worker still does, B is never touched by it."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import working
from tests.acceptance.judge import get, judge_history

STUBBORN = """
import signal
work = Pipeline("work", progress_interval_s=0)

def talk(ctx):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    number = ctx.metadata["number"]
    for _ in range(ctx.metadata["times"]):
        ctx.progress(number)
        ctx.update_metadata({"said_by": number})
        try:
            time.sleep(0.002)
        except BaseException:
            pass
    return {"made_by": number}

work.stage(name="crunch", grace_s=0.2)(talk)
"""


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


@pytest.mark.rule("C5", "D9")
def test_the_next_run_is_never_touched_by_a_slow_worker(bench):
    """A ignores every request to end and talks on; B begins only when A is dead, and holds B's words alone."""
    server = bench.serve(STUBBORN)
    for number in range(2):
        slow = server.start_run(metadata={"number": -1, "times": 10**9})["run_id"]
        server.wait_run(slow, lambda document: document["metadata"].get("said_by") == -1)
        assert server.stop_run(slow).status_code == 202
        answer = server.http.post("/api/pipeline/start", json={"metadata": {"number": number, "times": 50}})
        while answer.status_code == 409:
            assert answer.json()["document"]["run_id"] == slow
            answer = server.http.post("/api/pipeline/start", json={"metadata": {"number": number, "times": 50}})
        stopped = server.run(slow)
        assert stopped["state"] == "stopped", "B began while A was alive"
        run_id = answer.json()["run_id"]
        assert server.wait_over(run_id)["stages"]["crunch"]["outputs"] == {"made_by": number}
        for commit in get(server.http, f"/api/runs/{run_id}/history?limit=1000").json()["commits"]:
            version = get(server.http, f"/api/runs/{run_id}/versions/{commit['version']}").json()
            assert version["metadata"].get("said_by", number) == number
            assert (version["stages"]["crunch"]["progress"] or {"done": number})["done"] == number
        assert server.run(slow) == stopped, "A was touched after its end"
        judge_history(server.http, run_id, every=40)

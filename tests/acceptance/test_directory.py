"""One process per data directory; restarts keep the epoch, copies get a larger one (V1)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.acceptance.harness import RUNSTATE, TWO_STAGES
from tests.acceptance.judge import get, judge_stream, order


def refused(bench, file, data) -> tuple[int, str]:
    """Try to serve; return the exit status and what the process said."""
    command = [RUNSTATE, "serve", file, "--port", "0", "--data", data]
    env = dict(os.environ) | {"PUPPET_PORT": str(bench.puppets.port), "COLUMNS": "1000"}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=20, env=env, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "runstate is serving" not in done.stdout
    return done.returncode, done.stdout + done.stderr


@pytest.mark.rule("V1")
def test_a_second_process_is_refused(bench):
    """A second server on the directory ends with one sentence naming the owner's pid; the first does not notice."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["crunch"])["run_id"]
    held = bench.puppets.next("crunch")
    before = {path.name for path in bench.data.iterdir()}
    for _ in range(2):
        status, said = refused(bench, server.file, bench.data)
        assert status != 0 and str(server.process.pid) in said.replace("\n", "") and "data" in said
    assert {path.name for path in bench.data.iterdir()} == before
    held.do("ctx.progress(1)")
    held.returns()
    assert server.wait_over(run_id)["state"] == "success"


@pytest.mark.rule("V1", "V2")
def test_a_restart_keeps_the_epoch_and_the_revisions(bench):
    """After SIGTERM, kill -9 and an idle restart the epoch is the same and positions go on."""
    server = bench.serve(TWO_STAGES)
    epochs, places = [], []
    for ending in ("terminate", "kill", "terminate"):
        hello = server.ws().wait_type("hello")
        epochs.append(hello["epoch"])
        places.append(order(hello["position"]))
        run_id = server.start_run(stages=["fetch"])["run_id"]
        bench.puppets.next("fetch").returns()
        server.wait_over(run_id)
        getattr(server, ending)()
        server.restart()
    assert len(set(epochs)) == 1 and places == sorted(set(places))
    servers = {server.ws().wait_type("hello")["server"] for _ in range(2)}
    assert len(servers) == 1


@pytest.mark.rule("V1", "V2", "V3", "H5")
@pytest.mark.parametrize("clean", [True, False])
def test_a_copy_has_a_larger_epoch(bench, clean):
    """A copied directory opens with a larger epoch and the next revision; its old documents keep bytes and epoch."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    over = server.wait_over(run_id)
    stored = get(server.http, f"/api/runs/{run_id}").content
    first = server.ws().wait_type("hello")
    server.terminate() if clean else server.kill()
    shutil.copytree(bench.data, bench.folder / "copy")

    copy = bench.serve(TWO_STAGES, data=bench.folder / "copy")
    hello = copy.ws().wait_type("hello")
    assert order(hello["position"])[0] > order(first["position"])[0]
    assert order(hello["position"])[1] >= order(first["position"])[1]
    assert get(copy.http, f"/api/runs/{run_id}").content == stored
    watch = copy.ws()
    watch.wait_document(lambda document: document.get("run_id") == run_id)
    later = copy.start_run(stages=["fetch"])
    assert later["epoch"] == hello["epoch"] > over["epoch"]
    bench.puppets.next("fetch").returns()
    copy.wait_over(later["run_id"])
    judge_stream(watch.frames)
    copy.terminate()
    copy.restart()
    assert copy.ws().wait_type("hello")["epoch"] == hello["epoch"]
    server.restart()
    assert server.ws().wait_type("hello")["epoch"] == first["epoch"], "the original goes on as it was"


@pytest.mark.rule("V1", "D10")
def test_a_copy_with_an_active_run_goes_on_in_its_new_epoch(bench):
    """A run that was active when the directory was copied goes on in the copy; each commit names its own epoch."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["fetch"])["run_id"]
    bench.puppets.next("fetch")
    server.kill()
    shutil.copytree(bench.data, bench.folder / "copy")
    copy = bench.serve(TWO_STAGES, data=bench.folder / "copy")
    bench.puppets.next("fetch", attempt=2).returns()
    over = copy.wait_over(run_id)
    commits = get(copy.http, f"/api/runs/{run_id}/history").json()["commits"]
    epochs = [commit["position"].rpartition(".")[0] for commit in commits]
    assert over["state"] == "success" and len(set(epochs)) == 2
    assert over["epoch"] == epochs[-1] != epochs[0]


BROKEN = {
    "a file instead of a directory": lambda data: data.write_text("x"),
    "a store that is no store": lambda data: (data.mkdir(), (data / "journal.db").write_text("x" * 100)),
    "an empty store": lambda data: (data.mkdir(), (data / "journal.db").touch()),
    "a directory instead of a store": lambda data: (data / "journal.db").mkdir(parents=True),
    "a directory that cannot be made": lambda data: data.symlink_to("/proc/nowhere/data"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_directory_that_cannot_be_used_is_one_sentence(bench, how):
    """No traceback, no damage: what is wrong with the directory, and which it is."""
    file = bench.write(TWO_STAGES)
    BROKEN[how](bench.data)
    before = (bench.data / "journal.db").read_bytes() if (bench.data / "journal.db").is_file() else None
    status, said = refused(bench, file, bench.data)
    assert status not in (0, None) and bench.data.name in said, said
    assert before is None or (bench.data / "journal.db").read_bytes() == before


def test_damage_is_found_not_served(bench):
    """Bytes that rot in the store are found at the start or answered by an error, never shown as a document."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["fetch"], metadata={"x": "needle-" * 100})["run_id"]
    bench.puppets.next("fetch").returns()
    server.wait_over(run_id)
    server.terminate()
    store = bench.data / "journal.db"
    whole = store.read_bytes()
    assert b"needle-" in whole
    store.write_bytes(whole.replace(b"needle-", b"noodle-"))
    os.utime(store)
    # The file is the same (its inode is), so this is no copy: it is damaged.
    status, said = refused_or_serves(bench, server, run_id)
    assert status == "refused" or status >= 500, said
    store.write_bytes(whole)


def refused_or_serves(bench, server, run_id):
    """Start on a damaged store; return `"refused"` or the status of reading the run, and what was said."""
    try:
        server.restart()
    except AssertionError as refusal:
        return "refused", str(refusal)
    answer = server.http.get(f"/api/runs/{run_id}")
    server.kill()
    return answer.status_code, json.dumps(server.err.lines[-5:]) + answer.text[:300]


def test_two_pipelines_of_one_name(bench):
    """A file that defines one name twice is refused with a sentence naming it, not served with the last."""
    file = bench.write(TWO_STAGES + TWO_STAGES.replace("work = ", "again = "))
    status, said = refused(bench, file, bench.data)
    assert status == 2 and "work" in said

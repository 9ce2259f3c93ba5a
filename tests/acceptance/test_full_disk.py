"""A journal that refuses: commands say 503, nothing unwritten is shown, workers run on, and it heals by itself (H10)."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import threading

import httpx
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_history, judge_store, judge_stream
from tests.acceptance.puppets import PATIENCE_S

PIPELINES = TWO_STAGES + TWO_STAGES.replace("work", "other")


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, mounted for the test; skipped where that is not allowed.

    It has room for much more than the store and its log, which would otherwise keep it full by themselves.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode != 0:
        pytest.skip(f"needs to mount a tmpfs, which takes root: {done.stderr.strip() if done else 'not root'}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Full(threading.Thread):
    """Takes every free byte of a disk, again and again, as long as the block lasts; `hold` makes sure of it.

    A store that is opened again frees some room, and on a loaded machine it is the first to take it. A process that is
    held may write to no file at all, so whatever it frees, what it finds stays as it was.
    """

    def __init__(self, disk) -> None:
        super().__init__(daemon=True)
        self._disk, self._over = disk, threading.Event()
        self._held: int | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(PATIENCE_S)
        (self._disk / "ballast").unlink()
        if self._held is not None:
            with contextlib.suppress(ProcessLookupError):
                limit_files(self._held, resource.RLIM_INFINITY)

    def run(self) -> None:
        with (self._disk / "ballast").open("ab", buffering=0) as ballast:
            while not self._over.wait(0.002):
                with contextlib.suppress(OSError):
                    while ballast.write(b"\0" * 4096):
                        pass

    def hold(self, server) -> None:
        """Let no later write of the server succeed until the block ends."""
        self._held = server.process.pid
        limit_files(self._held, 0)


def limit_files(pid: int, size: int) -> None:
    """Set the size over which a process may not write to a file."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))


def age_of(watch) -> int:
    return next((f.value["source_age_ms"] for f in reversed(watch.frames) if "source_age_ms" in f.value), 0)


def fill_up(full, server, held) -> None:
    """Commit until the disk is full: what SQLite has allocated takes some commits more. Then keep it so."""
    refused = 0
    for number in range(2, 5000):
        if server.http.get("/ready").status_code == 200:
            refused = 0
            held.do(f"ctx.progress({number}, message='x' * 2000)")
        elif refused == 0:
            full.hold(server)
            refused = 1
        elif refused < 10:  # an opening that was under way may have come to its end
            refused += 1
        else:
            return
    raise AssertionError("the disk did not get full")


def wait_ready(server, status: int) -> None:
    """Ask `/ready` until it answers `status`; each heartbeat of a stream is the next time to ask."""
    with server.ws("?topics=run:" + server.http.get("/api/runs?limit=1").json()["runs"][0]["run_id"]) as watch:
        for frames in range(1, 100):
            if server.http.get("/ready").status_code == status:
                return
            watch.wait(lambda seen, frames=frames: len(seen) > frames)
    raise AssertionError(f"/ready is not {status}")


@pytest.mark.rule("H10", "V5", "F3", "C1")
def test_a_full_disk_is_told_and_survived(bench, disk):
    """Disk full: 503 for commands and /ready, no version that is not written, workers run on; space freed: all goes on."""
    server = bench.serve(PIPELINES, data=disk / "data")
    run_id = server.start_run("work")["run_id"]
    held = bench.puppets.next("fetch")
    watch, stream = server.ws(), server.sse()
    held.do("ctx.progress(1)")
    watch.wait_document(lambda document: document.get("version", 0) >= 3 and document.get("run_id") == run_id)
    with Full(disk) as full:
        fill_up(full, server, held)
        ready = server.http.get("/ready")
        assert ready.status_code == 503 and ready.headers["content-type"] == "application/problem+json"
        assert ready.json()["code"] == "unavailable" and ready.json()["detail"]
        assert server.http.get("/health").status_code == 200

        for path in ("/api/pipelines/other/start", f"/api/runs/{run_id}/stop", "/api/pipeline/stop"):
            answer = server.http.post(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), path
            assert answer.headers["content-type"] == "application/problem+json"
        shown = get(server.http, f"/api/runs/{run_id}")
        assert shown.json()["stop_requested"] is None
        assert get(server.http, f"/api/runs/{run_id}/versions/{shown.json()['version']}").content == shown.content
        assert get(server.http, "/api/pipelines/other/status").json()["run_id"] is None
        assert held.is_alive()
        held.do("ctx.progress(100_000)")  # the worker runs on, and may even come to its end
        held.returns("{'n': 7}")
        # Heartbeats go on and say for how long the journal has not been known to work.
        ages = age_of(watch)
        watch.wait(lambda _: age_of(watch) > ages)
        assert server.http.get("/ready").status_code == 503
        assert server.run(run_id) == shown.json(), "nothing unwritten is shown"
        assert bench.puppets.nobody(), "the next stage must not begin before that is written"

    crunch = bench.puppets.next("crunch")
    wait_ready(server, 200)
    document = server.run(run_id)
    assert document["stages"]["fetch"]["outputs"] == {"n": 7}
    assert document["stages"]["fetch"]["progress"]["done"] == 100_000, "the last progress is not lost"
    crunch.returns()
    assert server.wait_over(run_id)["state"] == "success"
    # What was answered 503 may have been done or not; what is shown is what is.
    other = get(server.http, "/api/pipelines/other/status").json()
    assert other["run_id"] is None or other["run_id"] in {
        run["run_id"] for run in get(server.http, "/api/runs").json()["runs"]
    }
    bodies = judge_history(server.http, run_id, every=20)
    for frames, sse in ((watch.frames, False), (stream.frames, True)):
        for key, encoded in judge_stream(frames, sse=sse).items():
            assert key[0] != run_id or bodies[key[1]] == encoded
    judge_store(server.http)
    server.kill()
    server.restart()
    assert judge_history(server.http, run_id, every=50) == bodies


@pytest.mark.rule("H1", "H5", "H6", "H7", "H10")
def test_reads_go_on_while_the_journal_refuses(bench, disk):
    """With the disk full, lists, old runs, versions and histories are read as before; only commands say 503."""
    server = bench.serve(PIPELINES, data=disk / "data")
    runs = []
    for _ in range(2):
        runs.append(server.start_run("work", stages=["fetch"])["run_id"])
        bench.puppets.next("fetch").returns()
        server.wait_over(runs[-1])
    active = server.start_run("work", stages=["crunch"])["run_id"]
    held = bench.puppets.next("crunch")
    paths = [
        "/api/runs",
        "/api/pipelines",
        *(f"/api/runs/{run}{rest}" for run in runs for rest in ("", "/versions/1", "/history")),
    ]
    before = [get(server.http, path).content for path in paths[2:]]
    with Full(disk) as full:
        fill_up(full, server, held)
        for path in (*paths, f"/api/runs/{active}/history", f"/api/runs/{active}/versions/1"):
            answer = server.http.get(path)
            assert answer.status_code == 200, (path, answer.text)
        assert [server.http.get(path).content for path in paths[2:]] == before
    wait_ready(server, 200)
    held.returns()
    assert server.wait_over(active)["state"] == "success"


@pytest.mark.rule("H10", "V5", "D10")
@pytest.mark.parametrize("ending", ["kill", "terminate"])
def test_a_server_that_ends_with_a_full_disk_loses_nothing(bench, disk, ending):
    """Killed or terminated while the disk is full, the store opens once there is space, with all that was shown."""
    server = bench.serve(PIPELINES, data=disk / "data")
    run_id = server.start_run("work", stages=["crunch"])["run_id"]
    held = bench.puppets.next("crunch")
    watch = server.ws()
    watch.wait_type("snapshot")
    with Full(disk) as full:
        fill_up(full, server, held)
        getattr(server, ending)()
        watch.wait_end()
        held.wait_dead()
    server.restart()
    bench.puppets.next("crunch", attempt=2).returns()
    assert server.wait_over(run_id)["state"] == "success"
    bodies = judge_history(server.http, run_id, every=50)
    for key, encoded in judge_stream(watch.frames).items():
        assert bodies[key[1]] == encoded


@pytest.mark.rule("H10", "C4")
def test_commands_in_the_moment_of_the_failure_are_true_or_refused(bench, disk):
    """Starts and stops from many clients while the disk fills and empties: each 202 is there afterwards, none twice."""
    server = bench.serve(PIPELINES, data=disk / "data")
    accepted: list[bytes] = []
    statuses: list[int] = []
    over = threading.Event()

    problems: list[str] = []

    def act(http: httpx.Client) -> None:
        answer = http.post("/api/pipelines/work/start", json={"metadata": {"x": "y" * 3000}, "stages": ["fetch"]})
        statuses.append(answer.status_code)
        if answer.status_code == 202:
            accepted.append(answer.content)
            stopped = http.post(f"/api/runs/{answer.json()['run_id']}/stop")
            statuses.append(stopped.status_code)
            if stopped.status_code == 202:
                accepted.append(stopped.content)
        elif answer.status_code == 409:
            statuses.append(http.post(f"/api/runs/{answer.json()['document']['run_id']}/stop").status_code)

    def client() -> None:
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
            while not over.is_set():
                try:
                    act(http)
                except (httpx.HTTPError, KeyError, ValueError) as trouble:
                    problems.append(repr(trouble))
                    over.set()

    clients = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for thread in clients:
        thread.start()
    for _ in range(2):
        with server.ws() as watch:
            watch.wait(lambda frames: len(frames) > 30 or over.is_set())
        with Full(disk):
            while server.http.get("/ready").status_code == 200:
                assert server.process.poll() is None, server.err.lines[-20:]
        while server.http.get("/ready").status_code == 503:
            assert server.process.poll() is None, server.err.lines[-20:]
    over.set()
    for thread in clients:
        thread.join(PATIENCE_S)
    assert problems == [] and set(statuses) <= {202, 409, 503}, (problems, set(statuses))
    for content in accepted:
        document = json.loads(content)
        stored = get(server.http, f"/api/runs/{document['run_id']}/versions/{document['version']}").content
        assert stored == content
    for run in get(server.http, "/api/runs?limit=1000").json()["runs"]:
        if run["status"] == "running":
            assert server.stop_run(run["run_id"]).status_code in (202, 409)
            server.wait_over(run["run_id"])

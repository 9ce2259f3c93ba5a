"""Programs that execute runs, against real servers: examples as they are shown, threads, and a restart in the middle."""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from runstate import Runstate
from runstate.client import Problem, Stopped, connect, track_sync
from tests.acceptance.conftest import working
from tests.acceptance.judge import judge_history
from tests.client.test_real_server import keep_port
from tests.external.test_http import make_pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, request):
    """One server for the tests that leave nothing under way."""
    with working(tmp_path_factory.mktemp("real"), request) as bench:
        yield bench.serve()


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


def test_the_example_of_a_web_request(tmp_path, monkeypatch):
    """A request is a run: succeeded, failed with the request's own error, refused while another one is under way."""
    monkeypatch.chdir(tmp_path)  # it keeps its data in the folder it is started in
    example = importlib.reload(importlib.import_module("examples.track_fastapi"))

    async def main():
        transport = httpx.ASGITransport(example.host)
        async with (
            example.app.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            run_id = (await http.post("/predict?rows=3")).json()["run_id"]
            status = (await http.get("/runstate/api/pipelines/predict/status")).json()
            assert (status["run_id"], status["state"], status["metadata"]) == (run_id, "success", {"rows": 3})
            assert status["stages"]["load"]["outputs"] == {"rows": 3}
            assert (await http.post("/predict?rows=2000")).status_code == 422
            status = (await http.get("/runstate/api/pipelines/predict/status")).json()
            assert (status["state"], status["error"]) == ("failed", "ValueError: too many rows")
            async with example.app.track("predict", stages=["load"]):
                assert (await http.post("/predict?rows=3")).status_code == 409

    asyncio.run(main())


@pytest.mark.rule("C8")
def test_the_example_of_threads(shared):
    command = [sys.executable, ROOT / "examples" / "track_threads.py", shared.url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for run_id in done.stdout.split():
        run = shared.run(run_id)
        assert (run["state"], run["trigger"]["kind"]) == ("success", "external")
        assert run["stages"]["fetch"]["progress"]["done"] == 5
        judge_history(shared.http, run_id)


@pytest.mark.rule("C8")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_example_of_a_shell_script(shared):
    command = ["sh", ROOT / "examples" / "track_curl.sh", shared.url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    states = [answer["state"] for answer in answers]
    assert states == ["running_load", "running_load", "running_save", "success"]
    judge_history(shared.http, answers[0]["run_id"])


@pytest.mark.rule("C8")
@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_restart_in_the_middle_is_ridden_out(bench, how):
    """Work goes on while the server is away; what it says meanwhile arrives, once, and the run is not interrupted."""
    server = bench.serve()
    keep_port(server)
    with track_sync(server.url, "predict", stages=["load", "save"], lease_s=60) as run:
        with run.stage("load") as stage:
            stage.progress(1, total=2)
            stage.log("before")
            server.wait_run(run.run_id, lambda document: document["stages"]["load"]["progress"] is not None)
            getattr(server, how)()
            stage.progress(2, total=2)
            stage.log("meanwhile")
            stage.outputs(rows=2)
            server.restart()
        with run.stage("save"):
            pass
    document = server.run(run.run_id)
    assert (document["state"], document["retry_count"]) == ("success", 0)
    assert document["stages"]["load"]["progress"]["done"] == 2
    judge_history(server.http, run.run_id)


@pytest.mark.rule("C5", "C8")
def test_a_stop_over_http_reaches_both_faces(shared):
    """Async code is cancelled, plain code hears of it from the next thing it says; both raise, and the run is stopped."""

    async def asynchronous():
        async with connect(shared.url) as client:
            with pytest.raises(Stopped, match="enough"):
                async with client.track("async_face", stages=["load"], lease_s=1) as run, run.stage("load"):
                    await client.stop(run.run_id, "enough")
                    await asyncio.Event().wait()
            return run.run_id

    assert shared.run(asyncio.run(asynchronous()))["state"] == "stopped"

    with pytest.raises(Stopped, match="enough"):
        with track_sync(shared.url, "sync_face", stages=["load"], lease_s=1) as run, run.stage("load") as stage:
            assert shared.stop_run(run.run_id, reason="enough").status_code == 202
            while True:
                stage.log("still here")
    assert shared.run(run.run_id)["state"] == "stopped"


@pytest.mark.rule("C4", "C8")
def test_what_the_server_refuses_is_raised(shared):
    with track_sync(shared.url, "predict", stages=["load"]) as run:
        with pytest.raises(Problem) as refused, track_sync(shared.url, "predict", stages=["load"]):
            raise AssertionError("never entered")
        assert (refused.value.code, refused.value.document["run_id"]) == ("already_running", run.run_id)


@pytest.mark.rule("C8")
def test_threads_of_a_process_that_embeds_a_runstate(tmp_path):
    """They report in process; the loop's own thread is told to use the async face."""
    app = Runstate([make_pipeline()], data=tmp_path / "data")

    def work():
        with track_sync(app, "predict", stages=["load"], metadata={"user": 7}) as run:
            with run.stage("load") as stage:
                stage.progress(1)
                stage.outputs(rows=1)
            run.log("done")
        return run.run_id

    async def main():
        async with app.lifespan():
            run_id = await asyncio.to_thread(work)
            over = (await app.manager.find_run(run_id)).run
            assert (over.state, over.stages["load"].outputs.to_dict()) == ("success", {"rows": 1})
            with pytest.raises(RuntimeError, match="async with"):
                work()

    asyncio.run(main())

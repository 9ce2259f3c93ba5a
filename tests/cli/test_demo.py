"""`demo` and `market run`: the main job on the data that comes with runstate."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

from runstate.cli.demo import to_end
from runstate.cli.follow import Lines
from runstate.client import ServerUnreachable
from tests.cli.terminal import Program, Server, assert_refused, runstate


def test_once_runs_the_main_job_and_its_last_line_names_the_report(tmp_path):
    done = runstate("demo", "--once", "--port", "0", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    last = re.fullmatch(r"demo: run ([0-9A-Z]{26}) success (.+/report\.json)", done.stdout.splitlines()[-1])
    assert last is not None, done.stdout
    assert Path(last[2]).is_relative_to(tmp_path / ".runstate" / "demo")
    assert json.loads(Path(last[2]).read_text())
    assert "translator: success" in done.stderr


def test_it_leaves_the_runs_of_ones_own_alone(home):
    with Server("pipelines.py", cwd=home) as server:
        run_id = runstate("start", "held", "--meta", "once=true", "--url", server.url, cwd=home).stdout.strip()
        assert runstate("demo", "--once", "--port", "0", cwd=home).returncode == 0, "beside a server of one's own"
        server.kill()
    assert runstate("demo", "--once", "--port", "0", cwd=home).returncode == 0, "beside a run that waits for its server"
    assert_refused(runstate("demo", "--once", "--data", ".runstate", cwd=home), 2, ".runstate", "--data")

    with Server("pipelines.py", cwd=home) as server:
        done = runstate("logs", run_id, "-f", "--url", server.url, cwd=home)
        assert done.returncode == 0, done.stderr
        assert (
            json.loads(runstate("show", "latest", "--json", "--url", server.url, cwd=home).stdout)["run_id"] == run_id
        )


def test_it_ends_with_its_run_whatever_the_stream_does():
    """Neither a stream that is silent for ever nor an answer that does not come holds it."""

    class Run:
        state = "success"

        def to_dict(self):
            return {"run_id": "01", "pipeline": "market", "state": "success", "stop_requested": None, "stage_order": []}

    class Silent:
        answers = iter([ServerUnreachable("http://127.0.0.1:1"), Run()])

        async def get_run(self, run_id):
            answer = next(self.answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def watch(self, *topics):
            await asyncio.Event().wait()
            yield

    said = []
    last = asyncio.run(to_end(Silent(), "01", Lines(lambda: 0, said.append)))

    assert last["state"] == "success"
    assert said[-1].endswith("run 01 of market: success")


def test_the_port_being_in_use_is_no_reason_not_to_run_once(home):
    with Server("pipelines.py", cwd=home) as server:
        port = server.url.rpartition(":")[2]

        done = runstate("demo", "--once", "--port", port, "--data", "other", cwd=home)
        refused = runstate("demo", "--no-browser", "--port", port, "--data", "other", cwd=home)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"port {port} is in use, taking a free one\n")
    assert_refused(refused, 4, port)


def test_it_stays_and_serves_until_ctrl_c(tmp_path):
    with Program("demo", "--no-browser", "--port", "0", cwd=tmp_path) as demo:
        url = demo.out.until("is serving").split()[-1]
        demo.out.until("demo: run ")
        assert "has never run" not in runstate("status", "market", "--url", url, cwd=tmp_path).stdout
        assert runstate("start", "market", "--wait", "--url", url, cwd=tmp_path).returncode == 0
        assert_refused(runstate("demo", "--once", cwd=tmp_path), 4, str(demo.process.pid), url)
        demo.signal(signal.SIGINT)

        assert demo.wait() == 0


def test_a_failing_demo_exits_1_and_says_why(tmp_path):
    assert runstate("demo", "--once", "--port", "0", cwd=tmp_path).returncode == 0
    config = tmp_path / ".runstate" / "demo" / "market.toml"
    config.write_text(config.read_text().replace('dialect = "dukascopy"', 'dialect = "nonsense"'))

    done = runstate("demo", "--once", "--port", "0", cwd=tmp_path)

    assert done.returncode == 1
    assert re.match(r"demo: run [0-9A-Z]{26} failed .*nonsense", done.stdout.splitlines()[-1])
    assert "Traceback" not in done.stdout + done.stderr


def test_market_run_takes_any_configuration(tmp_path):
    assert runstate("demo", "--once", "--port", "0", "--data", "d", cwd=tmp_path).returncode == 0

    done = runstate("market", "run", "d/market.toml", cwd=tmp_path)
    document = json.loads(runstate("market", "run", "d/market.toml", "--json", cwd=tmp_path).stdout)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        f"report: {tmp_path}/d/out/report.json",
        f"report: {tmp_path}/d/out/report.html",
    ]
    assert document["metadata"] == {"config": f"{tmp_path}/d/market.toml"}
    assert document["state"] == "success"

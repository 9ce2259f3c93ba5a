"""The TypeScript client in Node against the real server; web/packages/client/test/real-server.ts is the other half."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import working

PACKAGE = Path(__file__).parents[2] / "web" / "packages" / "client"
VITEST = PACKAGE.parents[1] / "node_modules" / ".bin" / "vitest"
TOKEN = "node-secret"

FAILING = """
work = Pipeline("work", progress_interval_s=0)

@work.stage
async def fails(ctx):
    for done in range(20):
        ctx.progress(done, total=20)
    raise ValueError("it does")
"""


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


@pytest.mark.rule("F4", "F13", "C1")
def test_the_typescript_client_over_each_transport(bench):
    """WebSocket, event stream and long-poll show the same bytes, and the bytes that a plain read gives."""
    server = bench.serve(FAILING, "--token", TOKEN)
    server.http.headers["authorization"] = f"Bearer {TOKEN}"
    shown = bench.folder / "shown.json"
    env = os.environ | {"RUNSTATE_URL": server.url, "RUNSTATE_TOKEN": TOKEN, "RUNSTATE_SHOWN": str(shown)}
    done = subprocess.run(
        [VITEST, "run", "--config", "vitest.real.config.ts", "real-server"],
        cwd=PACKAGE, env=env, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "skipped" not in done.stdout
    told = json.loads(shown.read_text())
    assert told["transports"] == ["websocket", "sse", "long-poll"]
    assert server.http.get(f"/api/runs/{told['run_id']}").text == told["document"]

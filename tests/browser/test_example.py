"""`web/examples/page.tsx`, as its README says: Vite's server before the real one, StrictMode and React's own warnings on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.acceptance.harness import Lines
from tests.browser.test_dashboard import PIPELINES

WEB = Path(__file__).parents[2] / "web"
EXAMPLE = WEB / "examples"
MOST_LINES = 40


@pytest.fixture
def serve_example():
    """Serves the example in front of a server; returns its address."""
    served: list[tuple[subprocess.Popen[str], Lines]] = []

    def serve(url: str) -> str:
        process = subprocess.Popen(
            [WEB / "node_modules" / ".bin" / "vite", "--host", "127.0.0.1", "--port", "0"],
            cwd=EXAMPLE, env=os.environ | {"RUNSTATE_URL": url, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said = Lines(process.stdout)
        served.append((process, said))
        line = said.wait_for("Local:")
        assert line is not None, said.lines
        return line.split()[-1]

    yield serve
    for process, said in served:
        process.terminate()
        process.wait()
        said.join()


def test_the_example_shows_a_run_from_start_to_end(bench, dashboard, serve_example):
    """The hooks in a page of forty lines: what they show is the server's, and nothing is shown as live that is not."""
    assert len((EXAMPLE / "page.tsx").read_text().splitlines()) <= MOST_LINES
    server = bench.serve(PIPELINES)
    page = dashboard.page
    page.goto(serve_example(server.url))
    start = page.get_by_role("button", name="Start")
    expect(page.get_by_role("heading")).to_have_text("market: idle")
    expect(page.get_by_role("listitem")).to_have_text(["translator: pending", "analyzer: pending", "merger: pending"])

    start.click()
    stage = bench.puppets.next("translator")
    stage.do('ctx.progress(3, total=10, unit="files")')
    expect(page.get_by_role("heading")).to_have_text("market: running_translator")
    expect(page.get_by_role("listitem").first).to_have_text("translator: running, 3 done")
    expect(start).to_be_disabled()
    stage.raises('ValueError("no rows")')
    expect(page.get_by_role("heading")).to_have_text("market: failed")
    expect(page.get_by_role("status")).to_contain_text("ValueError: no rows")
    expect(start).to_be_enabled()
    run_id = server.http.get("/api/pipeline/status").json()["run_id"]
    commits = server.http.get(f"/api/runs/{run_id}/history").json()["commits"][-5:]
    expect(page.locator("pre")).to_have_text("".join(f"{one['version']} {one['new_state']}\n" for one in commits))
    assert dashboard.complaints == []

    server.kill()
    expect(start).to_be_disabled()
    expect(page.locator("form")).to_have_css("opacity", "0.5")

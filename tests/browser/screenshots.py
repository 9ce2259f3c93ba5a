"""`make screenshots`: each page of the dashboard in light and dark, from a real server, into docs/images."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.acceptance.harness import Server
from tests.conftest import BROWSERS

IMAGES = Path(__file__).parents[2] / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000

PIPELINES = '''
import asyncio
from runstate import Pipeline

REPORT = """<!doctype html><title>Report</title><style>body{font:16px system-ui;margin:32px}td,th{padding:6px 18px;
text-align:right;border-top:1px solid #ddd}</style><h1>Opening range, 2011</h1><table><tr><th>slot<th>trades<th>profit
<tr><td>09:30<td>212<td>+18.4<tr><td>10:00<td>198<td>\\u22124.1<tr><td>11:00<td>187<td>+9.7</table>"""

market = Pipeline("market", progress_interval_s=0.05)

@market.stage
async def translator(ctx):
    for n in range(1, 13):
        ctx.progress(n, total=12, unit="files", message=f"SPY_2011-{n:02}.csv")
        ctx.log(f"SPY_2011-{n:02}.csv: 31 204 bars", level="warning" if n == 7 else "info")
        await asyncio.sleep(0.01)
    return {"files": 12, "bars": 374_448, "quarantined": 17}

@market.stage(retries=1, backoff_s=0.2)
async def analyzer(ctx):
    fault = ctx.metadata.get("fault")
    if fault == "once" and ctx.attempt == 1 or fault == "always":
        ctx.log("reading bars of 2011-01-21")
        ctx.log("no bars between 10:30 and 11:00", level="error")
        raise ValueError("2011-01-21: no bars inside the range")
    for n in range(1, 21):
        ctx.progress(n * 5, total=250, unit="days", message=f"SPY 2011-01-{n:02}, slot 11:00")
        ctx.log(f"SPY 2011-01-{n:02}: range 0.{40 + n}, Short at 127.{n:02}")
        await asyncio.sleep(0.09 if ctx.metadata.get("wait") else 0.005)
    if ctx.metadata.get("wait"):
        await asyncio.sleep(3600)
    return {"days": 250, "trades": 597}

@market.stage
async def merger(ctx):
    (ctx.workdir / "report.html").write_text(REPORT)
    return {"report": "report.html", "rows": 597}

market.schedule("0 7 * * 1-5", tz="America/Chicago")

nightly = Pipeline("nightly", run_policy="gated")

@nightly.stage
async def load(ctx):
    raise MemoryError("the table does not fit") if ctx.metadata.get("big") else ValueError("no table")

warehouse = Pipeline("warehouse")

@warehouse.stage
async def copy(ctx):
    return {"rows": 12}
'''


def finish(server: Server, pipeline: str, **metadata: object) -> str:
    """Run a pipeline to its end."""
    run_id = server.start_run(pipeline, metadata=metadata)["run_id"]
    server.wait_over(run_id)
    return run_id


def fill(server: Server) -> tuple[str, str, str]:
    """Make a past; return the runs that succeeded, failed, and are running."""
    for n in range(22):
        finish(server, "market", as_of=f"2011-03-{n + 1:02}", **({"fault": "always"} if n in (6, 13) else {}))
    for _ in range(2):
        finish(server, "nightly", big=False)
    finish(server, "warehouse")
    failed = finish(server, "market", as_of="2011-03-30", fault="always")
    done = finish(server, "market", as_of="2011-03-31", fault="once")
    live = server.start_run("market", metadata={"as_of": "2011-04-01", "config": "market.toml", "wait": True})
    return done, failed, live["run_id"]


def shoot(page: Page, address: str, name: str, scheme: str, ready: str) -> None:
    """Write one picture, once the page shows `ready`."""
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("main")).to_contain_text(re.compile(ready, re.DOTALL))
    expect(page.locator(".badge-word")).to_have_text(re.compile("live|quiet|connecting|stale"))
    if name == "report":
        expect(page.frame_locator("iframe").locator("h1")).to_have_text("Opening range, 2011")
    page.screenshot(path=IMAGES / f"{name}-{scheme}.png")


def pages(browser: Browser, server: Server, locked: Server, runs: tuple[str, str, str]) -> None:
    """Write every picture."""
    done, failed, _ = runs
    run = f"{server.url}/#/pipelines/market/runs"
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 1180, "height": 1080}, color_scheme=scheme)
        page = context.new_page()
        shoot(page, f"{server.url}/#/", "overview", scheme, "warehouse")
        shoot(page, f"{server.url}/#/pipelines/market", "run", scheme, r"100 of 250.*following")
        shoot(page, f"{run}/{failed}", "failed", scheme, r"The last lines of analyzer.*complete")
        shoot(page, f"{run}/{done}", "report", scheme, "analyzer, attempt 2.*complete")
        shoot(page, f"{run}/{done}?version=9", "time-travel", scheme, "As it was at version 9 of.*stages.*→.*complete")
        shoot(page, f"{server.url}/#/runs", "runs", scheme, "Choose two to compare")
        shoot(page, f"{server.url}/#/compare?a={failed}&b={done}", "compare", scheme, "whole run")
        shoot(page, locked.url, "login", scheme, "This server wants a token")
        context.close()
        phone = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)
        shoot(phone.new_page(), f"{server.url}/#/pipelines/market", "phone", scheme, r"100 of 250.*following")
        phone.close()


def main() -> None:
    """Start the servers, make a past, and take the pictures."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        sys.exit("make screenshots: needs a Chromium on PATH; install one (Debian: apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipelines.py"
        file.write_text(PIPELINES)
        server = Server(file, Path(folder) / "data")
        locked = Server(file, Path(folder) / "locked", "--token", "a-token-that-nobody-guesses")
        try:
            runs = fill(server)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                pages(browser, server, locked, runs)
                browser.close()
        finally:
            server.close()
            locked.close()


if __name__ == "__main__":
    main()

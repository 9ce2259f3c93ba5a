"""Time travel, retry, the token form, two tabs and accessibility, in a real browser on the real server."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.dashboard import Dashboard
from tests.browser.test_dashboard import PIPELINES

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
TOKEN = "a-token-that-nobody-guesses"


def is_accessible(page: Page) -> None:
    """WCAG 2 AA, as far as axe can tell."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'] }).then((told) => told.violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_a_failed_run_is_looked_back_at_and_retried(bench, dashboard):
    """Each version is the server's own; a retry says what it will do and goes on at the stage that failed."""
    server = bench.serve(PIPELINES)
    run_id = server.start_run()["run_id"]
    bench.puppets.next("translator").returns('{"files": 3}')
    stage = bench.puppets.next("analyzer")
    stage.do('ctx.log("reading 2011-01-21")')
    stage.raises('ValueError("no rows")')
    server.wait_over(run_id)
    dashboard.open(server.url)
    page = dashboard.page
    expect(page.locator(".last-lines")).to_contain_text("reading 2011-01-21")
    is_accessible(page)

    page.goto(f"{server.url}/#/pipelines/market/runs/{run_id}?version=2")
    expect(dashboard.lede).to_contain_text("As it was at version 2 of")
    expect(page.locator(".patch")).to_contain_text("digest verified")
    dashboard.shows("running_translator")
    expect(page.locator(".patch")).to_contain_text("starting → running_translator")
    assert dashboard.document() == server.http.get(f"/api/runs/{run_id}/versions/2").json()
    page.get_by_role("slider").press("ArrowRight")
    expect(dashboard.lede).to_contain_text("As it was at version 3 of")
    assert page.url.endswith("?version=3")
    is_accessible(page)

    page.goto(f"{server.url}/#/pipelines/market")
    dashboard.retry.click()
    expect(page.get_by_role("dialog")).to_contain_text("The same run goes on at analyzer, with attempt 2.")
    page.get_by_role("button", name="Retry the run").click()
    bench.puppets.next("analyzer", attempt=2).returns()
    bench.puppets.next("merger").returns()
    dashboard.shows("success")
    expect(page.locator(".attempts")).to_contain_text("analyzer, attempt 2")
    assert dashboard.complaints == []


def test_a_token_opens_the_page_and_two_tabs_agree(bench, browser):
    """The form trades the token for a session; two tabs show the same bytes, and so do lists and details."""
    server = bench.serve(PIPELINES, "--token", TOKEN)
    server.http.headers["authorization"] = f"Bearer {TOKEN}"
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("The server does not know this token.")
    is_accessible(page)
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".overview")).to_contain_text("market")
    is_accessible(page)

    tabs = [Dashboard(context.new_page()) for _ in range(2)]
    for tab in tabs:
        tab.open(server.url)
    tabs[0].start.click()
    bench.puppets.next("translator").raises('ValueError("no rows")')
    for tab in tabs:
        tab.shows("failed")
        tab.document()
    one, other = (tab.page.locator(".raw").text_content() for tab in tabs)
    assert one == other
    page.goto(f"{server.url}/#/runs?status=error")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("failed")
    is_accessible(page)
    context.close()

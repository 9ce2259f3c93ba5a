"""A browser with one page on the real server, whose stages do what the test tells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.acceptance.harness import Bench
from tests.acceptance.puppets import Puppets
from tests.browser.dashboard import Dashboard
from tests.conftest import CI

BUNDLE = Path(__file__).parents[2] / "src" / "runstate" / "server" / "dashboard" / "index.html"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000  # a bound for failures, never a pace


@pytest.fixture
def bench(tmp_path):
    """A folder for pipelines, a data directory and puppets."""
    with Puppets() as puppets:
        bench = Bench(tmp_path, puppets)
        try:
            yield bench
        finally:
            for server in bench.servers:
                server.close()
                print(f"{server.url} said:", *server.err.lines, sep="\n")  # read when a test has failed


@pytest.fixture(scope="module")
def browser(chromium):
    """A Chromium of its own for all tests of a file; Playwright keeps an event loop running as long as it is open."""
    if not BUNDLE.exists():
        why = f"needs the dashboard's bundle, and {BUNDLE} is missing; make it with `make web`"
        (pytest.fail if CI else pytest.skip)(why)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def dashboard(browser):
    """A fresh page; the test opens it where its server is."""
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    dashboard = Dashboard(context.new_page())
    yield dashboard
    print(f"the page said: {dashboard.complaints}", dashboard.page.inner_text("body"), sep="\n")
    context.close()

"""The dashboard in a real browser, on the real server, through whole runs. Nothing waits for time to pass."""

from __future__ import annotations

import re
import socket

from playwright.sync_api import expect

from tests.browser.dashboard import LIVE

STAGES = ("translator", "analyzer", "merger")

PIPELINES = """
market = Pipeline("market", progress_interval_s=0)
market.stage(name="translator")(puppet.plain)
market.stage(name="analyzer", grace_s=1)(puppet.plain)
market.stage(name="merger")(puppet.task)
"""


def agrees(dashboard, server) -> None:
    """The page shows, member by member, what the server has at that version; and it is the run that polling shows."""
    shown = dashboard.document()
    polled = server.http.get("/api/pipeline/status").json()
    assert (shown["run_id"], shown["state"], shown["current_stage"]) == (
        polled["run_id"],
        polled["state"],
        polled["current_stage"],
    )
    assert server.http.get(f"/api/runs/{shown['run_id']}/versions/{shown['version']}").json() == shown


def test_a_whole_run(bench, dashboard):
    """From idle to success by one click; each stage is seen, and Start is never offered meanwhile."""
    server = bench.serve(PIPELINES)
    dashboard.open(server.url)
    dashboard.shows("idle")
    expect(dashboard.lede).to_contain_text("It has never run.")
    expect(dashboard.stop).to_be_disabled()
    assert dashboard.document() == server.http.get("/api/pipeline/status").json()

    dashboard.start.click()
    for place, name in enumerate(STAGES, start=1):
        stage = bench.puppets.next(name)
        dashboard.shows(f"running_{name}")
        expect(dashboard.pill).to_have_text(f"running {name}")
        expect(dashboard.lede).to_have_text(f"Stage {place} of 3.")
        stage.do('ctx.progress(3, total=10, unit="files", message="SPY_2011.csv")')
        expect(dashboard.stage(name)).to_contain_text("3 of 10 files · SPY_2011.csv")
        expect(dashboard.stage(name).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "30")
        expect(dashboard.start).to_be_disabled()
        agrees(dashboard, server)
        stage.returns(f'{{"files": {place}}}')

    dashboard.shows("success")
    expect(dashboard.start).to_be_enabled()
    expect(dashboard.stage("merger")).to_contain_text("files 3")
    final = server.http.get("/api/pipeline/status").json()
    assert dashboard.document() == final
    expect(dashboard.badge).to_contain_text(f"v {final['version']} · digest verified")
    expect(dashboard.fact("Run")).to_have_text(final["run_id"])
    expect(dashboard.fact("Version")).to_have_text(str(final["version"]))
    expect(dashboard.page.locator(f'.recent a[data-run="{final["run_id"]}"]')).to_contain_text("success")

    seen = dashboard.seen()
    assert [entry["state"] for entry in seen if entry["start"]] == ["idle", "success"]
    words = list(dict.fromkeys(entry["state"] for entry in seen))
    # `starting` may be conflated away (D2): readers of the latest see what is, not what was.
    assert [word for word in words if word != "starting"] == [
        "idle",
        *(f"running_{name}" for name in STAGES),
        "success",
    ]
    assert dashboard.complaints == []


def test_stop(bench, dashboard):
    """Stop asks first; the page says stopping until the worker is dead, then stopped."""
    server = bench.serve(PIPELINES)
    dashboard.open(server.url)
    dashboard.start.click()
    bench.puppets.next("translator").returns()
    stage = bench.puppets.next("analyzer")
    stage.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    dashboard.shows("running_analyzer")

    dashboard.stop.click()
    dialog = dashboard.page.get_by_role("dialog")
    expect(dialog).to_contain_text("This asks analyzer to end, and kills it")
    dialog.get_by_role("button", name="Keep running").click()
    expect(dialog).to_have_count(0)
    expect(dashboard.stop).to_be_focused()
    assert server.http.get("/api/pipeline/status").json()["stop_requested"] is None

    dashboard.stop.click()
    dashboard.page.get_by_role("button", name="Stop the run").click()
    expect(dashboard.pill).to_have_text("stopping…")
    expect(dashboard.start).to_be_disabled()
    expect(dashboard.stop).to_be_disabled()
    dashboard.shows("stopped")
    expect(dashboard.pill).to_have_text("stopped")
    expect(dashboard.stage("analyzer")).to_have_attribute("data-state", "stopped")
    expect(dashboard.stage("merger")).to_contain_text("not begun")
    expect(dashboard.start).to_be_enabled()

    stage.wait_dead()
    assert dashboard.document() == server.http.get("/api/pipeline/status").json()
    assert dashboard.complaints == []


def test_a_server_that_dies_and_comes_back(bench, dashboard):
    """A page without its server says so, as of when, and stops its clocks; then it goes on where the run does."""
    server = bench.serve(PIPELINES, "--port", str(free_port()))
    dashboard.open(server.url)
    dashboard.start.click()
    bench.puppets.next("translator", attempt=1)
    dashboard.shows("running_translator")

    server.kill()
    expect(dashboard.link).to_have_text("stale")
    expect(dashboard.badge).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d, \d+ s ago"))
    expect(dashboard.page.locator(".page")).to_have_attribute("data-grey", "true")
    expect(dashboard.pill).to_have_text("running translator")
    expect(dashboard.start).to_be_disabled()
    expect(dashboard.stop).to_be_disabled()
    stood, age = dashboard.elapsed.text_content(), dashboard.page.locator(".badge-age").text_content()
    expect(dashboard.page.locator(".badge-age")).not_to_have_text(age or "")
    assert dashboard.elapsed.text_content() == stood

    server.restart()
    stage = bench.puppets.next("translator", attempt=2)
    expect(dashboard.link).to_have_text(LIVE)
    expect(dashboard.page.locator(".page")).to_have_attribute("data-grey", "false")
    expect(dashboard.stage("translator")).to_contain_text("attempt 2")
    agrees(dashboard, server)
    stage.returns()
    for name in STAGES[1:]:
        bench.puppets.next(name).returns()
    dashboard.shows("success")
    assert dashboard.document() == server.http.get("/api/pipeline/status").json()


def test_a_network_without_websockets(bench, dashboard):
    """Where a proxy closes each WebSocket the page follows by server-sent events, and shows the same."""
    server = bench.serve(PIPELINES)
    dashboard.page.route_web_socket(re.compile(r"/api/ws"), lambda socket: socket.close())
    dashboard.open(server.url)
    expect(dashboard.badge).to_have_attribute("title", "over sse")

    dashboard.start.click()
    bench.puppets.next("translator")
    dashboard.shows("running_translator")
    agrees(dashboard, server)


def test_another_reader_was_faster(bench, dashboard):
    """A start that loses against another one says so in a sentence, and the page shows the winner's run."""
    server = bench.serve(PIPELINES)
    dashboard.open(server.url)
    page = dashboard.page
    held: list = []
    page.route("**/start", lambda route: held.append(route))  # noqa: PLW0108  # Playwright marks its handlers
    dashboard.start.click()
    expect(dashboard.start).to_have_text("Starting…")
    page.wait_for_function("() => document.querySelector('.controls > .start').disabled")
    winner = server.start_run()
    stage = bench.puppets.next("translator")
    dashboard.shows("running_translator")
    held[0].continue_()

    expect(dashboard.lede).to_contain_text("Not started: another run is already active.")
    assert dashboard.document()["run_id"] == winner["run_id"]
    stage.raises('ValueError("no rows")')
    dashboard.shows("failed")
    expect(dashboard.stage("translator").get_by_role("group", name="Error")).to_have_text(
        "exception ValueError: no rows"
    )


def test_an_earlier_run_is_read_only(bench, dashboard):
    """A run of the list opens as it was recorded, in the address too; the current run is one click away."""
    server = bench.serve(PIPELINES)
    first = server.start_run(metadata={"as_of": "2011-04-01"})["run_id"]
    bench.puppets.next("translator").raises('ValueError("no rows")')
    server.wait_over(first)
    second = server.start_run()["run_id"]
    bench.puppets.next("translator")
    dashboard.open(server.url)
    page = dashboard.page

    page.locator(f'.recent a[data-run="{first}"]').click()
    dashboard.shows("failed")
    expect(dashboard.lede).to_contain_text("An earlier run, read-only.")
    expect(dashboard.fact("as_of")).to_have_text("2011-04-01")
    expect(page.locator(".controls button")).to_have_count(0)
    assert dashboard.document() == server.run(first)
    page.reload()
    dashboard.shows("failed")

    page.get_by_role("link", name="Back to the current run").click()
    dashboard.shows("running_translator")
    assert dashboard.document()["run_id"] == second


def test_the_page_fits_a_phone_and_needs_nothing_from_outside(bench, browser):
    """At 360 px nothing is cut off, in both palettes; everything comes from the server itself."""
    server = bench.serve(PIPELINES)
    server.start_run(metadata={"a long name of a member": "and a value that is longer than the screen is wide"})
    bench.puppets.next("translator")
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))  # noqa: B023
        page.goto(server.url)
        expect(page.locator(".pill")).to_have_text("running translator")
        page.goto(f"{server.url}/#/pipelines/market")
        expect(page.locator(".title .pill")).to_have_text("running translator")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert [url for url in asked if not url.startswith(server.url)] == []
        context.close()


def free_port() -> int:
    """A port that a server can come back to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

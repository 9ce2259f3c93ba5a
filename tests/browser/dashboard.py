"""The dashboard as a person sees it: its words, its buttons, and what they did while nobody looked."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Page, expect

LIVE = re.compile(r"^(live|quiet)$")

# Each time anything on the page changes: which state it shows, and which buttons it offers.
WITNESS = """
() => {
  const seen = (window.seen = [])
  const look = () => {
    const state = document.querySelector('.pill')?.dataset.state
    const start = document.querySelector('.controls > .start')
    const stop = document.querySelector('.controls > .stop')
    if (state === undefined || start === null) return
    const now = JSON.stringify({ state, start: !start.disabled, stop: stop !== null && !stop.disabled })
    if (seen.at(-1) !== now) seen.push(now)
  }
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true })
  look()
}
"""


class Dashboard:
    """One open page. Everything here waits for what it asks for, as long as a test may take."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: What the browser complained about: a broken policy, a failed request, an exception.
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        self.pill = page.locator(".title .pill")
        self.badge = page.locator(".badge")
        self.link = page.locator(".badge-word")
        self.lede = page.locator(".lede")
        self.start = page.locator(".controls > .start")
        self.stop = page.locator(".controls > .stop")
        self.retry = page.locator(".controls > .retry")
        self.elapsed = page.locator(".title-time")

    def open(self, url: str, pipeline: str = "market") -> None:
        """Open the page of a pipeline and wait until it is live."""
        self.page.goto(f"{url}/#/pipelines/{pipeline}")
        expect(self.link).to_have_text(LIVE)
        expect(self.pill).to_be_visible()
        self.page.evaluate(WITNESS)

    def stage(self, name: str):
        """The row of a stage."""
        return self.page.locator(f'.stage[data-stage="{name}"]')

    def fact(self, name: str):
        """The value beside a name in one of the cards."""
        return self.page.locator("dl > div", has=self.page.locator("dt", has_text=re.compile(f"^{name}$"))).locator(
            "dd"
        )

    def shows(self, state: str) -> None:
        """Wait until the page shows a state of the run."""
        expect(self.page.locator(f'.title .pill[data-state="{state}"]')).to_be_visible()

    def document(self) -> dict:
        """The document that the page shows, from its raw state."""
        raw = self.page.locator(".raw pre")
        if not raw.is_visible():
            self.page.get_by_text("Raw state").click()
        return json.loads(raw.text_content() or "")

    def seen(self) -> list[dict]:
        """What the page has shown since it was opened, one entry per change of state or buttons."""
        return [json.loads(line) for line in self.page.evaluate("window.seen")]

"""The page says what the report says, needs nothing from elsewhere, and shows what it is given as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from runstate.market.curve import draw_curve
from runstate.market.page import Digits, render_page
from runstate.market.report import report_stream
from tests.market.test_report import table

VOID = {"meta", "line"}


class Outline(HTMLParser):
    """Collects tags and text, and refuses what is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def page(*streams: tuple[str, list[tuple[int, str, float | None]]]) -> tuple[str, Outline]:
    html = render_page([report_stream(name, table(*rows)) for name, rows in streams], {"X": Digits(price=2, profit=1)})
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    return html, outline


ROWS = [(0, "Win", 1234.5), (1, "Loss", -3.0), (2, "NoTrade", None), (30, "TIME", 0.3), (31, "OPEN", None)]


def test_the_page_shows_the_figures():
    _, outline = page(("X1", ROWS))

    assert "2011-01-03 to 2011-02-03 · 3 trades · as of 2011-01-03 15:00 UTC" in outline.text
    assert {"+1\u202f231.8", "+1\u202f231.5", "+0.3", "33.3%", "3.0"} <= set(outline.text)
    assert outline.tags.count("svg") == 1


def test_the_page_needs_nothing_from_elsewhere():
    """No script, no link, no address of anything."""
    html, outline = page(("X1", ROWS), ("X2", ROWS))

    assert not {"script", "link", "img", "iframe", "object", "a"} & set(outline.tags)
    assert not {"src", "href"} & set(outline.attributes)
    assert not re.search(r"https?:|url\(|@import", html)
    assert "prefers-color-scheme:dark" in html


def test_names_are_shown_as_text():
    html, _ = page(("<b>&", ROWS))

    assert "<b>&amp;" not in html
    assert "&lt;b&gt;&amp;" in html


def test_a_stream_without_trades_and_a_page_without_streams_are_shown_too():
    _, outline = page(("X1", [(0, "NoData", None)]))
    assert "No closed trade yet." in outline.text

    assert "no results" in render_page([], {})


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["0"], ["0.0", "0.2"]),
        (["-12", "30"], ["−20", "−10", "0", "10", "20", "30"]),
        (["1100"], ["0", "250", "500", "750", "1\u202f000", "1\u202f250"]),
        (["0.0011"], ["0.00000", "0.00025", "0.00050", "0.00075", "0.00100", "0.00125"]),
    ],
)
def test_an_axis_has_round_numbers(values, labels):
    day = datetime(2011, 1, 3, tzinfo=UTC)

    drawing = draw_curve([(day.replace(day=n), Decimal(v)) for n, v in enumerate(values, start=3)], "x", width=500)

    assert re.findall(r'text-anchor="end">([^<]*)</text>', drawing)[: len(labels)] == labels
    assert "nan" not in drawing

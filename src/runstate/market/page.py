"""`report.html`: the report's figures as one page that needs nothing else, no script, no font, no network.

It says what `report.json` says and adds the equity curves and the latest trades. Light or dark is the reader's
choice (prefers-color-scheme). Colour never stands alone: signs and words say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from importlib.resources import files

from runstate.market.curve import draw_curve
from runstate.market.report import Figures, Quality, StreamReport

SHOWN_TRADES = 500
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TONES = {
    "Win": "var(--gain)",
    "BE": "var(--accent)",
    "TIME": "var(--time)",
    "Loss": "var(--loss)",
    "OPEN": "var(--dim)",
    "NoTrade": "var(--mute)",
    "NoData": "var(--line)",
}


@dataclass(frozen=True, slots=True)
class Digits:
    """How many digits after the point an instrument's figures have."""

    price: int
    profit: int


def render_page(reports: list[StreamReport], instruments: Mapping[str, Digits], quality: Sequence[Quality] = ()) -> str:
    """Return the page.

    Args:
        reports: In the order in which they are shown.
        instruments: The digits of each instrument; an expiry has those of its root.
        quality: What the translator took and what it did not.
    """
    css = files("runstate.market").joinpath("page.css").read_text()
    digits = {
        r.stream: max((instruments[i].profit for i in r.instruments if i in instruments), default=2) for r in reports
    }
    sections = [
        _section("Streams", _summary(reports, digits) + _legend()),
        _section("Equity, closed trades", _curves(reports, digits)),
        _section("Profit by month", _heat_map(reports, digits)),
        _section("Trades", _latest(reports, instruments)),
        _section("Data quality", _quality(quality)),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>Opening-range breakout</title>\n<style>\n{css}</style>\n</head>\n"
    )
    body = f"<header><h1>Opening-range breakout</h1><p>{_subtitle(reports)}</p></header>\n" + "\n".join(sections)
    return f"{head}<body>\n<main>\n{body}\n{_FOOTER}\n</main>\n</body>\n</html>\n"


_FOOTER = (
    "<footer>Profit in the instrument’s scale. Win rate: share of trades that reached their target. "
    "Drawdown: deepest fall of the running profit. Times are UTC. Past results of a rule on past prices.</footer>"
)


def _subtitle(reports: list[StreamReport]) -> str:
    if not reports:
        return "no results"
    first, last = min(r.first for r in reports), max(r.last for r in reports)
    as_of = max(r.as_of for r in reports)
    trades = sum(r.total.trades for r in reports)
    return f"{first} to {last} · {trades} trades · as of {as_of:%Y-%m-%d %H:%M} UTC"


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>"


def _summary(reports: list[StreamReport], digits: Mapping[str, int]) -> str:
    heads = [
        "Stream",
        "Outcomes",
        "Trades",
        "Win",
        "BE",
        "Loss",
        "TIME",
        "OPEN",
        "NoTrade",
        "NoData",
    ]
    heads += ["Win rate", "Profit", "Drawdown"]
    header = "".join(f'<th class="{"" if i < 2 else "num"}">{h}</th>' for i, h in enumerate(heads))
    rows = "\n".join(_summary_row(r, digits[r.stream]) for r in reports)
    return f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _summary_row(report: StreamReport, digits: int) -> str:
    total = report.total
    counts = "".join(
        f'<td class="num{"" if total.results[name] else " dim"}">{total.results[name]}</td>'
        for name in ("Win", "BE", "Loss", "TIME", "OPEN", "NoTrade", "NoData")
    )
    return (
        f'<tr><td class="name">{escape(report.stream)}</td><td>{_outcome_bar(total)}</td>'
        f'<td class="num">{total.trades}</td>{counts}<td class="num">{_rate(total)}</td>'
        f'<td class="num {_tone(total.profit)}">{_signed(total.profit, digits)}</td>'
        f'<td class="num">{_plain(total.drawdown, digits)}</td></tr>'
    )


def _outcome_bar(total: Figures) -> str:
    parts = "".join(
        f'<i style="flex:{total.results[name]};background:{tone}" title="{total.results[name]} {name}"></i>'
        for name, tone in _TONES.items()
        if total.results[name]
    )
    return f'<span class="bar">{parts}</span>'


def _legend() -> str:
    entries = "".join(f'<span><i style="background:{tone}"></i>{name}</span>' for name, tone in _TONES.items())
    return f'\n<div class="legend">{entries}</div>'


def _curves(reports: list[StreamReport], digits: Mapping[str, int]) -> str:
    width = 1020 if len(reports) == 1 else 500
    figures = []
    for report in reports:
        places = digits[report.stream]
        if report.equity:
            label = f"Running profit of {report.stream}"
            drawing = draw_curve(report.equity, label, width=width)
        else:
            drawing = '<p class="dim">No closed trade yet.</p>'
        profit = report.total.profit
        figures.append(
            f"<figure><figcaption><b>{escape(report.stream)}</b>"
            f'<span class="dim">{report.total.trades} trades</span>'
            f'<span class="num {_tone(profit)}">{_signed(profit, places)}</span></figcaption>'
            f"{drawing}</figure>"
        )
    drawings = "\n".join(figures)
    return f'<div class="curves">\n{drawings}\n</div>'


def _heat_map(reports: list[StreamReport], digits: Mapping[str, int]) -> str:
    header = "".join(f"<th>{name}</th>" for name in ("Stream", "Year", *MONTHS, "Total"))
    rows = [
        _heat_row(report, year, digits[report.stream])
        for report in reports
        for year in sorted({month[:4] for month in report.months})
    ]
    lines = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="heat"><thead><tr>{header}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def _heat_row(report: StreamReport, year: str, digits: int) -> str:
    deepest = max((abs(f.profit) for f in report.months.values()), default=Decimal(0))
    months = [report.months.get(f"{year}-{n:02}") for n in range(1, 13)]
    cells = "".join(_heat_cell(figures, deepest, digits) for figures in months)
    total = sum((f.profit for f in months if f is not None), Decimal(0))
    return (
        f'<tr><td class="name">{escape(report.stream)}</td><td class="year">{year}</td>{cells}'
        f'<td class="{_tone(total)}">{_signed(total, digits)}</td></tr>'
    )


def _heat_cell(figures: Figures | None, deepest: Decimal, digits: int) -> str:
    if figures is None or not figures.trades:
        return '<td class="none">·</td>'
    depth = round(8 + 52 * abs(figures.profit) / deepest) if deepest else 0
    tone = "gain" if figures.profit >= 0 else "loss"
    hint = f"{figures.trades} trades, {_rate(figures)} wins"
    style = f"--tone:var(--{tone});--depth:{depth}%"
    return f'<td class="cell" style="{style}" title="{hint}">{_signed(figures.profit, digits)}</td>'


def _latest(reports: list[StreamReport], instruments: Mapping[str, Digits]) -> str:
    trades = [(r.stream, row) for r in reports for row in r.latest]
    trades.sort(key=lambda t: str(t[1]["exit_time"]), reverse=True)
    heads = (
        "Date",
        "Stream",
        "Slot",
        "Direction",
        "Entry",
        "Exit",
        "Stop",
        "Target",
        "Result",
        "Profit",
    )
    header = "".join(f'<th class="{"num" if 4 <= i < 8 or i == 9 else ""}">{h}</th>' for i, h in enumerate(heads))
    rows = "\n".join(_latest_row(stream, row, instruments) for stream, row in trades[:SHOWN_TRADES])
    total = sum(r.total.trades for r in reports)
    shown = min(len(trades), SHOWN_TRADES)
    which = "all" if shown == total else f"the latest {shown} of"
    table = f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    return f'<p class="dim">Newest first, {which} {total} trades.</p>\n{table}'


def _quality(quality: Sequence[Quality]) -> str:
    """Return the table of what was taken; each quarantined row has its reason."""
    if not quality:
        return '<p class="dim">The translator’s manifest is not there.</p>'
    heads = (
        "Instrument",
        "Interval",
        "Files",
        "Bad files",
        "Rows in",
        "Rows out",
        "Quarantined",
        "Sorted in",
        "Reasons",
    )
    header = "".join(f'<th class="{"num" if 2 <= i < 8 else ""}">{h}</th>' for i, h in enumerate(heads))
    rows = "\n".join(_quality_row(entry) for entry in quality)
    return f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def _quality_row(entry: Quality) -> str:
    numbers = (entry.files, entry.files_quarantined, entry.rows_in, entry.rows_out, sum(entry.quarantined.values()))
    cells = "".join(f'<td class="num">{_plain(Decimal(n), 0)}</td>' for n in (*numbers, entry.out_of_order))
    reasons = ", ".join(f"{_plain(Decimal(n), 0)} {escape(reason)}" for reason, n in entry.quarantined.items()) or "–"
    return (
        f'<tr><td class="name">{escape(entry.instrument)}</td><td>{entry.interval}</td>{cells}<td>{reasons}</td></tr>'
    )


def _latest_row(stream: str, row: dict[str, object], instruments: Mapping[str, Digits]) -> str:
    digits = instruments.get(str(row["instrument"]), Digits(price=2, profit=2))
    prices = "".join(
        f'<td class="num">{_plain(Decimal(str(row[name])), digits.price)}</td>'
        for name in ("entry_price", "exit_price", "stop", "target")
    )
    result, profit = str(row["result"]), Decimal(str(row["profit"]))
    tone = {"Win": "gain", "Loss": "loss", "TIME": "time"}.get(result, "dim")
    return (
        f'<tr><td>{row["date"]}</td><td class="name">{escape(stream)}</td><td>{row["slot"]}</td>'
        f'<td>{row["direction"]}</td>{prices}<td class="{tone}">{result}</td>'
        f'<td class="num {_tone(profit)}">{_signed(profit, digits.profit)}</td></tr>'
    )


def _tone(value: Decimal) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else "dim"


def _rate(figures: Figures) -> str:
    return "–" if figures.win_rate is None else f"{figures.win_rate:.1%}"


def _plain(value: Decimal, digits: int) -> str:
    """Return the number with a thin space between thousands and a true minus."""
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def _signed(value: Decimal, digits: int) -> str:
    return ("+" if value > 0 else "") + _plain(value, digits)

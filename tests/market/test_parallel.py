"""Threads, batches and the order of files decide how fast the stages are, never what they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runstate.market.analyze import analyze
from runstate.market.calendars import days_from_json
from runstate.market.config import load_config
from runstate.market.folder import OutFolder
from runstate.market.plan import make_plans
from runstate.market.translate import translate
from tests.market.world import FakeContext, bar, digests, write_project

NAMES = ("A", "B", "C")


def several(folder: Path) -> Path:
    """Lay out three instruments with ten days each, one of them with conflicts, repetitions and junk."""
    days = [f"201101{n:02}" for n in (3, 4, 5, 6, 7, 10, 11, 12, 13, 14)]
    files = {}
    for at, name in enumerate(NAMES):
        rows = [
            bar(f"{day} {hour:02}{minute:02}00", high=f"10{(n + at + hour) % 4}.5", close=f"100.{minute}")
            for n, day in enumerate(days)
            for hour in (9, 10, 15)
            for minute in range(30, 36)
        ]
        files[f"{name}.csv"] = "".join(rows)
    files["A2.csv"] = bar("20110105 093000", close="99.5") + "junk\n" + files["B.csv"][:400]
    config = write_project(folder, files)
    text = config.read_text()
    source, rest = text.split("[instrument.X]")
    settings, session = rest.split("[[session]]")
    block = source.split("\n\n", 1)[1]
    config.write_text(
        'out = "out"\n\n'
        + "".join(block.replace("raw/*", f"raw/{n}*").replace('"X"', f'"{n}"') for n in NAMES)
        + "".join(f"[instrument.{n}]{settings}" for n in NAMES)
        + "[[session]]"
        + session.replace('["X"]', json.dumps(NAMES))
    )
    return config


def written(folder: Path, *, threads: int, bars_at_once: int) -> dict[str, str]:
    """Return the digests of what translator and analyzer write."""
    config = load_config(several(folder))
    out, run = OutFolder(config.out), FakeContext(None, folder)
    run.finished["translator"] = translate(config, out, run, threads=threads)
    analyze(config, out, run, threads=threads, bars_at_once=bars_at_once)
    return digests(folder / "out")


@pytest.mark.parametrize(("threads", "bars_at_once"), [(2, 40), (8, 1)])
def test_the_files_do_not_depend_on_how_many_work_on_them(tmp_path, threads, bars_at_once):
    alone = written(tmp_path / "a", threads=1, bars_at_once=10**6)
    together = written(tmp_path / "b", threads=threads, bars_at_once=bars_at_once)

    assert sum("analyzed/" in name for name in alone) == len(NAMES)
    assert together == alone


def test_a_calendar_is_built_once_for_all_instruments_sessions_and_runs(tmp_path):
    """Which takes longer than to analyse a year; later runs take it from the manifest."""
    import exchange_calendars

    config = several(tmp_path)
    text = config.read_text().replace('name = "S1"', 'name = "S1"\ncalendar = "XNYS"')
    session = text[text.index("[[session]]") :]
    config.write_text(text + session.replace("S1", "S2"))
    loaded = load_config(config)
    out, run = OutFolder(loaded.out), FakeContext(None, tmp_path)
    manifest = json.loads(Path(str(translate(loaded, out, run)["manifest"]["path"])).read_text())
    built = []

    class Watched(exchange_calendars.exchange_calendar_xnys.XNYSExchangeCalendar):
        def __init__(self, *args, **kwargs):
            built.append(kwargs)
            super().__init__(*args, **kwargs)

    exchange_calendars.register_calendar_type("XNYS", Watched, force=True)
    try:
        plans = make_plans(loaded, manifest)
        kept = json.loads(json.dumps([plans[0].tasks[0].calendar.to_json()]))
        again = make_plans(loaded, manifest, days_from_json(kept))
    finally:
        exchange_calendars.register_calendar_type(
            "XNYS", exchange_calendars.exchange_calendar_xnys.XNYSExchangeCalendar, force=True
        )

    assert [len(plan.tasks) for plan in plans] == [2, 2, 2]
    assert len(built) == 1
    assert again == plans

"""Monthly tables take the new rows of the covered days and keep the rest; the report says what is in them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from runstate import Fatal
from runstate.market.demo import write_demo
from runstate.market.pipeline import merger
from runstate.market.results import KEY
from tests.market.world import bar, digests, run_stages, write_project


def day(number: int, *, wins: bool = True) -> str:
    """Return three bars of a day in January 2011 with a range of 99 to 101 and a long trade."""
    high, low = ("102.01", "101") if wins else ("101.01", "99")
    stamp = f"201101{number:02}"
    return bar(f"{stamp} 093000") + bar(f"{stamp} 100000", high=high, low=low, open_="101", close="101")


def merged(folder: Path, stream: str = "X1") -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((folder / "out/merged" / stream).rglob("*.parquet")))


def counts(outputs) -> tuple[int, int, int, int]:
    return tuple(outputs[name] for name in ("added", "replaced", "removed", "unchanged"))


def run(folder: Path, files: dict[str, str]) -> dict[str, object]:
    """Run the pipeline over exactly these raw files and return the merger's outputs."""
    for path in (folder / "raw").glob("*"):
        path.unlink()
    return run_stages(write_project(folder, files)).finished["merger"]


def test_the_tables_hold_the_analyzer_s_rows_by_month(tmp_path):
    outputs = run_stages(write_demo(tmp_path)).finished["merger"]

    table = merged(tmp_path, "EURUSD1")
    analyzed = pl.concat(pl.read_parquet(p) for p in sorted((tmp_path / "out/analyzed").rglob("*.parquet")))
    assert table.equals(analyzed)
    assert (outputs["files"], outputs["rows"], counts(outputs)) == (12, 260, (260, 0, 0, 0))
    assert outputs["files_listed"][0]["path"] == "merged/EURUSD1/2017/EURUSD1_2017_01.parquet"
    assert not table.select(KEY).is_duplicated().any()


def test_a_second_run_writes_the_same_bytes(tmp_path):
    """All of them, the report included; only the counts, which are a fact of the run, say that nothing changed."""
    config = write_demo(tmp_path)
    first = run_stages(config)
    before = digests(tmp_path / "out")

    second = run_stages(config)

    assert digests(tmp_path / "out") == before
    assert counts(second.finished["merger"]) == (0, 0, 0, 260)
    for stage in ("translator", "analyzer"):
        about_the_run = {"files_read", "files_skipped", "days_decided", "days_analyzed", "days_reused"}
        again = [{k: v for k, v in run.finished[stage].items() if k not in about_the_run} for run in (first, second)]
        assert again[0] == again[1]


def test_two_folders_have_the_same_bytes(tmp_path):
    """Nothing in the output depends on where the project lies or when it ran."""
    trees = []
    for name in ("a", "b"):
        run_stages(write_demo(tmp_path / name))
        trees.append(digests(tmp_path / name / "out"))

    assert trees[0] == trees[1]


def test_days_that_are_not_covered_stay(tmp_path):
    """Raw files may go once they are merged; their days remain in the tables and in the report."""
    run(tmp_path, {"a.csv": day(3) + day(4)})

    outputs = run(tmp_path, {"b.csv": day(5) + day(6, wins=False)})

    assert counts(outputs) == (2, 0, 0, 0)
    assert merged(tmp_path)["date"].dt.day().to_list() == [3, 4, 5, 6]
    assert outputs["streams"]["X1"]["trades"] == 4


def test_covered_days_are_replaced_and_counted(tmp_path):
    """One row changes, one is new, one goes, one stays."""
    run(tmp_path, {"a.csv": day(4) + day(5) + day(6)})

    table_path = tmp_path / "out/merged/X1/2011/X1_2011_01.parquet"
    table = pl.read_parquet(table_path)
    stale = table.filter(pl.col("date") == date(2011, 1, 5)).with_columns(slot=pl.lit("11:00"))
    pl.concat([table, stale]).write_parquet(table_path)
    outputs = run(tmp_path, {"a.csv": day(4) + day(5, wins=False) + day(6) + day(7)})

    assert counts(outputs) == (1, 1, 1, 2)
    assert merged(tmp_path).select("slot", "result").rows() == [
        ("10:00", "Win"), ("10:00", "Loss"), ("10:00", "Win"), ("10:00", "Win"),
    ]  # fmt: skip
    by_month = json.loads((tmp_path / "work/merger-counts.json").read_text())["months"]
    assert by_month == [{"stream": "X1", "month": "2011-01", "added": 1, "replaced": 1, "removed": 1, "unchanged": 2}]


def test_a_row_that_only_has_another_as_of_is_unchanged(tmp_path):
    """A later bar makes a later as_of; what is known of a finished day stays what it was."""
    run(tmp_path, {"a.csv": day(4)})

    outputs = run(tmp_path, {"a.csv": day(4) + bar("20110104 150000")})

    assert counts(outputs) == (0, 0, 0, 1)
    assert merged(tmp_path)["as_of"].dt.hour().to_list() == [15]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda table: b"not parquet", "file out of specification"),
        (lambda table: b"", ""),
        (lambda table: table.drop("profit"), "its columns are not those of a result table"),
        (lambda table: table.cast({"range": pl.Float32}), "its columns are not those of a result table"),
        (lambda table: pl.concat([table, table]), "a key is in it twice"),
        (lambda table: table.head(1).with_columns(date=pl.lit(date(2011, 2, 2))), "it has rows outside 2011-01"),
    ],
)
def test_an_old_table_that_cannot_be_read_is_never_overwritten(tmp_path, damage, why):
    """The stage fails and names it, and no other table is written either."""
    config = write_project(tmp_path, {"a.csv": day(4) + bar("20110201 093000") + bar("20110201 100000")})
    context = run_stages(config)
    path = tmp_path / "out/merged/X1/2011/X1_2011_01.parquet"
    damaged = damage(pl.read_parquet(path))
    if isinstance(damaged, bytes):
        path.write_bytes(damaged)
    else:
        damaged.write_parquet(path)
    (tmp_path / "out/merged/X1/2011/X1_2011_02.parquet").unlink()
    before = digests(tmp_path / "out")

    with pytest.raises(Fatal) as refused:
        merger(context)

    sentence = str(refused.value)
    assert sentence.startswith(f"{path} cannot be merged into (")
    assert why.lower() in sentence.lower()
    assert sentence.endswith(") and was left as it is; restore it or move it away, then run merger again")
    assert digests(tmp_path / "out") == before


def test_a_file_that_is_no_table_of_ours_is_named(tmp_path):
    context = run_stages(write_project(tmp_path, {"a.csv": day(4)}))
    (tmp_path / "out/merged/X1/2011/notes.parquet").write_bytes(b"?")

    with pytest.raises(Fatal, match=r"notes\.parquet is no monthly table of ours; move it away"):
        merger(context)


def test_the_outputs_name_the_reports_and_each_stream(tmp_path):
    outputs = run(tmp_path, {"a.csv": day(3) + day(4, wins=False) + day(5)})

    report = json.loads(Path(outputs["report_json"]).read_text())
    assert outputs["report_html"] == str(tmp_path / "out/report.html")
    assert outputs["streams"] == {"X1": {"trades": 3, "win_rate": 0.6667, "profit": 0.0, "drawdown": 2.0}}
    assert report["streams"][0]["profit"] == 0.0
    assert len(json.dumps(outputs)) < 65_536


def test_progress_counts_months(tmp_path):
    context = run_stages(write_project(tmp_path, {"a.csv": day(4)}), 2)
    context.seen.clear()

    merger(context)

    assert [seen[:3] for seen in context.seen] == [(0, 1, "months"), (1, 1, "months"), (1, 1, "months")]
    assert context.seen[0][3] == "X1 2011-01"
    assert context.seen[-1][3].endswith(" rows/s")

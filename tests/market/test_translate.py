"""Raw exports become one Parquet file per trading day; every row is in one of them or in the quarantine."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate import Fatal
from runstate.market import translate as translator
from runstate.market.config import load_config
from runstate.market.demo import write_demo
from runstate.market.folder import OutFolder
from runstate.market.limits import Limits
from tests.market.world import FakeContext, bar, digests, run_stages, write_project

NOON = "20110103 120000"


def translate(config: Path) -> FakeContext:
    return run_stages(config, 1)


def all_bars(folder: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((folder / "out/bars").rglob("*.parquet")))


def quarantine(folder: Path) -> list[tuple[object, ...]]:
    return pl.read_parquet(folder / "out/quarantine/X_1m.parquet").rows()


def refusal(config: Path) -> str:
    with pytest.raises(Fatal) as refused:
        translate(config)
    return str(refused.value)


def test_the_shipped_year_is_translated_whole(tmp_path, eurusd_file):
    """Every row of the raw file is a bar, on UTC, with the values as written."""
    outputs = translate(write_demo(tmp_path)).finished["translator"]

    bars = all_bars(tmp_path)
    assert (outputs["rows_in"], outputs["rows_out"], outputs["rows_quarantined"]) == (6225, 6225, 0)
    assert bars.columns == [
        "timestamp", "open", "high", "low", "close", "volume", "instrument", "interval", "source",
    ]  # fmt: skip
    assert bars.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert bars.row(0) == (
        datetime(2017, 1, 1, 22, tzinfo=UTC), 1.05236, 1.05253, 1.05221, 1.05227, 143539993.3,
        "EURUSD", "1h", "raw/eurusd-1h-2017.csv",
    )  # fmt: skip
    raw = [line.split(",") for line in eurusd_file.read_text().splitlines()[1:]]
    assert bars["close"].to_list() == [float(row[4]) for row in raw]


def test_a_real_export_with_close_stamps_begins_one_minute_earlier(tmp_path, spy_file):
    """The first regular minute of SPY is stamped 14:31 by the vendor and opens at 14:30 UTC, 09:30 in New York."""
    config = write_project(tmp_path, {"x.csv": spy_file.read_bytes()}, stamp="close")
    outputs = translate(config).finished["translator"]

    bars = all_bars(tmp_path)
    by_minute = bars.group_by(pl.col("timestamp").dt.strftime("%H:%M").alias("minute")).agg(pl.col("volume").median())
    regular = by_minute.filter(pl.col("volume") > 150_000)["minute"]
    assert (outputs["rows_in"], outputs["rows_out"]) == (14180, 14180)
    assert regular.min() == "14:30"
    assert bars["timestamp"].is_sorted()


def test_a_trading_day_is_the_date_of_the_open_in_the_instrument_s_zone(tmp_path):
    """A bar that closes at midnight belongs to the day before."""
    rows = bar("20110104 000000") + bar("20110104 000100")
    config = write_project(tmp_path, {"x.csv": rows}, tz="America/New_York", stamp="close")

    outputs = translate(config).finished["translator"]

    assert [f["path"] for f in outputs["files_listed"]] == [
        "bars/X/1m/2011/01/X_1m_2011-01-03.parquet",
        "bars/X/1m/2011/01/X_1m_2011-01-04.parquet",
    ]


def test_bad_rows_are_quarantined_with_their_reason_and_line(tmp_path):
    rows = bar(NOON) + "what\n\n" + bar("20110103 120100", high="1") + bar("20110103 120230") + bar(NOON)
    config = write_project(tmp_path, {"x.csv": rows + bar("20110103 120300", volume="-1") + bar("20110103 120400")})

    outputs = translate(config).finished["translator"]

    assert outputs["rows_quarantined_by_reason"] == {
        "duplicate": 1, "negative_volume": 1, "off_interval": 1, "ohlc_order": 1, "unparseable": 1,
    }  # fmt: skip
    assert (outputs["rows_in"], outputs["rows_out"], outputs["rows_quarantined"]) == (7, 2, 5)
    assert [row[:3] for row in quarantine(tmp_path)] == [
        ("raw/x.csv", 2, "unparseable"),
        ("raw/x.csv", 4, "ohlc_order"),
        ("raw/x.csv", 5, "off_interval"),
        ("raw/x.csv", 6, "duplicate"),
        ("raw/x.csv", 7, "negative_volume"),
    ]
    assert quarantine(tmp_path)[0][3] == "what"


def test_duplicates_are_found_across_files(tmp_path):
    """Equal ones leave the first file's row, conflicting ones none."""
    first = bar(NOON) + bar("20110103 120100") + bar("20110103 120200")
    second = bar(NOON) + bar("20110103 120100", close="99.5") + bar("20110103 120300")
    config = write_project(tmp_path, {"a.csv": first, "b.csv": second})

    outputs = translate(config).finished["translator"]

    assert outputs["rows_quarantined_by_reason"] == {"conflict": 2, "duplicate": 1}
    assert all_bars(tmp_path).select(pl.col("timestamp").dt.minute(), "source").rows() == [
        (0, "raw/a.csv"),
        (2, "raw/a.csv"),
        (3, "raw/b.csv"),
    ]


def test_rows_out_of_order_are_sorted_and_counted(tmp_path):
    rows = [bar(f"20110103 12{minute:02}00") for minute in (0, 2, 1, 3)]

    outputs = translate(write_project(tmp_path, {"x.csv": "".join(rows)})).finished["translator"]

    assert (outputs["rows_out_of_order"], outputs["rows_quarantined"]) == (1, 0)
    assert all_bars(tmp_path)["timestamp"].dt.minute().to_list() == [0, 1, 2, 3]


def test_a_bad_file_is_quarantined_whole_and_the_log_says_so(tmp_path):
    config = write_project(tmp_path, {"a.csv": bar(NOON), "b.csv": "x,y\n1,2\n", "c.csv": b"\xff\xfe\n"})

    context = translate(config)

    outputs = context.finished["translator"]
    assert (outputs["rows_in"], outputs["rows_out"], outputs["files_in"], outputs["files_quarantined"]) == (4, 1, 3, 2)
    assert outputs["rows_quarantined_by_reason"] == {"not_text": 1, "not_the_dialect": 2}
    assert context.lines[0] == (
        f"warning: quarantined {tmp_path}/raw/b.csv:1: this is not ninjatrader: 2 of 2 rows do not parse, first 'x,y'"
    )


def test_a_file_name_that_is_not_utf_8_is_spelled_out(tmp_path):
    """In the bars, the manifest and the log: none of them can hold its bytes."""
    config = write_project(tmp_path, {})
    for name, content in ((b"\xff 1.csv", bar("20110103 093000")), (b"\xff 2.csv", "junk\n")):
        (tmp_path / "raw" / os.fsdecode(name)).write_text(content)

    context = run_stages(config, 1)

    manifest = json.loads((tmp_path / "out/manifests/translator.json").read_text())
    assert [entry["path"] for entry in manifest["inputs"]] == [r"raw/\xff 1.csv", r"raw/\xff 2.csv"]
    assert any(rf"{tmp_path}/raw/\xff 2.csv:1: this is not ninjatrader" in line for line in context.lines)


def test_a_file_that_repeats_another_is_quarantined(tmp_path):
    """Its content is another file's again; empty files are just empty days."""
    config = write_project(tmp_path, {"a.csv": bar(NOON), "b.csv": bar(NOON), "c.csv": "", "d.csv": ""})

    outputs = translate(config).finished["translator"]

    assert outputs["rows_quarantined_by_reason"] == {"repeated_file": 1}
    assert (outputs["rows_in"], outputs["rows_out"], outputs["files_empty"]) == (2, 1, 2)


def test_the_manifest_names_every_file_with_rows_bytes_and_digest(tmp_path):
    config = write_project(tmp_path, {"a.csv": bar(NOON), "b.csv": bar("20110104 120000") + "?\n"})

    outputs = translate(config).finished["translator"]

    manifest = json.loads(Path(outputs["manifest"]["path"]).read_text())
    there = digests(tmp_path / "out")
    assert there["manifests/translator.json"] == outputs["manifest"]["sha256"]
    assert {f["path"]: f["sha256"] for f in manifest["files"]} == {k: v for k, v in there.items() if "bars/" in k}
    assert [f["rows"] for f in manifest["files"]] == [1, 1]
    assert [(i["path"], i["rows_in"], i["rows_out"], i["rows_quarantined"]) for i in manifest["inputs"]] == [
        ("raw/a.csv", 1, 1, {}),
        ("raw/b.csv", 2, 1, {"unparseable": 1}),
    ]
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_quarantined"] == 3


def test_progress_counts_files_and_never_falls(tmp_path):
    config = write_project(tmp_path, {"a.csv": bar(NOON), "b.csv": bar("20110104 120000")})

    seen = translate(config).seen

    done = [done for done, *_ in seen]
    assert done == sorted(done)
    assert seen[-1][:3] == (2, 2, "files")
    said = [message for *_, message in seen if message]
    for part in ("reading raw/a.csv: 1 rows, ", "writing X 2011-01, 0 of 1 done: "):
        assert any(message.startswith(part) and message.endswith(" rows/s") for message in said)


def test_progress_moves_inside_a_file(tmp_path):
    """A file is half done when it is read; then its months count."""
    rows = [bar(f"20110{month}03 12{minute:02}00") for month in (1, 2) for minute in range(9)]

    config, run = load_config(write_project(tmp_path, {"a.csv": "".join(rows)})), FakeContext(None, tmp_path)

    translator.translate(config, OutFolder(config.out), run, limits=Limits(block_bytes=100))

    seen = run.seen
    reading = [done for done, *_, message in seen if message and message.startswith("reading")]
    writing = [(done, message[:17]) for done, *_, message in seen if message and message.startswith("writing")]
    assert len(set(reading)) > 5
    assert (reading[0], reading[-1]) == (0, 0.5)
    assert writing == [(0.5, "writing X 2011-01"), (0.75, "writing X 2011-02")]


def test_a_run_that_is_stopped_leaves_between_two_files(tmp_path):
    config = write_project(tmp_path, {"a.csv": bar(NOON)})
    context = FakeContext(str(config), tmp_path, stopping=True)

    from runstate.market.failures import Stopped
    from runstate.market.pipeline import translator as stage

    with pytest.raises(Stopped, match="stopped after 0 of 1 files"):
        stage(context)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "no file matches 'raw/*.csv' in {0}; nothing to do is not success, so correct files"),
        ({"a.csv": "", "b.csv": "\n"}, "'raw/*.csv' gives no bars: all 2 files are empty; {1}"),
        ({"a.csv": "x\n", "b.csv": "y\n"},
         "'raw/*.csv' gives no bars: all 2 files are quarantined, first raw/a.csv:1: "
         "this is not ninjatrader: 1 of 1 rows do not parse, first 'x'; {1}"),
        ({"a.csv": bar("20110103 120001") + bar("20110103 120100", high="1")},
         "'raw/*.csv' gives no bars: every row is quarantined, 1 off_interval, 1 ohlc_order; {1}"),
    ],
)  # fmt: skip
def test_nothing_to_do_is_not_success(tmp_path, files, why):
    config = write_project(tmp_path, files)

    advice = "check dialect, tz, stamp and interval of the source"
    assert refusal(config) == f"{config}:4: " + why.format(tmp_path, advice)
    assert not (tmp_path / "out/bars").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a;b\n", "1: this is not ninjatrader: 1 of 1 rows do not parse, first 'a;b'"),
        (b"a\n\xff", "2: this is not UTF-8 text"),
        (bar(NOON), "1: the content is that of raw/a.csv again"),
    ],
)
def test_a_bad_file_fails_the_stage_where_the_source_says_so(tmp_path, content, why):
    config = write_project(tmp_path, {"a.csv": bar(NOON), "b.csv": content}, on_bad_file="fail")

    advice = 'correct the file or the source, or set on_bad_file = "quarantine"'
    assert refusal(config) == f"{tmp_path}/raw/b.csv:{why}; {advice}"


row = st.one_of(
    st.builds(
        bar,
        st.integers(0, 5).map(lambda minute: f"20110103 12{minute:02}00"),
        close=st.sampled_from(["100.5", "99", "200"]),
        volume=st.sampled_from(["1", "2", "-1", "x"]),
    ),
    st.sampled_from(["\n", "junk\n", "  \n", bar("20110103 120030"), bar("20110104 120000"), ";;;;;\n"]),
)


@settings(max_examples=60)
@given(st.lists(st.lists(row, max_size=8), min_size=1, max_size=3))
def test_rows_in_are_rows_out_and_quarantined(tmp_path_factory, files):
    """Whatever the rows are; and what is in the tables is what the manifest counts."""
    folder = tmp_path_factory.mktemp("rows")
    good = {"0.csv": bar("20110105 120000")}
    config = write_project(folder, good | {f"{n}.csv": "".join(rows) for n, rows in enumerate(files, start=1)})

    outputs = translate(config).finished["translator"]

    lines = 1 + sum(1 for rows in files for text in rows if text.strip())
    reasons = outputs["rows_quarantined_by_reason"]
    whole_files = sum(reasons.get(reason, 0) for reason in ("not_the_dialect", "repeated_file"))
    bars = all_bars(folder)
    assert outputs["rows_in"] == lines == outputs["rows_out"] + sum(reasons.values())
    assert outputs["rows_out"] == bars.height == bars["timestamp"].n_unique()
    assert len(quarantine(folder)) + whole_files == outputs["rows_quarantined"]

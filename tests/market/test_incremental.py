"""A run does again only what something decides anew, and ends in the same bytes as one that begins from nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate.market.pipeline import analyzer, translator
from tests.market.world import FakeContext, bar, digests, run_stages, write_project


def day(number: int, *, high: str = "102.01", low: str = "101", hours: tuple[int, ...] = (10,)) -> str:
    """Return bars of a day in January 2011: a range of 99 to 101 and what comes after it."""
    stamp = f"201101{number:02}"
    after = "".join(bar(f"{stamp} {hour}0000", high=high, low=low, open_="101", close="101") for hour in hours)
    return bar(f"{stamp} 093000") + after


def busy(stamp: str) -> str:
    """Return a day of eight bars that move."""
    return "".join(bar(f"{stamp} 09{minute}00", close=f"100.{minute}") for minute in range(30, 38))


def tree(folder: Path) -> dict[str, str]:
    return {name: sha for name, sha in digests(folder / "out").items() if name != ".lock"}


def listed(folder: Path) -> dict[str, str]:
    """Return the files that the manifests list, and the report."""
    files = {name: sha for name, sha in tree(folder).items() if name.startswith(("manifests", "report", "quarantine"))}
    for stage in ("translator", "analyzer", "merger"):
        manifest = json.loads((folder / f"out/manifests/{stage}.json").read_text())
        files |= {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    return files


def run(folder: Path, files: dict[str, str], **changes: str) -> dict[str, dict[str, object]]:
    """Run the pipeline over exactly these raw files."""
    for path in (folder / "raw").glob("*"):
        path.unlink()
    return run_stages(write_project(folder, files, **changes)).finished


def test_unchanged_files_are_skipped_by_their_content(tmp_path):
    """Times and inodes do not count."""
    files = {"a.csv": day(3), "b.csv": day(4)}
    run(tmp_path, files)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}

    outputs = run(tmp_path, files)

    assert (outputs["translator"]["files_read"], outputs["translator"]["files_skipped"]) == (0, 2)
    assert (outputs["analyzer"]["days_analyzed"], outputs["analyzer"]["days_reused"]) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_one_new_day_decides_itself_and_the_day_whose_trades_it_ends(tmp_path):
    """The day before had an open trade until the new bars came; what was over stays."""
    files = {f"{n}.csv": day(n, high="101.5", hours=(10, 15)) for n in (3, 4, 5, 6)}
    run(tmp_path / "a", files)
    files["7.csv"] = day(7)

    outputs = run(tmp_path / "a", files)
    run(tmp_path / "b", files)

    assert (outputs["translator"]["files_read"], outputs["translator"]["days_decided"]) == (1, 1)
    assert (outputs["analyzer"]["days_analyzed"], outputs["analyzer"]["days_reused"]) == (2, 3)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_new_file_with_bars_of_an_old_day_has_that_day_decided_again(tmp_path):
    """Its conflict takes a bar from the other file, which is read again; the third is not."""
    files = {"a.csv": day(3), "b.csv": day(4)}
    run(tmp_path / "a", files)
    files["c.csv"] = day(4, high="150")

    outputs = run(tmp_path / "a", files)["translator"]
    run(tmp_path / "b", files)

    assert (outputs["files_read"], outputs["files_skipped"]) == (2, 1)
    assert outputs["rows_quarantined_by_reason"] == {"conflict": 2, "duplicate": 1}
    assert listed(tmp_path / "a") == listed(tmp_path / "b")


def test_a_file_that_goes_takes_its_days_with_it(tmp_path):
    run(tmp_path / "a", {"a.csv": day(3), "b.csv": day(4) + day(5), "c.csv": day(4, high="150")})

    outputs = run(tmp_path / "a", {"a.csv": day(3), "b.csv": day(4) + day(5)})
    run(tmp_path / "b", {"a.csv": day(3), "b.csv": day(4) + day(5)})

    assert outputs["translator"]["rows_quarantined"] == 0
    assert listed(tmp_path / "a") == listed(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "files_read", "days_analyzed"),
    [
        (('stamp = "open"', 'stamp = "close"'), 2, 2),
        (('interval = "1m"', 'interval = "30m"'), 2, 2),
        (("target = 1.0", "target = 2.0"), 0, 2),
        (('slots = ["10:00"]', 'slots = ["10:30"]'), 0, 2),
        (('close = "16:00"', 'close = "15:00"'), 0, 2),
        (('out = "out"', 'out = "out"\nas_of = "2012-01-01T00:00:00Z"'), 0, 1),
        (('name = "S1"', 'name = "S1"\ncalendar = "XNYS"'), 0, 0),
    ],
)
def test_a_changed_configuration_does_again_what_depends_on_it(tmp_path, change, files_read, days_analyzed):
    files = {"a.csv": day(3), "b.csv": day(4)}
    run(tmp_path, files)
    config = tmp_path / "market.toml"
    assert change[0] in config.read_text()
    config.write_text(config.read_text().replace(*change))

    finished = run_stages(config).finished
    shutil.copytree(tmp_path / "raw", tmp_path / "b" / "raw")
    shutil.copy(config, tmp_path / "b" / "market.toml")
    run_stages(tmp_path / "b" / "market.toml")

    assert finished["translator"]["files_read"] == files_read
    assert finished["analyzer"]["days_analyzed"] == days_analyzed
    assert listed(tmp_path)["manifests/analyzer.json"] == listed(tmp_path / "b")["manifests/analyzer.json"]


def test_a_day_file_that_somebody_changed_is_written_again(tmp_path):
    files = {"a.csv": day(3), "b.csv": day(4)}
    run(tmp_path, files)
    before = tree(tmp_path)
    (tmp_path / "out/bars/X/1m/2011/01/X_1m_2011-01-04.parquet").write_bytes(b"?")
    (tmp_path / "out/analyzed/X/2011/X_2011-01.parquet").unlink()
    (tmp_path / "out/manifests/merger.json").write_bytes(b"{")

    outputs = run(tmp_path, files)

    assert outputs["translator"]["files_read"] == 1
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b'{"series": [{}], "quarantine": [{}]}', b'{"covered": [1]}', b'{"calendars": [1]}']
)
def test_a_manifest_that_says_nothing_is_as_none(tmp_path, damage):
    files = {"a.csv": day(3), "b.csv": day(4)}
    config = write_project(tmp_path, files)
    run_stages(config)
    before = tree(tmp_path)
    for stage in ("translator", "analyzer"):
        (tmp_path / f"out/manifests/{stage}.json").write_bytes(damage)

    assert run_stages(config).finished["translator"]["files_read"] == 2
    assert tree(tmp_path) == before


def test_a_day_that_repeats_an_earlier_day_s_content_is_quarantined(tmp_path):
    """In another file and under another date, with the same times and values; the earlier one stays."""
    outputs = run(tmp_path, {"a.csv": busy("20110103"), "b.csv": busy("20110105") + day(6)})["translator"]

    assert outputs["rows_quarantined_by_reason"] == {"repeated_day": 8}
    assert (outputs["rows_in"], outputs["rows_out"]) == (18, 10)
    table = pl.read_parquet(tmp_path / "out/quarantine/X_1m.parquet")
    assert table.filter(pl.col("reason") == "repeated_day")["source"].unique().to_list() == ["raw/b.csv"]
    assert str(table["date"][0]) == "2011-01-05"


def test_a_day_stays_when_the_one_it_repeated_goes(tmp_path):
    """Although its own file did not change; and it goes again when the other comes back."""

    def translated(folder: Path, files: dict[str, str]) -> dict[str, object]:
        for path in (folder / "raw").glob("*"):
            path.unlink()
        return translator(FakeContext(str(write_project(folder, files)), folder))

    both = {"a.csv": busy("20110103"), "b.csv": busy("20110105")}
    translated(tmp_path / "a", both)

    alone = translated(tmp_path / "a", {"b.csv": both["b.csv"]})
    fresh = translated(tmp_path / "b", {"b.csv": both["b.csv"]})
    back = translated(tmp_path / "a", both)

    assert (alone["rows_quarantined"], alone["manifest"]["sha256"]) == (0, fresh["manifest"]["sha256"])
    assert back["rows_quarantined_by_reason"] == {"repeated_day": 8}


def test_flat_days_and_single_bars_are_no_repetition(tmp_path):
    """Vendors fill closed markets with them."""
    flat = "".join(
        bar(f"201101{n} 09{m}00", open_="1", high="1", low="1", close="1") for n in ("08", "09") for m in range(30, 45)
    )

    outputs = run(tmp_path, {"a.csv": flat + day(3) + day(4)})["translator"]

    assert outputs["rows_quarantined"] == 0


rows = st.builds(
    lambda number, minute, close: bar(f"201101{number:02} 09{minute}00", close=close),
    st.integers(3, 6),
    st.integers(30, 36),
    st.sampled_from(["100.5", "99.5", "100", "junk"]),
)
states = st.dictionaries(
    st.sampled_from(["a.csv", "b.csv", "c.csv"]), st.lists(rows, max_size=12).map("".join), min_size=1, max_size=3
)


@settings(max_examples=25)
@given(st.lists(states, min_size=2, max_size=4))
def test_however_the_files_came_the_bars_are_the_same(tmp_path_factory, history):
    """Files come, go and change; after each step the translator's manifest, quarantine and day files are a fresh run's."""
    good = {"0.csv": bar("20110120 120000")}
    changing = tmp_path_factory.mktemp("changing")
    for files in history:
        for path in (changing / "raw").glob("*"):
            path.unlink()
        translator(FakeContext(str(write_project(changing, good | files)), changing))
    fresh = tmp_path_factory.mktemp("fresh")
    translator(FakeContext(str(write_project(fresh, good | history[-1])), fresh))

    paths = [entry["path"] for entry in json.loads((fresh / "out/manifests/translator.json").read_text())["files"]]
    for path in ["manifests/translator.json", "quarantine/X_1m.parquet", *paths]:
        assert (changing / "out" / path).read_bytes() == (fresh / "out" / path).read_bytes(), path


def test_the_order_in_which_files_are_named_does_not_matter(tmp_path):
    """Only `source` tells the file; what is analysed is the same."""
    texts = [day(3), day(4, high="101.2"), day(5), day(5) + day(6)]
    tables = []
    for folder, order in (("a", texts), ("b", texts[::-1])):
        config = write_project(tmp_path / folder, {f"{n}.csv": text for n, text in enumerate(order)})
        analyzer(run_stages(config, 1))
        tables.append(pl.read_parquet(tmp_path / folder / "out/analyzed/X/2011/X_2011-01.parquet"))

    assert tables[0].equals(tables[1])


def test_killed_at_any_write_the_next_run_ends_in_the_same_bytes(tmp_path):
    """Each file is the old one or the new one, never anything else, whenever SIGKILL comes."""
    project = tmp_path / "p"
    run(project, {"a.csv": day(3) + "junk\n" + day(4)})
    old = tree(project)
    (project / "raw/b.csv").write_text(day(4, high="150") + day(5))
    shutil.copytree(project, tmp_path / "peace")
    run_stages(tmp_path / "peace" / "market.toml")
    new = tree(tmp_path / "peace")

    done = subprocess.run(
        [sys.executable, "-m", "tests.market.killed", str(project)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2], timeout=100,
    )  # fmt: skip

    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) > 15
    assert [trial["killed"] for trial in trials] == [True] * (len(trials) - 1) + [False]
    for trial in trials:
        whole = {name: sha for name, sha in trial["torn"].items() if not name.endswith(".tmp") and name != ".lock"}
        assert all(sha in (old.get(name), new.get(name)) for name, sha in whole.items()), trial["write"]
        assert trial["status"] == 0
        assert {name: sha for name, sha in trial["after"].items() if name != ".lock"} == new, trial["write"]

"""However many rows are not taken, they come to the quarantine in order, with their text, and memory stays bounded."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from runstate.market.config import load_config
from runstate.market.folder import OutFolder
from runstate.market.limits import Limits
from runstate.market.translate import translate
from tests.market.world import FakeContext, bar, digests, write_project


def rows(day: int, close: str) -> str:
    return "".join(bar(f"2011010{day} 12{minute:02}00", close=close) for minute in range(20))


FILES = {"a.csv": rows(3, "100.5") + "junk\n" + rows(4, "100.5"), "b.csv": rows(4, "99.5") + rows(3, "100.5")}


SMALL = Limits(memory_bytes=4, block_bytes=200, quarantined_rows=10)  #: All goes to scratch files at once.


def run(folder: Path, files: dict[str, str], limits: Limits = SMALL) -> dict[str, object]:
    config = load_config(write_project(folder, files))
    return translate(config, OutFolder(config.out), FakeContext(None, folder), limits=limits)


def held(folder: Path) -> pl.DataFrame:
    manifest = json.loads((folder / "out/manifests/translator.json").read_text())
    (series,) = manifest["series"]
    assert {e["path"] for e in series["quarantine"]} == {n for n in digests(folder / "out") if "quarantine" in n}
    return pl.concat(pl.read_parquet(folder / "out" / entry["path"]) for entry in series["quarantine"])


def test_rows_stand_in_the_order_of_file_and_line_with_their_text(tmp_path):
    """Junk is known when it is read, a conflict only when all files are; the table does not show the difference."""
    run(tmp_path, FILES)

    table = held(tmp_path)
    assert table.select("source", "line").rows() == sorted(table.select("source", "line").rows())
    texts = {(f"raw/{name}", n): line for name, text in FILES.items() for n, line in enumerate(text.splitlines(), 1)}
    assert all(texts[source, line] == text for source, line, text in table.select("source", "line", "text").rows())
    counts = dict(table["reason"].value_counts().rows())
    assert counts == {"unparseable": 1, "conflict": 40, "duplicate": 20}


def test_many_rows_are_in_several_tables_and_the_same_however_they_came(tmp_path):
    """Ten to a table here; files that are not needed any more go."""
    run(tmp_path / "one", FILES, Limits())
    run(tmp_path / "many", FILES)
    assert held(tmp_path / "many").equals(held(tmp_path / "one"))
    assert len(list((tmp_path / "many/out/quarantine").iterdir())) == 7
    run(tmp_path / "grown", {"a.csv": FILES["a.csv"]})
    run(tmp_path / "grown", FILES)
    assert digests(tmp_path / "grown/out") == digests(tmp_path / "many/out")

    (tmp_path / "many/raw/b.csv").unlink()
    run(tmp_path / "many", {"a.csv": FILES["a.csv"]})
    assert held(tmp_path / "many")["reason"].to_list() == ["unparseable"]
    assert not (tmp_path / "many/out/.scratch/X_1m").exists()

"""Files of the out folder are whole or absent, unchanged files are not touched, and one stage writes at a time."""

from __future__ import annotations

import polars as pl
import pytest

from runstate.market.failures import MarketError
from runstate.market.folder import OutFolder, replace_file


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    out = OutFolder(tmp_path / "out")

    out.write("a/b/x.txt", b"one", rows=1)
    written = out.write("a/b/x.txt", b"two", rows=1)

    assert (tmp_path / "out/a/b/x.txt").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "out/a/b").iterdir()] == ["x.txt"]
    assert (written.path, written.bytes, written.sha256[:8]) == ("a/b/x.txt", 3, "3fc4ccfe")


def test_a_file_that_holds_the_bytes_already_is_not_touched(tmp_path):
    """Not even its inode; what a crash left beside it goes."""
    path = tmp_path / "x"
    replace_file(path, b"same")
    before = path.stat()
    (tmp_path / ".x.tmp").write_bytes(b"torn")

    replace_file(path, b"same")

    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not (tmp_path / ".x.tmp").exists()


def test_equal_tables_are_equal_bytes(tmp_path):
    out = OutFolder(tmp_path)
    table = pl.DataFrame({"x": range(1000), "y": ["a", None] * 500})

    assert out.write_table("1.parquet", table).sha256 == out.write_table("2.parquet", table.clone()).sha256


def test_a_second_writer_is_refused(tmp_path):
    """The lock ends with its holder."""
    out = OutFolder(tmp_path / "out")

    with out.locked():
        with pytest.raises(MarketError, match=r"another run is writing .*; wait for its end or set another out"):
            with out.locked():
                pass
    with out.locked():
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(MarketError, match=r"file/out cannot be written to \(Not a directory\); set another out"):
        with OutFolder(tmp_path / "file/out").locked():
            pass


def test_a_file_with_other_bytes_than_its_manifest_says_is_refused(tmp_path):
    out = OutFolder(tmp_path)
    written = out.write("x", b"one", rows=0)
    assert out.read_verified("x", written.sha256, by="translator") == b"one"

    (tmp_path / "x").write_bytes(b"two")

    with pytest.raises(
        MarketError, match=r"x is not the file that translator wrote \(sha-256 differs\); run translator"
    ):
        out.read_verified("x", written.sha256, by="translator")
    with pytest.raises(MarketError, match="y is missing; run translator again"):
        out.read_verified("y", written.sha256, by="translator")

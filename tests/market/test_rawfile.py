"""Raw files are read as they are, packed or not, and what is no text says where."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from runstate.market.failures import BadFile, FileFault, MarketError
from runstate.market.rawfile import hash_file

LONG_LINE = b"a\n" + b"b" * (3 << 20)
TEXT = b"a;b\r\n\r\n  \nc;d"


def zipped(*members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, member in enumerate(members):
            archive.writestr(zipfile.ZipInfo(f"{number}.csv"), member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", TEXT),
        ("x.csv.gz", gzip.compress(TEXT, mtime=0)),
        ("x.zip", zipped(TEXT)),
        ("x.txt", b"\xef\xbb\xbf" + TEXT),
    ],
)
def test_a_file_is_read_as_it_is(tmp_path, name, content):
    """Plain, gzip or zip, with or without a byte order mark, lines ending in LF or CRLF."""
    (tmp_path / name).write_bytes(content)

    raw = hash_file(tmp_path / name, tmp_path)
    (member,) = raw.members()
    (block, last) = raw.blocks(member)

    assert (block.first_line, block.content) == (1, b"a;b\n\n  ")
    assert (last.first_line, last.content) == (4, b"c;d")
    assert (block.count_rows() + last.count_rows(), raw.name, raw.size_bytes) == (2, name, len(content))


@pytest.mark.parametrize(
    ("name", "content", "fault", "line"),
    [
        ("x.csv", b"a\nb\n\xff\xfe", FileFault.NOT_TEXT, 3),
        ("x.csv", b"a\nb\0c", FileFault.NOT_TEXT, 2),
        ("x.gz", b"not gzip", FileFault.UNREADABLE_ARCHIVE, 1),
        ("x.gz", gzip.compress(TEXT, mtime=0)[:-6], FileFault.UNREADABLE_ARCHIVE, 1),
        ("x.zip", b"not zip", FileFault.UNREADABLE_ARCHIVE, 1),
        ("x.zip", zipped(TEXT)[:-40], FileFault.UNREADABLE_ARCHIVE, 1),
        ("x.csv", b"\xff\xfea\x00;\x00", FileFault.NOT_TEXT, 1),
        ("x.csv", LONG_LINE, FileFault.NOT_TEXT, 2),
        ("x.zip", zipped(), FileFault.UNREADABLE_ARCHIVE, 1),
        ("x.csv", b"a;b\rc;d\r", FileFault.NOT_TEXT, 1),
    ],
    ids=range(10),
)
def test_what_is_no_text_is_a_bad_file(tmp_path, name, content, fault, line):
    (tmp_path / name).write_bytes(content)

    raw = hash_file(tmp_path / name, tmp_path)
    with pytest.raises(BadFile) as refused:
        for member in raw.members():
            list(raw.blocks(member))

    assert (refused.value.fault, refused.value.line) == (fault, line)


def test_the_shadows_of_a_mac_s_zip_are_no_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/x.csv", TEXT)
        archive.writestr("__MACOSX/a/._x.csv", b"\0\5\x16\7")

    assert hash_file(tmp_path / "x.zip", tmp_path).members() == ["a/x.csv"]


def test_a_file_that_cannot_be_read_ends_the_stage(tmp_path):
    with pytest.raises(MarketError, match=r"gone\.csv cannot be read \(No such file"):
        hash_file(tmp_path / "gone.csv", tmp_path)

"""Output is cut into lines, whatever the pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.pipeline.runners.outcome import MAX_LINE_BYTES
from runstate.pipeline.runners.pipes import LineCutter


def cut(*pieces: bytes) -> list[str]:
    cutter = LineCutter()
    return [line for piece in pieces for line in cutter.feed(piece)] + cutter.rest()


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a\r\nb"], ["a", "b"]),
        ([b"a\r", b"\nb\n"], ["a", "b"]),
        ([b"10%\r20%\r", b"30%\n"], ["10%", "20%", "30%"]),
        ([b"\n\n"], ["", ""]),
        ([b"h\xc3", b"\xb6he\n"], ["höhe"]),
        ([b"a\x0bb\x0cc\xe2\x80\xa8d\n"], ["a\x0bb\x0cc\u2028d"]),
        ([b""], []),
    ],
)
def test_lines_end_where_a_terminal_ends_them(pieces, lines):
    assert cut(*pieces) == lines


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\xc3", b"x" * 5000]), max_size=12), st.data())
def test_pieces_do_not_matter(parts, data):
    whole = b"".join(parts)
    at = data.draw(st.lists(st.integers(0, len(whole)), max_size=4).map(sorted))
    pieces = [whole[begin:end] for begin, end in zip([0, *at], [*at, len(whole)], strict=True)]

    assert cut(*pieces) == cut(whole)


def test_an_endless_line_is_cut_and_forgotten():
    """Only its beginning is held, however long it is; the next line is whole."""
    cutter = LineCutter()
    for _ in range(1000):
        assert cutter.feed(b"x" * 10_000) == []
    lines = cutter.feed(b"x\nnext\n")

    assert len(lines[0].encode()) == MAX_LINE_BYTES
    assert lines[0].endswith("[cut]")
    assert lines[1:] == ["next"]

"""A run's log on the disk: bounded, its offsets for ever, and every loss said in its place."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from runstate.pipeline.logfiles import MOST_LINES, Page, Tail, encode_line, read, read_last, written_ms

BUDGET = 64 * 1024
NOW_MS = 1_790_000_000_000


def lines(first: int, last: int, stage: str = "s") -> list[bytes]:
    return [encode_line(NOW_MS, stage, 1, "info", f"line {number}") for number in range(first, last + 1)]


def begun(directory: Path) -> Tail:
    return Tail.open(directory, BUDGET, now_ms=NOW_MS)


def pages(directory: Path, after: int = 0, **more) -> list[dict]:
    found: list[dict] = []
    while rows := (page := read(directory, after=after, limit=100, now_ms=NOW_MS, **more)).rows:
        found += [json.loads(row.encoded) for row in rows]
        assert page.next >= rows[-1].offset > after
        after = page.next
    return found


@pytest.mark.rule("H8")
def test_the_oldest_lines_go_and_every_line_keeps_its_offset(tmp_path):
    tail = begun(tmp_path)
    for number in range(1, 5001):
        tail.write(lines(number, number), now_ms=NOW_MS)
        if number % 500 == 0:
            assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= BUDGET

    gap, *kept = pages(tmp_path)

    assert gap["gap"] == {"first": 1, "last": kept[0]["offset"] - 1} and gap["stage"] is None
    assert f"{gap['gap']['last']} lines are missing here" in gap["text"]
    assert [line["text"] for line in kept] == [f"line {line['offset']}" for line in kept]
    assert [line["offset"] for line in kept] == list(range(gap["offset"] + 1, 5001)) and len(kept) > 400
    assert read(tmp_path, after=0, limit=1, now_ms=NOW_MS).first == kept[0]["offset"]
    for after in random.Random(7).sample(range(gap["offset"], 5000), 20):
        assert pages(tmp_path, after) == kept[after - gap["offset"] :]
    assert pages(tmp_path, 17)[0]["gap"]["first"] == 18, "a follower that fell behind is told what it missed"


@pytest.mark.rule("H8")
def test_a_log_goes_on_after_a_restart_and_a_torn_line_is_said(tmp_path):
    tail = begun(tmp_path)
    tail.write(lines(1, 3), now_ms=NOW_MS)
    tail.close()
    tail = begun(tmp_path)
    tail.write(lines(4, 4), now_ms=NOW_MS)
    assert [line["text"] for line in pages(tmp_path)] == ["line 1", "line 2", "line 3", "line 4"]
    (part,) = tmp_path.iterdir()

    with part.open("ab") as file:
        file.write(b'{"at":"2026-')
    assert [line["offset"] for line in pages(tmp_path)] == [1, 2, 3, 4], "what is being written is not there yet"
    begun(tmp_path).write(lines(7, 7), now_ms=NOW_MS)

    *_, gap, last = pages(tmp_path)
    assert gap["gap"] == {"first": 5, "last": 5} and "cut short" in gap["text"]
    assert (gap["offset"], last["offset"], last["text"]) == (6, 7, "line 7")


@pytest.mark.rule("H8")
def test_after_the_machine_went_down_no_offset_is_used_twice(tmp_path):
    tail = begun(tmp_path)
    tail.write(lines(1, 3), now_ms=NOW_MS)
    (part,) = tmp_path.iterdir()
    _, _, kept = part.read_bytes().partition(b"\n")
    part.write_bytes(b'{"runstate_log":1,"boot":"another"}\n' + kept[: len(kept) // 2])  # what the disk had of it

    begun(tmp_path).write(lines(1, 1), now_ms=NOW_MS)

    first, gap, new = pages(tmp_path)
    assert first["text"] == "line 1" and gap["gap"] == {"first": 2, "last": MOST_LINES}
    assert new["offset"] == MOST_LINES + 2


def test_what_the_disk_refuses_is_counted_in_its_place(tmp_path):
    tail = begun(tmp_path)
    tail.write(lines(1, 2), now_ms=NOW_MS)
    tail.close()
    (part,) = tmp_path.iterdir()
    hidden = part.rename(tmp_path / "away")  # so that the next write fails
    tail.write(lines(3, 5), now_ms=NOW_MS)
    hidden.rename(part)

    tail.write(lines(6, 6), now_ms=NOW_MS)

    _, two, gap, six = pages(tmp_path)
    assert (two["offset"], six["offset"]) == (2, 7) and gap["gap"] == {"first": 3, "last": 5}
    assert "the disk refused them" in gap["text"]


@pytest.mark.rule("H8")
def test_stages_are_told_apart_and_gaps_are_for_all(tmp_path):
    tail = begun(tmp_path)
    for number in range(1, 2001):
        tail.write(lines(number, number, "rare" if number % 100 == 0 else "often"), now_ms=NOW_MS)

    gap, *rare = pages(tmp_path, stages=["rare"])

    assert gap["stage"] is None and rare[-1]["text"] == "line 2000"
    assert {line["stage"] for line in rare} == {"rare"} and len(rare) >= 3
    assert [json.loads(row.encoded) for row in last(tmp_path, 2, ["rare"]).rows] == rare[-2:]
    assert [row.offset for row in last(tmp_path, 3).rows] == [1998, 1999, 2000]
    assert [json.loads(row.encoded) for row in last(tmp_path, 10_000, ["rare"]).rows] == rare


def last(directory: Path, count: int, stages: list[str] | None = None) -> Page:
    return read_last(directory, count=count, stages=stages, now_ms=NOW_MS)


def test_lines_that_are_let_go_leave_a_gap_and_their_count(tmp_path):
    tail = begun(tmp_path)
    tail.write(lines(1, 300), now_ms=NOW_MS)
    assert written_ms(tmp_path) is not None
    tail.forget()

    (gap,) = pages(tmp_path)
    assert gap["gap"] == {"first": 1, "last": 300} and written_ms(tmp_path) is None
    tail.write(lines(301, 301), now_ms=NOW_MS)
    assert pages(tmp_path)[1]["offset"] == 301
    assert read(tmp_path / "none", after=5, limit=1, now_ms=NOW_MS) == Page(1, (), 5)

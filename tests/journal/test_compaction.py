"""Compaction: what stays is as it was, whatever is killed, damaged or appended meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstate.core.commit import Key
from runstate.core.errors import Compacted, StoreDamaged, StoreUnavailable
from runstate.journal.memory import MemoryJournal
from runstate.journal.sqlite import STORE_NAME
from runstate.journal.sqlite_check import check_store
from runstate.ports import Retention
from runstate.state.writer import Append, Appended, Compact, Failed, JournalWriter, Reopen, Reopened, TurnDone
from runstate.testing.commits import Author, make_pipeline, make_progress_run, make_run
from runstate.testing.journal_exam import compact_wholly, same_as_written
from tests.journal.children import start
from tests.journal.worlds import EPOCH, edit, fill, open_store

RUN = Key("run", "r1")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 90), st.integers(1, 4)),
        st.tuples(st.just("turn"), st.none() | st.integers(1, 70), st.none() | st.integers(0, 200), st.integers(1, 50)),
        st.tuples(st.just("pass"), st.none() | st.integers(1, 70), st.none() | st.integers(0, 200), st.integers(1, 50)),
        st.tuples(st.just("reopen")),
    ),
    max_size=8,
)


@pytest.mark.rule("H5", "H6")
@settings(max_examples=20)
@given(steps=STEPS)
def test_whatever_goes_what_stays_is_as_it_was(steps):
    """Random histories and compactions: every version that stays is identical, both journals agree on the floors, and the store verifies."""
    with tempfile.TemporaryDirectory() as name:
        sqlite, opened = open_store(Path(name))
        memory, _ = MemoryJournal.open(epoch=opened.epoch)
        author = Author(opened.epoch)
        start_ms = author.at_ms
        for step in steps:
            match step:
                case ("append", count, runs):
                    batch = [author.commit(make_progress_run(f"r{n % runs}", author.revision)) for n in range(count)]
                    sqlite.append(batch)
                    memory.append(batch)
                case ("turn", keep, age, limit):
                    before_ms = None if age is None else start_ms + 1000 * age
                    assert sqlite.compact(Retention(keep, before_ms), after=0, limit=limit).versions <= limit
                case ("pass", keep, age, limit):
                    retention = Retention(keep, None if age is None else start_ms + 1000 * age)
                    compact_wholly(sqlite, retention, limit=limit)
                case _:
                    sqlite.reopen()
            same_as_written(sqlite, author)
        for journal, limit in ((sqlite, 7), (memory, 1000)):
            compact_wholly(journal, Retention(3, start_ms + 50_000), limit=limit)
        checked = check_store(Path(name) / STORE_NAME, {})
        sqlite.reopen()

        floors = same_as_written(sqlite, author)
        assert all(floors[key] >= floor for key, floor in same_as_written(memory, author).items())
        assert checked.findings == []
        assert checked.versions == sum(author.heads[key].version - floor + 1 for key, floor in floors.items())
        assert checked.commits <= checked.versions
        sqlite.close()


def test_kill_9_in_the_middle_loses_nothing_that_stays(tmp_path):
    """Kill a process that appends and compacts, again and again: each time the store opens and verifies, and the floor stands."""
    for _ in range(3):
        with start("compact-for-ever", tmp_path) as child:
            assert child.stdout is not None
            reported = [int(child.stdout.readline()) for _ in range(12)]
            child.kill()
            reported += [int(line) for line in child.stdout.read().split()]

        journal, opened = open_store(tmp_path)
        checked = check_store(tmp_path / STORE_NAME, {})

        assert checked.findings == []
        assert checked.floor >= reported[-1] > 0
        with pytest.raises(Compacted):
            journal.commits_after(reported[-1] - 1)
        commits = journal.commits_after(checked.floor, None)
        assert [c.position.revision for c in commits] == list(range(checked.floor + 1, opened.revision + 1))
        assert all(c.changes[0].document.run.stages["translator"].progress.done == c.position.revision for c in commits)
        journal.close()


def test_a_store_that_lost_commits_after_its_floor_is_refused(tmp_path):
    """Compaction makes holes below the floor only; one above it is damage as before."""
    journal, opened = open_store(tmp_path)
    fill(journal, opened, versions=70)
    assert compact_wholly(journal, Retention(keep_versions=10), limit=25) == 60
    journal.close()
    assert open_store(tmp_path)[1].revision == 70
    edit(tmp_path, "UPDATE meta SET value = 0 WHERE key = 'verified'")
    assert open_store(tmp_path)[1].revision == 70
    edit(tmp_path, "UPDATE meta SET value = 0 WHERE key = 'verified'")
    edit(tmp_path, "DELETE FROM commits WHERE revision = 65")

    with pytest.raises(StoreDamaged, match=r"it holds 9 of the 10 commits after revision 60"):
        open_store(tmp_path)


def test_a_document_that_does_not_verify_is_left_alone(tmp_path):
    """Nothing below a floor that cannot be made goes; the others are compacted, and writing goes on."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened, versions=50)
    journal.append([author.commit(make_progress_run("r2", done)) for done in range(50)])
    journal.close()
    edit(tmp_path, "UPDATE versions SET patch = '[' WHERE id = 'r1' AND version = 20")
    # Its head would not verify either; a whole version in between makes it one of the past.
    whole = author.commits[39].changes[0].document.encoded
    edit(tmp_path, "UPDATE versions SET full = ? WHERE id = 'r1' AND version = 40", whole)
    journal, _ = open_store(tmp_path)

    turn = journal.compact(Retention(keep_versions=20), after=0, limit=1000)

    assert (turn.versions, turn.damaged, turn.next) == (30, 1, None)
    assert journal.version(RUN, 19) is not None
    assert journal.history(RUN, after=0, limit=1).floor == 1
    assert journal.history(Key("run", "r2"), after=0, limit=1).floor == 31
    journal.append([author.commit(make_run("r3"))])


def test_the_room_is_used_again(tmp_path):
    """A server that compacts as it goes does not grow for ever."""
    journal, opened = open_store(tmp_path, page_limit=200)
    author = Author(opened.epoch)

    for _ in range(40):
        journal.append([author.commit(make_progress_run("r1", author.revision)) for _ in range(100)])
        compact_wholly(journal, Retention(keep_versions=100), limit=1000)

    assert len(journal.commits_after(3900)) == 100


def written(journal, *work) -> list[object]:
    """Return what the journal's thread answers to all of `work`, queued before it begins."""
    results: list[object] = []

    async def main() -> None:
        writer = JournalWriter(journal, results.append)
        for piece in work:
            writer.put(piece)
        writer.start()
        await writer.close()

    asyncio.run(main())
    return results


def test_compaction_does_not_keep_appends_waiting():
    """The journal's thread does one turn of compaction between the appends before and after it."""
    journal, _ = MemoryJournal.open(epoch=EPOCH)
    author = Author(EPOCH)
    first = [Append(author.commit(make_progress_run("r1", done))) for done in range(20)]
    later = [Append(author.commit(make_pipeline())), Append(author.commit(make_run("r2")))]

    results = written(journal, *first, Compact(Retention(keep_versions=1), limit=5), *later, Compact(Retention(1)))

    turns = [result.compaction for result in results if isinstance(result, TurnDone)]
    assert [type(result) for result in results] == [Appended, TurnDone, Appended, TurnDone]
    assert [(turn.versions, turn.next is None) for turn in turns] == [(5, False), (14, True)]


def test_a_refused_turn_is_a_failure_like_any_other():
    """When the journal refuses a turn, nothing is written until it is reopened."""
    journal, _ = MemoryJournal.open(epoch=EPOCH)
    author = Author(EPOCH)
    journal.append([author.commit(make_progress_run("r1", done)) for done in range(3)])
    journal.begin_outage("the disk is full")

    refused = written(journal, Compact(Retention(1)), Append(author.commit(make_run("r2"))))
    journal.end_outage()
    (reopened,) = written(journal, Reopen(1))

    assert [type(result) for result in refused] == [Failed, Failed]
    assert isinstance(refused[0].error, StoreUnavailable)
    assert isinstance(reopened, Reopened)
    assert [commit.position.revision for commit in reopened.missed] == [2, 3]

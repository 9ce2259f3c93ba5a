"""The SQLite journal and its surroundings: full, read-only, replaced, foreign. Every refusal is one sentence."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from runstate.core.commit import Key
from runstate.core.errors import StoreDamaged, StoreUnavailable
from runstate.journal.sqlite import STORE_NAME
from runstate.ports import RunsFilter
from runstate.testing.commits import Author, make_progress_run, make_run
from tests.journal.children import ended, start
from tests.journal.worlds import copy_store, edit, fill, open_store


def test_a_store_that_may_not_grow_refuses_until_reopened(tmp_path):
    """Full means refused, with the reason; reads go on, and a later open has every commit that was acknowledged."""
    journal, opened = open_store(tmp_path, page_limit=60)
    author = fill(journal, opened)
    with pytest.raises(StoreUnavailable, match=r"the disk is full; free some space"):
        while True:
            acknowledged = author.revision
            journal.append([author.commit(make_progress_run("r1", author.revision))])

    with pytest.raises(StoreUnavailable, match=r"the disk is full"):
        journal.append([author.commits[-1]])
    with pytest.raises(StoreUnavailable, match=r"the disk is full"):
        journal.probe()
    assert journal.runs(RunsFilter()).revision == acknowledged
    journal.close()
    _, found = open_store(tmp_path)
    assert found.revision == acknowledged


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_that_vanishes_is_noticed(tmp_path, suffix):
    """Nothing is acknowledged into a file that no longer has its name, be it the store or its log."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened)
    (tmp_path / (STORE_NAME + suffix)).unlink()

    for attempt in (journal.probe, lambda: journal.append([author.commit(make_run("r2"))])):
        with pytest.raises(StoreUnavailable, match=r"journal.db(-wal)? does not exist; put it back"):
            attempt()


def test_a_vanished_store_is_not_made_anew(tmp_path):
    """Reopening never creates: a new, empty store would look as if there had never been a run."""
    journal, opened = open_store(tmp_path)
    fill(journal, opened)
    shutil.rmtree(tmp_path)

    with pytest.raises(StoreUnavailable, match=r"does not exist"):
        journal.probe()
    with pytest.raises(StoreUnavailable, match=r"does not exist"):
        journal.reopen()
    with pytest.raises(StoreUnavailable, match=r"does not exist"):
        journal.head(Key("run", "r1"))
    assert not tmp_path.exists()
    with pytest.raises(StoreUnavailable, match=r"does not exist"):
        open_store(tmp_path, create=False)


def test_another_store_in_the_same_place_is_noticed(tmp_path):
    """What was put in the store's place is neither written nor read as ours until it is reopened."""
    journal, opened = open_store(tmp_path / "a")
    author = fill(journal, opened)
    other, _ = open_store(tmp_path / "b")
    other.close()
    (tmp_path / "b" / STORE_NAME).rename(journal.path)

    with pytest.raises(StoreUnavailable, match=r"was replaced while in use"):
        journal.append([author.commit(make_run("r2"))])
    with pytest.raises(StoreUnavailable, match=r"was replaced while in use"):
        journal.head(Key("run", "r1"))
    with pytest.raises(
        StoreDamaged, match=r"journal.db-wal beside it belongs to the former one; remove journal.db-wal"
    ):
        journal.reopen()
    with pytest.raises(StoreDamaged, match=r"belongs to the former one"):
        open_store(tmp_path / "a")
    (tmp_path / "a" / (STORE_NAME + "-wal")).unlink()
    found = journal.reopen()
    assert (found.revision, found.documents) == (0, ())
    assert found.epoch != opened.epoch


def test_another_writer_is_noticed(tmp_path):
    """A process that writes to the store beside us makes appends refuse, not mix."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened)
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with closing(journal._db.execute("PRAGMA busy_timeout = 0")):
            pass
        with pytest.raises(StoreUnavailable, match=r"another process is writing to it"):
            journal.append([author.commit(make_run("r2"))])
        stranger.execute("ROLLBACK")

    assert journal.reopen().revision == 3


def test_a_batch_that_does_not_follow_is_a_bug_and_leaves_nothing(tmp_path):
    """A hole, a foreign epoch or a version out of order is refused whole, and the journal goes on."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened)
    hole = Author(opened.epoch, revision=4).commit(make_run("r2"))
    foreign = Author("1-00000000", revision=3).commit(make_run("r2"))
    again = Author(opened.epoch, revision=3).commit(make_run("r1"))
    ahead = Author(opened.epoch, revision=3)
    ahead.heads = {Key("run", "r9"): author.heads[Key("run", "r1")]}
    for wrong in (hole, foreign, again, ahead.commit(make_run("r9"))):
        with pytest.raises(AssertionError):
            journal.append([wrong])

    journal.append([author.commit(make_run("r2"))])
    assert [commit.position.revision for commit in journal.commits_after(0)] == [1, 2, 3, 4]


def test_a_directory_that_is_a_file(tmp_path):
    """A data directory that is a file is refused in one sentence."""
    (tmp_path / "data").write_text("mine")

    for place in (tmp_path / "data", tmp_path / "data" / "below"):
        with pytest.raises(StoreUnavailable, match=r"is, or lies in, a file; name a directory with --data"):
            open_store(place)


def test_a_store_that_is_a_directory(tmp_path):
    """A directory where the store should be is refused in one sentence."""
    (tmp_path / STORE_NAME).mkdir()

    with pytest.raises(StoreUnavailable, match=r"journal.db is not a file; move it away"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a database, but long enough to have a header " * 100, b"SQLite format 3\0" * 300]
)
def test_a_file_that_is_no_store_is_left_alone(tmp_path, content):
    """What is not ours is named as such and not touched."""
    (tmp_path / STORE_NAME).write_bytes(content)

    with pytest.raises(StoreDamaged, match=r"is not a (SQLite database|runstate store)|is damaged"):
        open_store(tmp_path)
    assert (tmp_path / STORE_NAME).read_bytes() == content


def test_a_foreign_database_is_left_alone(tmp_path):
    """A SQLite database of another program is refused and stays as it was."""
    with closing(sqlite3.connect(tmp_path / STORE_NAME)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / STORE_NAME).read_bytes()

    with pytest.raises(StoreDamaged, match=r"is not a runstate store; move it away"):
        open_store(tmp_path)
    assert (tmp_path / STORE_NAME).read_bytes() == before


def test_a_newer_format_is_refused(tmp_path):
    """A store that a newer runstate wrote is refused, naming both formats, and stays as it was."""
    journal, opened = open_store(tmp_path)
    fill(journal, opened)
    journal.close()
    edit(tmp_path, "UPDATE meta SET value = '2' WHERE key = 'format'")
    before = (tmp_path / STORE_NAME).read_bytes()

    with pytest.raises(StoreUnavailable, match=r"has format 2, .* reads up to 1: upgrade runstate"):
        open_store(tmp_path)
    assert (tmp_path / STORE_NAME).read_bytes() == before


def test_a_crash_while_the_store_is_made_leaves_nothing_behind(tmp_path):
    """Half a store is never taken for one: it is made beside its place and then renamed."""
    (tmp_path / (STORE_NAME + ".new")).write_bytes(b"half")

    journal, opened = open_store(tmp_path)

    assert opened.revision == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [STORE_NAME, STORE_NAME + "-shm", STORE_NAME + "-wal"]
    journal.close()


def test_odd_names_of_directories(tmp_path):
    """A data directory may be called anything."""
    directory = tmp_path / "a?b#c%20d é:&"
    journal, opened = open_store(directory)
    fill(journal, opened)
    journal.close()

    assert open_store(directory)[1].revision == 3
    assert copy_store(directory, tmp_path / "plain").is_dir()


@pytest.mark.parametrize("has_store", [False, True])
def test_a_read_only_directory(has_store):
    """A directory in which nothing may be written is refused in one sentence, with and without a store in it."""
    # Under /tmp itself, since pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if has_store:
            journal, opened = open_store(directory)
            fill(journal, opened)
            journal.close()
        directory.chmod(0o555)
        locked, opened = ended(start("open-as-nobody", directory)).splitlines()

    assert locked.startswith(f"StoreUnavailable: data directory {name} cannot be written: Permission denied; make it")
    assert opened.startswith("StoreUnavailable: ")
    assert "make " in opened, "the sentence says what to do"

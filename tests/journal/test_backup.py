"""Backups: complete up to a revision, made beside the traffic, never in the place of anything, and restored by opening them."""

from __future__ import annotations

import pytest

from runstate.core.commit import Key
from runstate.core.errors import NotFound, StoreDamaged, StoreUnavailable
from runstate.core.position import epoch_number
from runstate.journal.sqlite import STORE_NAME
from runstate.journal.sqlite_check import check_store
from runstate.journal.sqlite_files import AlreadyThere, back_up, commits, give_back, reading
from runstate.journal.sqlite_open import log_of
from runstate.ports import Retention, RunsFilter
from runstate.testing.commits import make_pipeline, make_progress_run, make_run
from runstate.testing.journal_exam import compact_wholly, same_as_written
from runstate.testing.spelling import spell
from tests.journal.children import BATCH, start
from tests.journal.worlds import copy_store, edit, fill, open_store

RUN = Key("run", "r1")


@pytest.mark.rule("V1", "V5")
def test_a_backup_beside_a_writer_at_full_speed_is_complete(tmp_path):
    """Backups taken while a process appends hold whole batches up to a revision, verify, and open with a later epoch."""
    _, opened = open_store(tmp_path / "data")
    with start("append-for-ever", tmp_path / "data") as child:
        assert child.stdout is not None
        taken = []
        for number in range(3):
            durable = int(child.stdout.readline())
            taken.append((durable, back_up(tmp_path / "data" / STORE_NAME, tmp_path / f"b{number}" / STORE_NAME)))
        child.kill()
    original, last = open_store(tmp_path / "data")

    for number, (durable, copied) in enumerate(taken):
        directory = tmp_path / f"b{number}"
        assert [path.name for path in directory.iterdir()] == [STORE_NAME]
        assert check_store(directory / STORE_NAME, {}).findings == []
        copy, found = open_store(directory)
        assert durable <= found.revision == copied.revision <= last.revision
        assert found.revision % BATCH == 0
        assert epoch_number(found.epoch) > epoch_number(opened.epoch) == epoch_number(copied.epoch)
        assert spell(copy.commits_after(0, None)) == spell(original.commits_after(0, found.revision))
        assert copy.reopen().epoch == found.epoch, "once"
        copy.close()


@pytest.mark.rule("V1")
def test_a_reader_of_the_original_goes_on_with_the_restored(tmp_path):
    """What a reader has seen up to the backup is there unchanged; revisions and versions go on; its position is of an earlier epoch."""
    journal, opened = open_store(tmp_path / "data")
    author = fill(journal, opened, versions=70)
    compact_wholly(journal, Retention(keep_versions=20), limit=100)
    back_up(journal.path, tmp_path / "backup" / STORE_NAME)
    lost = author.commit(make_progress_run("r1", -1))
    journal.append([lost])
    seen = journal.head(RUN)
    journal.close()
    author.commits.remove(lost)
    author.revision, author.heads[RUN] = 70, author.commits[-1].changes[0].document

    restored, found = open_store(tmp_path / "backup")

    assert seen.position.revision == 71
    assert found.revision == 70
    assert {document.encoded for document in found.documents} == {head.encoded for head in author.heads.values()}
    assert set(same_as_written(restored, author).values()) == {1, 51}
    author.epoch = found.epoch
    later = author.commit(make_progress_run("r1", 1))
    restored.append([later])
    assert (later.position.revision, later.changes[0].document.version) == (71, 71)
    assert later.position.order > seen.position.order, "the reader never takes the lost commit for later"


def test_nothing_is_overwritten(tmp_path):
    """A backup is refused where a store, or the log of one, lies; nothing changes."""
    journal, opened = open_store(tmp_path / "data")
    fill(journal, opened)
    target = tmp_path / "backup" / STORE_NAME
    back_up(journal.path, target)
    before = target.read_bytes()

    for place in (target, journal.path):
        with pytest.raises(
            AlreadyThere, match=r"journal.db is there already and is left as it is; name a new directory"
        ):
            back_up(journal.path, place)
    assert target.read_bytes() == before
    target.rename(target.with_name(STORE_NAME + "-wal"))
    with pytest.raises(AlreadyThere, match=r"journal.db-wal is there already"):
        back_up(journal.path, target)
    journal.probe()


def test_what_cannot_be_backed_up_leaves_nothing(tmp_path):
    """Without a sound store there is no backup, not half of one; the sentence names the original."""
    with pytest.raises(StoreUnavailable, match=r"data/journal.db does not exist"):
        back_up(tmp_path / "data" / STORE_NAME, tmp_path / "backup" / STORE_NAME)
    assert not (tmp_path / "backup").exists()
    journal, opened = open_store(tmp_path / "data")
    fill(journal, opened)
    journal.close()
    edit(tmp_path / "data", "UPDATE versions SET patch = '[' WHERE version = 2")
    (tmp_path / "file").write_text("mine")

    with pytest.raises(StoreDamaged, match=r"run r1 version 3 .* in .*/data/journal.db does not verify"):
        back_up(journal.path, tmp_path / "backup" / STORE_NAME)
    assert list((tmp_path / "backup").iterdir()) == []
    with pytest.raises(StoreUnavailable, match=r"is, or lies in, a file"):
        back_up(journal.path, tmp_path / "file" / STORE_NAME)


# A log that holds the old store's identity, beside a file that has it too, cannot be told from its own.
@pytest.mark.parametrize(("is_restarted", "in_place"), [(False, False), (True, False), (True, True)])
def test_a_backup_put_beside_the_old_log_is_refused_until_that_is_removed(tmp_path, is_restarted, in_place):
    """Restoring into an old directory means removing its -wal and -shm; until then the two stores are kept from mixing."""
    journal, opened = open_store(tmp_path / "data")
    author = fill(journal, opened)
    back_up(journal.path, tmp_path / "backup" / STORE_NAME)
    if is_restarted:  # the log no longer begins with what it belongs to
        journal._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    journal.append([author.commit(make_run("r2"))])
    copy_store(tmp_path / "data", tmp_path / "crashed")
    log = log_of(journal.path)
    backup = (tmp_path / "backup" / STORE_NAME).read_bytes()
    if in_place:
        journal.path.write_bytes(backup)
    else:
        (tmp_path / "put").write_bytes(backup)
        (tmp_path / "put").rename(journal.path)

    with pytest.raises(StoreDamaged, match=r"belongs to the former one; remove journal.db-wal so that they do not mix"):
        open_store(tmp_path / "data")
    assert journal.path.read_bytes() == backup
    if in_place:
        return  # this process has the file open, so it cannot be opened as if after a crash
    log.unlink()
    log.with_name(STORE_NAME + "-shm").unlink()
    _, found = open_store(tmp_path / "data")
    assert found.revision == 3
    assert epoch_number(found.epoch) > epoch_number(opened.epoch)
    assert open_store(tmp_path / "crashed")[1].revision == 4, "what a crash left opens with its own log"


def test_commits_are_read_one_cut_beside_the_writer(tmp_path):
    """All commits, or those of one run, in order and verified, as they were when the reading began."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened, versions=5)
    journal.append([author.commit(make_progress_run("r2", done), make_progress_run("r1", done)) for done in range(400)])
    both = author.commits[5:]

    with reading(journal.path) as db:
        every = commits(db)
        first = next(every)
        journal.append([author.commit(make_run("r3"))])
        found = [first, *every]
        of_r2 = list(commits(db, "r2"))
        with pytest.raises(NotFound, match="no run market in this store"):
            list(commits(db, "market"))

    assert spell(found) == spell(author.commits[:-1])
    assert [commit.position for commit in of_r2] == [commit.position for commit in both]
    assert [c.changes[0].document.encoded for c in of_r2] == [c.changes[0].document.encoded for c in both]


def test_commits_below_the_floor_show_what_is_left(tmp_path):
    """After compaction, what is kept of earlier commits comes in order, and nothing else."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened, versions=90)
    journal.append([author.commit(make_run("r2"))])
    compact_wholly(journal, Retention(keep_versions=10), limit=1000)

    with reading(journal.path) as db:
        found = list(commits(db))

    assert [commit.position.revision for commit in found] == [1, *range(81, 92)]
    assert [change.document.key for change in found[0].changes] == [Key("pipeline", "market")]
    assert spell(found[1:]) == spell(author.commits[80:])


def test_unused_room_is_given_back_where_it_is_worth_it(tmp_path):
    """A file that shrank by much gets smaller; by little, it is left alone. Epoch and documents stay."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened)
    for _ in range(8):
        journal.append([author.commit(make_progress_run("r1", author.revision)) for _ in range(1000)])
    journal.append([author.commit(make_pipeline())])
    compact_wholly(journal, Retention(keep_versions=8000), limit=1000)
    journal.close()
    little = give_back(journal.path)
    journal, _ = open_store(tmp_path)
    compact_wholly(journal, Retention(keep_versions=10), limit=1000)
    journal.close()

    much = give_back(journal.path)

    assert little.after_bytes == little.before_bytes
    assert much.after_bytes * 10 < much.before_bytes
    assert journal.path.stat().st_size == much.after_bytes
    journal, found = open_store(tmp_path)
    assert found.epoch == opened.epoch
    assert same_as_written(journal, author) == {RUN: 7994, Key("pipeline", "market"): 1}
    assert journal.runs(RunsFilter()).revision == author.revision

"""Epochs (PROTOCOL V1): a restart keeps the epoch; a copy begins a new one, later than the old."""

from __future__ import annotations

import shutil

import pytest

from runstate.core.errors import StoreUnavailable
from runstate.core.position import epoch_number
from runstate.journal.sqlite import STORE_NAME
from runstate.journal.sqlite_open import log_of
from runstate.testing.commits import make_progress_run
from tests.journal.worlds import NOW_MS, copy_store, edit, fill, open_store

DAY_MS = 86_400_000

pytestmark = pytest.mark.rule("V1")


def test_a_new_store_is_numbered_by_its_second(tmp_path):
    """The first epoch's number is the unix second in which the store was made."""
    _, opened = open_store(tmp_path)

    assert epoch_number(opened.epoch) == NOW_MS // 1000


def test_a_restart_keeps_the_epoch(tmp_path):
    """Stopping and starting changes neither epoch nor revision."""
    journal, opened = open_store(tmp_path)
    fill(journal, opened)
    journal.close()

    _, later = open_store(tmp_path, at_ms=NOW_MS + DAY_MS)

    assert (later.epoch, later.revision) == (opened.epoch, 3)


@pytest.mark.parametrize(("at_ms", "number"), [(NOW_MS + DAY_MS, (NOW_MS + DAY_MS) // 1000), (0, NOW_MS // 1000 + 1)])
def test_a_copy_begins_a_new_epoch(tmp_path, at_ms, number):
    """A copied store begins a later epoch, even with a clock that was set back; revisions go on, no document changes."""
    journal, opened = open_store(tmp_path / "original")
    author = fill(journal, opened)
    journal.close()
    copy_store(tmp_path / "original", tmp_path / "copy")

    copy, found = open_store(tmp_path / "copy", at_ms=at_ms)

    assert epoch_number(found.epoch) == number
    assert found.revision == 3
    assert {document.encoded for document in found.documents} == {head.encoded for head in author.heads.values()}
    author.epoch = found.epoch
    copy.append([author.commit(make_progress_run("r1", 4))])
    assert [str(commit.position) for commit in copy.commits_after(2)] == [f"{opened.epoch}.3", f"{found.epoch}.4"]
    assert copy.reopen().epoch == found.epoch


def test_a_marked_copy_begins_a_new_epoch_once(tmp_path):
    """A store that a backup has marked begins a new epoch when it is first opened, wherever it lies."""
    journal, opened = open_store(tmp_path)
    journal.close()
    edit(tmp_path, "INSERT INTO meta VALUES ('backup', '1')")

    first_journal, first = open_store(tmp_path)
    first_journal.close()
    _, second = open_store(tmp_path)

    assert epoch_number(first.epoch) == epoch_number(opened.epoch) + 1
    assert second.epoch == first.epoch


def test_a_backup_that_is_put_back_under_a_server_is_later_than_what_it_served(tmp_path):
    """Clients never see an older epoch than before, though the backup's own number is."""
    journal, opened = open_store(tmp_path / "data")
    journal.close()
    copy_store(tmp_path / "data", tmp_path / "old")
    edit(tmp_path / "data", "UPDATE meta SET value = '1999999999-00000000' WHERE key = 'epoch'")
    journal, served = open_store(tmp_path / "data")
    shutil.copy(tmp_path / "old" / STORE_NAME, tmp_path / "put")
    (tmp_path / "put").rename(journal.path)
    log_of(journal.path).unlink()
    with pytest.raises(StoreUnavailable, match=r"(was replaced while in use|does not exist)"):
        journal.probe()

    found = journal.reopen()

    assert (opened.epoch[:10], served.epoch[:10], found.epoch[:10]) == ("1795442496", "1999999999", "2000000000")

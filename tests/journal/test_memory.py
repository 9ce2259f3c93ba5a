"""Outages of the journal in memory, as a simulation scripts them."""

from __future__ import annotations

import pytest

from runstate.core.errors import StoreUnavailable
from runstate.journal.memory import MemoryJournal
from runstate.testing.commits import Author, make_run
from tests.journal.worlds import EPOCH


@pytest.mark.parametrize(("keeps", "revision"), [(False, 1), (True, 2)])
def test_after_an_outage_only_a_reopen_tells(keeps, revision):
    """A refused batch may be durable or not; until the store is reopened nothing else is taken."""
    journal, _ = MemoryJournal.open(epoch=EPOCH)
    author = Author(EPOCH)
    journal.append([author.commit(make_run("r1"))])
    journal.begin_outage("the disk is full", keeps=keeps)

    for attempt in (lambda: journal.append([author.commit(make_run("r2"))]), journal.probe, journal.reopen):
        with pytest.raises(StoreUnavailable, match=r"the disk is full"):
            attempt()
    journal.end_outage()
    with pytest.raises(StoreUnavailable, match=r"the disk is full"):
        journal.probe()
    assert journal.reopen().revision == revision
    journal.probe()


def test_a_store_may_open_while_it_takes_nothing():
    """As on a full disk: reopened it shows what it holds, and refuses the next write again."""
    journal, _ = MemoryJournal.open(epoch=EPOCH)
    author = Author(EPOCH)
    journal.append([author.commit(make_run("r1"))])
    journal.begin_outage("the disk is full", opens=True)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"the disk is full"):
            journal.probe()
        assert journal.reopen().revision == 1
    journal.end_outage()
    journal.probe()


def test_an_outage_that_nobody_met_leaves_the_handle_usable():
    """An outage is noticed by those who write while it lasts."""
    journal, _ = MemoryJournal.open(epoch=EPOCH)
    journal.begin_outage("the disk is full")
    journal.end_outage()

    journal.append([Author(EPOCH).commit(make_run("r1"))])


def test_a_batch_that_does_not_follow_is_a_bug_and_leaves_nothing():
    """A hole or a version out of order is refused whole."""
    journal, _ = MemoryJournal.open(epoch=EPOCH)
    author = Author(EPOCH)
    journal.append([author.commit(make_run("r1"))])
    good = author.commit(make_run("r1", "running_translator"))
    for wrong in (
        [good, Author(EPOCH, revision=2).commit(make_run("r1"))],
        [Author(EPOCH, revision=5).commit(make_run("x"))],
    ):
        with pytest.raises(AssertionError):
            journal.append(wrong)

    assert journal.reopen().revision == 1
    journal.append([good])

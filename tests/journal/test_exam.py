"""Both journals keep every promise of the port."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from runstate.journal.memory import MemoryJournal
from runstate.journal.sqlite import SqliteJournal
from runstate.ports import Journal, Opened
from runstate.testing.journal_exam import CHECKS, Check, examine
from tests.journal.worlds import EPOCH, StoppedClock

OpenNew = Callable[[], tuple[Journal, Opened]]


@pytest.fixture(params=["memory", "sqlite"])
def open_new(request: pytest.FixtureRequest, tmp_path: Path) -> OpenNew:
    if request.param == "memory":
        return lambda: MemoryJournal.open(epoch=EPOCH)
    numbers = count()
    return lambda: SqliteJournal.open(tmp_path / f"store-{next(numbers)}", clock=StoppedClock())


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_a_journal_keeps_its_promises(check: Check, open_new: OpenNew):
    """Each promise of the Journal port holds, in memory and in SQLite."""
    check(open_new)


def test_a_journal_that_breaks_a_promise_fails_the_exam():
    """Whoever writes a journal reads which promise it breaks."""

    class Forgetful(MemoryJournal):
        def history(self, key, *, after, limit):
            found = super().history(key, after=after, limit=limit)
            return found and type(found)(found.floor, found.head, found.entries[1:])

    with pytest.raises(AssertionError, match=r"after -5: expected .*, got "):
        examine(lambda: Forgetful.open(epoch=EPOCH))

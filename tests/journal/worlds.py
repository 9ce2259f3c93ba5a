"""The world around a journal in tests: a clock that stands still, and stores that are copied, cut and counted."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runstate.journal.sqlite import STORE_NAME, SqliteJournal
from runstate.ports import Opened
from runstate.testing.commits import Author, make_pipeline, make_progress_run, make_run

NOW_MS = 1_795_442_496_000
EPOCH = "1795442496-88a9e774"


@dataclass
class StoppedClock:
    """A clock that a test sets."""

    at_ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.at_ms


def open_store(directory: Path, *, at_ms: int = NOW_MS, **options) -> tuple[SqliteJournal, Opened]:
    """Open the store of `directory` at a time."""
    return SqliteJournal.open(directory, clock=StoppedClock(at_ms), **options)


def fill(journal: SqliteJournal, opened: Opened, *, versions: int = 3) -> Author:
    """Append a pipeline and a run of some versions in several batches; return who wrote them."""
    author = Author(opened.epoch, revision=opened.revision)
    journal.append([author.commit(make_pipeline(current_run_id="r1"), make_run("r1"))])
    for number in range(2, versions + 1):
        journal.append([author.commit(make_progress_run("r1", number))])
    return author


def copy_store(source: Path, target: Path) -> Path:
    """Copy a store as a crash would leave it: the file and its log, without the shared memory."""
    target.mkdir(parents=True)
    for suffix in ("", "-wal"):
        if (source / (STORE_NAME + suffix)).exists():
            shutil.copy(source / (STORE_NAME + suffix), target / (STORE_NAME + suffix))
    return target


def edit(directory: Path, sql: str, *parameters: object) -> None:
    """Change a store that nobody has open, as a hand or a failing disk would; it is not taken for a copy."""
    with closing(sqlite3.connect(directory / STORE_NAME)) as db, db:
        assert db.execute(sql, parameters).rowcount > 0, "the edit hit something"

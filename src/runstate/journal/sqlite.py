"""The journal in one SQLite file: WAL, synchronous=FULL, one writer, one fsync per batch (schema: journal.sql).

Law: after any failed write the handle is dead until `reopen`. SQLite says what was committed only to a fresh connection,
and a kernel that failed one fsync may call the next a success.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runstate.core.commit import Commit, Document, Key, Note
from runstate.core.errors import StoreError, StoreUnavailable
from runstate.journal import sqlite_read as read
from runstate.journal.batch import check_batch
from runstate.journal.directory import Identity, identify
from runstate.journal.sqlite_compact import compact
from runstate.journal.sqlite_errors import mapped_errors, refusal
from runstate.journal.sqlite_open import create_store, foreign_log, log_of, open_store
from runstate.journal.sqlite_readers import Readers
from runstate.journal.sqlite_write import write_batch
from runstate.ports import COMMITS_AT_ONCE, Clock, Compaction, Cut, History, Opened, Retention, RunsFilter

STORE_NAME = "journal.db"


class SqliteJournal:
    """A `runstate.ports.Journal` in `<directory>/journal.db`. Whoever opens it holds the directory's lock."""

    def __init__(self, directory: Path, *, clock: Clock, page_limit: int | None = None) -> None:
        """Name the store; `reopen` opens it. See `open`."""
        self.path = directory / STORE_NAME
        self._clock, self._page_limit = clock, page_limit
        self._db: sqlite3.Connection | None = None
        self._readers: Readers | None = None
        self._files: dict[Path, Identity] = {}  # what must stand at these names while we write
        self._reason = f"store file {self.path} is not open"
        self._epoch: str | None = None
        self._revision = 0

    @classmethod
    def open(
        cls, directory: Path, *, clock: Clock, create: bool = True, page_limit: int | None = None
    ) -> tuple[SqliteJournal, Opened]:
        """Return the journal of a data directory and what it holds.

        Args:
            directory: Absolute or relative; made if need be.
            clock: Gives a new store or a copy the number of its epoch (PROTOCOL V1).
            create: Whether to make an empty store where there is none.
            page_limit: Pages of 4 KiB that the file may grow to; beyond, appends find the disk full.

        Raises:
            StoreUnavailable: It cannot be opened now, or a newer runstate wrote it; the text says why.
            StoreDamaged: Its content does not verify, or it is not a store.
        """
        journal = cls(directory, clock=clock, page_limit=page_limit)
        if create:
            create_store(journal.path, now_ms=clock.now_ms())
        return journal, journal.reopen()

    def append(self, commits: Sequence[Commit], notes: Sequence[Note] = ()) -> None:
        """See the port."""
        if not commits and not notes:
            return
        with self._transaction() as db:
            assert self._epoch is not None, "an open journal has an epoch"
            check_batch(commits, epoch=self._epoch, revision=self._revision)
            write_batch(db, commits, notes)
        self._revision += len(commits)

    def probe(self) -> None:
        """See the port: writes and syncs one tiny row."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO meta VALUES ('probe', '1') ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + 1"
            )

    def compact(self, retention: Retention, *, after: int, limit: int) -> Compaction:
        """See the port. The room is used again by later commits; `sqlite_files.give_back` returns it to the disk."""
        with self._transaction() as db:
            return compact(db, retention, after=after, limit=limit)

    def reopen(self) -> Opened:
        """See the port. A store that was put in the place of ours comes with a new epoch."""
        self._drop_writer(f"store file {self.path} is being opened again")
        # What is durable stays readable while the store refuses writes, so the readers stay until there are new ones.
        former = self._readers
        try:
            with mapped_errors(self.path):
                opened = self._open_store()
        except StoreError as exc:
            self._reason = str(exc)
            raise
        if former is not None:
            former.close()
        return opened

    def close(self) -> None:
        """See the port."""
        self._drop_writer(f"store file {self.path} is closed")
        if self._readers is not None:
            self._readers.close()
            self._readers = None

    def head(self, key: Key) -> Document | None:
        """See the port."""
        with self._reading() as db:
            return read.head(db, key)

    def version(self, key: Key, version: int) -> Document | None:
        """See the port."""
        with self._reading() as db:
            return read.version(db, key, version)

    def history(self, key: Key, *, after: int, limit: int) -> History | None:
        """See the port."""
        with self._reading() as db:
            return read.history(db, key, after, limit)

    def runs(self, wanted: RunsFilter) -> Cut:
        """See the port. A page never parts runs that one commit created, so it may exceed its limit by those."""
        with self._reading() as db:
            return read.runs(db, wanted)

    def commits_after(self, revision: int, limit: int | None = COMMITS_AT_ONCE) -> Sequence[Commit]:
        """See the port."""
        with self._reading() as db:
            return read.commits_after(db, revision, limit)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        readers = self._readers
        if readers is None:
            raise StoreUnavailable(self._reason)
        with readers.transaction() as db:
            yield db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        if db is None:
            raise StoreUnavailable(self._reason)
        try:
            self._check_files()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                # What a bug of the caller raises leaves the store as sound as before.
                db.rollback()
                raise
            db.execute("COMMIT")
        except sqlite3.IntegrityError as exc:
            raise AssertionError(f"a batch does not fit the store: {exc}") from exc
        except (sqlite3.Error, StoreError) as exc:
            error = refusal(exc, self.path) if isinstance(exc, sqlite3.Error) else exc
            self._drop_writer(str(error))
            raise StoreUnavailable(str(error)) from exc

    def _open_store(self) -> Opened:
        identity, log = identify(self.path), log_of(self.path)
        if self._files.get(self.path, identity) != identity and log.exists() and identify(log) == self._files[log]:
            raise foreign_log(self.path)
        db, opened = open_store(
            self.path, identity=identity, now_ms=self._clock.now_ms(),
            later_than=self._epoch, page_limit=self._page_limit,
        )  # fmt: skip
        self._files = {self.path: identity, log: identify(log)}
        self._db, self._readers = db, Readers(self.path, identity)
        self._epoch, self._revision = opened.epoch, opened.revision
        return opened

    def _check_files(self) -> None:
        # SQLite would go on writing into files that no longer have a name, and a crash would take every commit since.
        for path, identity in self._files.items():
            if identify(path) != identity:
                raise StoreUnavailable(
                    f"{path} was replaced while in use; restart the server so that it is opened again"
                )

    def _drop_writer(self, reason: str) -> None:
        self._reason = reason
        if self._db is not None:
            # Closing copies the log into the file; where that fails, the next opening does it.
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

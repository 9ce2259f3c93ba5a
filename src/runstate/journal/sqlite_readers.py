"""Connections for reading: any number of threads, each read alone on one connection and in one transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runstate.core.errors import StoreUnavailable
from runstate.journal.directory import Identity, identify
from runstate.journal.sqlite_errors import mapped_errors
from runstate.journal.sqlite_open import connect

MAX_IDLE = 4  # as many as there are commonly readers at once; more are opened on demand and closed after use


class Readers:
    """The read connections of one opened store; closed with it."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path, self._identity = path, identity
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._guard = threading.Lock()  # of the two above

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one cut of the store.

        Raises:
            StoreError: The store cannot be read.
        """
        with mapped_errors(self._path):
            db = self._take()
            try:
                # Deferred: the cut is taken by the first statement and holds until the end.
                db.execute("BEGIN")
                yield db
                db.execute("ROLLBACK")
            except BaseException:
                db.close()  # it may be in any state; another is cheap
                raise
            self._give_back(db)

    def close(self) -> None:
        """Close the idle connections now, and those in use when their read ends; safe to call twice."""
        with self._guard:
            self._closed, idle, self._idle = True, self._idle, []
        for db in idle:
            db.close()

    def _take(self) -> sqlite3.Connection:
        with self._guard:
            if self._idle:
                return self._idle.pop()
        # A name is not a file: what was put in its place since must not be read as ours.
        if identify(self._path) != self._identity:
            raise StoreUnavailable(f"store file {self._path} was replaced while in use; it must be opened again")
        db = connect(self._path)
        db.execute("PRAGMA query_only = ON")
        return db

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._guard:
            if not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append(db)
                return
        db.close()

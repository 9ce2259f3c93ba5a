"""A store as a file: read beside its owner, copied, and made smaller. Nothing here needs the journal to be open.

Law: a read sees one cut, taken once, and writes nothing; a copy is complete up to a revision or is not there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from runstate.core.commit import Commit, Key
from runstate.core.errors import CallerError
from runstate.journal import sqlite_open
from runstate.journal.directory import cannot_write, identify, make_directory, sync_directory
from runstate.journal.sqlite_errors import mapped_errors
from runstate.journal.sqlite_open import connect, log_of, open_documents
from runstate.journal.sqlite_read import commits_of, head_revision, kept_commits, log_floor

AT_ONCE = 200  # commits in memory while all are read
# Rewriting the file takes as long as copying it; a store that goes on growing would use the room again anyhow.
WORTHWHILE_BYTES = 1024 * 1024
WORTHWHILE_SHARE = 0.1


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection that sees one cut of the store at `path`, whether or not somebody writes to it.

    Raises:
        StoreUnavailable: There is none, it cannot be read, or a newer runstate wrote it.
        StoreDamaged: It is not a store.
    """
    identity = identify(path)
    with mapped_errors(path), sqlite_open.reading(path, identity) as (db, _):
        yield db


def commits(db: sqlite3.Connection, run_id: str | None = None) -> Iterator[Commit]:
    """Return what is kept of every commit, in order; with `run_id` of those that touched this run, and only that of them.

    Raises:
        NotFound: There is no such run.
        StoreDamaged: Something does not verify.
    """
    if run_id is not None:
        yield from commits_of(db, Key("run", run_id))
        return
    revision = 0
    while page := kept_commits(db, revision, AT_ONCE):
        yield from page
        revision = page[-1].position.revision


class AlreadyThere(CallerError):
    """Where a copy should come there is something; it was left as it is."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup holds."""

    epoch: str  #: Of the original; the copy's first opening begins a later one.
    revision: int  #: Every commit up to this one.
    floor: int  #: Of the log, as in the original.
    size_bytes: int


def back_up(path: Path, target: Path) -> Copied:
    """Make `target` the store's copy as it is now, marked so that its first opening begins a new epoch (PROTOCOL V1).

    Args:
        path: Of the store; its owner may go on writing.
        target: Path of the new store file, in a directory that is made if need be; there must be nothing.

    Raises:
        AlreadyThere: Something is; it is left as it is.
        StoreUnavailable: It cannot be read or written.
        StoreDamaged: What would be copied does not verify.
    """
    for taken in (target, log_of(target)):
        if os.path.lexists(taken):
            raise AlreadyThere(f"{taken} is there already and is left as it is; name a new directory for the backup")
    identify(path)  # before a directory is made for what is not there
    make_directory(target.parent)
    new = target.with_name(target.name + ".new")
    try:
        new.unlink(missing_ok=True)  # what a crash left
        new.touch()
        with reading(path) as source:
            copied = _copy(source, new)
        _make_durable(new)
        new.rename(target)
    except OSError as exc:
        raise cannot_write(target.parent, exc) from exc
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
    sync_directory(target.parent)
    return copied


def _copy(source: sqlite3.Connection, new: Path) -> Copied:
    open_documents(source)  # a backup that cannot be opened is none
    epoch = source.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
    with mapped_errors(new), closing(connect(new)) as db:
        db.execute("PRAGMA synchronous = OFF")  # it becomes durable as a whole, or not at all
        source.backup(db)  # in one step: the pages of the one cut that `source` sees
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('backup', '1')")
    return Copied(epoch, head_revision(source), log_floor(source), new.stat().st_size)


def _make_durable(path: Path) -> None:
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@dataclass(frozen=True, slots=True)
class Room:
    """The size of a store's file before and after."""

    before_bytes: int
    after_bytes: int
    unused_bytes: int  #: In the file, for later commits.


def give_back(path: Path) -> Room:
    """Return the unused room of a store's file to the disk where that is worth rewriting it. The caller holds the lock.

    Raises:
        StoreUnavailable: It cannot be rewritten (there is no room for a second copy); nothing is lost.
    """
    before = path.stat().st_size
    with mapped_errors(path), closing(connect(path)) as db:
        page = db.execute("PRAGMA page_size").fetchone()[0]
        unused = db.execute("PRAGMA freelist_count").fetchone()[0] * page
        if unused >= max(WORTHWHILE_BYTES, WORTHWHILE_SHARE * before):
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA fullfsync = ON")
            db.execute("PRAGMA checkpoint_fullfsync = ON")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            unused = 0
    return Room(before, path.stat().st_size, unused)

"""The edge where SQLite's errors become ours, once. Nothing above the journal sees a `sqlite3.Error`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runstate.core.errors import InvalidValue, PeerError, StoreDamaged, StoreError, StoreUnavailable

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its directory writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the file, its directory and its -wal file are there and accessible",
    sqlite3.SQLITE_BUSY: "another process is writing to it; end that process",
    sqlite3.SQLITE_PERM: "access is denied; make the file and its directory writable",
}


def refusal(exc: sqlite3.Error, path: Path) -> StoreError:
    """Return what `exc` means for the store at `path`."""
    # The low byte is the primary code; errors of the Python module itself have none.
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        what = "is not a SQLite database" if code == sqlite3.SQLITE_NOTADB else f"is damaged ({exc})"
        return StoreDamaged(f"store file {path} {what}; restore a backup of it (the file was left as it is)")
    name = getattr(exc, "sqlite_errorname", "SQLITE_IOERR")
    if name == "SQLITE_IOERR_SHMSIZE":  # the file beside the store that connections share could not grow
        return StoreUnavailable(f"store file {path} refuses: {_REASONS[sqlite3.SQLITE_FULL]}")
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailable(
            f"store file {path} refuses: the disk reports an error ({name}); look at the system's log"
        )
    return StoreUnavailable(f"store file {path} refuses: {_REASONS.get(code, str(exc))}")


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Raise our errors in place of SQLite's, and of what rows that we never wrote make of our code."""
    try:
        yield
    except sqlite3.Error as exc:
        raise refusal(exc, path) from exc
    except (InvalidValue, PeerError, TypeError, ValueError) as exc:
        # Inside the journal nothing but the rows can be of the wrong form. UnicodeDecodeError is a ValueError.
        raise StoreDamaged(
            f"store file {path} holds what runstate never wrote ({exc}); restore a backup of it (the file was left as it is)"
        ) from exc

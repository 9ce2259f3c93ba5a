"""How a SQLite store comes to be, and how it is opened: recognised, verified, given its epoch — in that order.

Law: until a store has verified, nothing is written to it.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path

from runstate.core.canonical import digest
from runstate.core.commit import Document, Key, Note
from runstate.core.errors import StoreDamaged, StoreUnavailable
from runstate.core.position import epoch_number
from runstate.journal.directory import Identity, cannot_write, identify, make_directory, sync_directory
from runstate.journal.sqlite_errors import mapped_errors
from runstate.journal.sqlite_read import damaged, head, head_revision, heads, log_floor, rebuild
from runstate.ports import Opened

FORMAT = 1
# A batch may make the log longer than SQLite's usual 4 MB; what is beyond this is given back.
WAL_KEPT_BYTES = 64 * 1024 * 1024
WRITER_CACHE_KIB = 16 * 1024


def connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """Return a connection without transactions of its own; never creates a file. With mode `ro` it changes none either."""
    # Opened in one thread and used in another, never in two at once.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def log_of(path: Path) -> Path:
    """Return the write-ahead log that SQLite keeps beside the store."""
    return path.with_name(path.name + "-wal")


def foreign_log(path: Path) -> StoreDamaged:
    """Return the error for a store that was put beside the log of another, which SQLite would mix into it."""
    log = log_of(path).name
    return StoreDamaged(
        f"store file {path} was replaced, but {log} beside it belongs to the former one; remove {log} so that they do not mix"
    )


def create_store(path: Path, *, now_ms: int) -> None:
    """Make an empty store at `path` unless there is a file; either the whole store appears or nothing.

    Raises:
        StoreUnavailable: The directory cannot be made or written.
    """
    make_directory(path.parent)
    new = path.with_name(path.name + ".new")
    try:
        if path.exists():
            return
        new.unlink(missing_ok=True)  # what a crash left
        new.touch()
    except OSError as exc:
        raise cannot_write(path.parent, exc) from exc
    try:
        with mapped_errors(new), closing(connect(new)) as db:
            _write_schema(db, new, now_ms)
    except BaseException:
        # On a full disk what is half made would take the room that others need.
        for suffix in ("", "-journal"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        raise
    try:
        new.rename(path)
        sync_directory(path.parent)
    except OSError as exc:
        raise cannot_write(path.parent, exc) from exc


def _write_schema(db: sqlite3.Connection, path: Path, now_ms: int) -> None:
    identity = identify(path)
    schema = resources.files(__package__).joinpath("journal.sql").read_text(encoding="utf-8")
    db.executescript(f"BEGIN; {schema}")
    _set_meta(
        db, format=FORMAT, epoch=_new_epoch(now_ms // 1000), device=identity.device, inode=identity.inode, verified=0
    )  # fmt: skip
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode = WAL")


def open_store(
    path: Path, *, identity: Identity, now_ms: int, later_than: str | None, page_limit: int | None
) -> tuple[sqlite3.Connection, Opened]:
    """Verify the store, begin a new epoch if it is a copy, and return its writer and what it holds.

    Args:
        path: Of the store; it exists.
        identity: Which file that is.
        now_ms: Wall time, for the number of a new epoch.
        later_than: An epoch that a new one must exceed: the one this process has served so far.
        page_limit: Pages that the file may grow to, None for no limit.
    """
    meta, verified = _verify(path, identity)
    epoch, recorded = meta["epoch"], (meta.get("device"), meta.get("inode"))
    # V1: a marked copy, or a file that is not the one the epoch was begun in.
    if "backup" in meta or recorded != (str(identity.device), str(identity.inode)):
        numbers = [epoch_number(known) for known in (epoch, later_than) if known is not None]
        epoch = _new_epoch(max(max(numbers) + 1, now_ms // 1000))
    db = connect(path)
    try:
        _prepare(db, path, page_limit)
        _settle(db)
        # The new log begins with this, so that it says which file it belongs to.
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM meta WHERE key = 'backup'")
        _set_meta(
            db, epoch=epoch, device=identity.device, inode=identity.inode,
            log_inode=identify(log_of(path)).inode, verified=verified.revision,
        )  # fmt: skip
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db, replace(verified, epoch=epoch)


def _verify(path: Path, identity: Identity) -> tuple[dict[str, str], Opened]:
    """Return the store's `meta` and content without changing a byte of it, whoever's file it may be."""
    with reading(path, identity) as (db, meta):
        revision = _check_revisions(db, path, int(meta.get("verified", 0)))
        notes = tuple(Note(*row) for row in db.execute("SELECT kind, id, value FROM notes ORDER BY kind, id"))
        return meta, Opened(meta["epoch"], revision, open_documents(db), notes)


@contextmanager
def reading(path: Path, identity: Identity) -> Iterator[tuple[sqlite3.Connection, dict[str, str]]]:
    """Lend a connection that sees one cut of the store and changes nothing, with the store's `meta`.

    It needs no lock: the owner may go on writing.

    Raises:
        StoreUnavailable: A newer runstate wrote it.
        StoreDamaged: It is not a store, or lies beside the log of another.
    """
    # Before SQLite makes one: an empty log says nothing.
    log = identify(log_of(path)) if log_of(path).exists() and log_of(path).stat().st_size else None
    with closing(connect(path, "ro")) as db:
        db.execute("BEGIN")
        meta = recognise(db, path)
        # A marked copy never had a log; the first that it gets begins with taking the mark away.
        if log is not None and (
            "backup" in meta or (meta.get("log_inode") == str(log.inode) and meta["inode"] != str(identity.inode))
        ):
            raise foreign_log(path)
        yield db, meta


def recognise(db: sqlite3.Connection, path: Path) -> dict[str, str]:
    """Return the store's `meta`, if this is a store that we can read."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        raise StoreDamaged(f"{path} is not a runstate store; move it away or name another data directory with --data")
    meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    found = meta.get("format", "")
    if found.isascii() and found.isdigit() and int(found) > FORMAT:
        raise StoreUnavailable(
            f"store file {path} has format {found}, which a newer runstate wrote; this one reads up to {FORMAT}: upgrade runstate"
        )
    if found != str(FORMAT) or "epoch" not in meta:
        raise StoreDamaged(
            f"store file {path} does not say its format and epoch; restore a backup of it (it was left as it is)"
        )
    return meta


def _prepare(db: sqlite3.Connection, path: Path, page_limit: int | None) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(
            f"the file system of {path} has no shared memory for SQLite; name a local data directory"
        )
    db.execute("PRAGMA synchronous = FULL")
    # macOS: only these reach the platter; elsewhere they do nothing.
    db.execute("PRAGMA fullfsync = ON")
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    db.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
    if page_limit is not None:
        db.execute(f"PRAGMA max_page_count = {page_limit}")


def _settle(db: sqlite3.Connection) -> None:
    """Copy the log into the file, so that what is about to be shown lies on the disk by writes that did not fail (V5).

    The log may hold commits whose fsync failed: the kernel shows them, calls the next fsync a success, and has lost them.
    """
    # Best effort: a full disk must not close the store to its readers, and a failed fsync is rare.
    with suppress(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _check_revisions(db: sqlite3.Connection, path: Path, verified: int) -> int:
    """Return the head's revision after checking that none is missing since the last opening (so that opening stays flat)."""
    revision, floor = head_revision(db), log_floor(db)
    # Up to the floor, commits of which nothing was left have gone.
    known = max(verified, floor)
    count = db.execute("SELECT count(*) FROM commits WHERE revision > ?", (known,)).fetchone()[0]
    if count != revision - known:
        last = f"it ends at revision {revision} but held {known}" if revision < known else (
            f"it holds {count} of the {revision - known} commits after revision {known}"
        )  # fmt: skip
        raise StoreDamaged(
            f"store file {path} has lost commits: {last}; restore a backup of the data directory (the file was left as it is)"
        )
    return revision


def open_documents(db: sqlite3.Connection) -> tuple[Document, ...]:
    """Return every pipeline, each one's current run, and every run that may go on, all verified."""
    found = {document.key: document for document in heads(db, "WHERE kind = 'pipeline' ORDER BY id")}
    # The condition begins as that of the index `active_runs` does, word for word; a run is idle only once it was cancelled.
    active = "WHERE kind = 'run' AND state NOT IN ('success', 'failed', 'stopped') AND state <> 'idle' ORDER BY number"
    found |= {document.key: document for document in heads(db, active)}
    for document in list(found.values()):
        if document.key.kind == "pipeline" and document.pipeline.current_run_id is not None:
            key = Key("run", document.pipeline.current_run_id)
            current = found.get(key) or head(db, key)
            if current is None:
                raise damaged(
                    db,
                    document.key,
                    document.version,
                    document.position.revision,
                    f"its current run {key.id} is missing",
                )
            found[key] = current
    for key, document in found.items():
        if rebuild(db, key, document.version) != document.encoded:
            raise damaged(
                db, key, document.version, document.position.revision,
                f"its history ends in other bytes ({digest(document.encoded)} is its head)",
            )  # fmt: skip
    return tuple(found.values())


def _set_meta(db: sqlite3.Connection, **values: str | int) -> None:
    db.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [(key, str(value)) for key, value in values.items()],
    )


def _new_epoch(number: int) -> str:
    return f"{number}-{secrets.token_hex(4)}"

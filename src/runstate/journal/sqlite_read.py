"""What a SQLite journal can be asked, each inside the caller's one transaction, so that every answer is one cut.

Law: no byte leaves that does not have the digest it was journalled with.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from runstate.core.canonical import FrozenJson, Json, decode, digest, encode
from runstate.core.commit import Change, Commit, Document, Key, restore_document
from runstate.core.errors import Compacted, InvalidValue, NotFound, PeerError, StoreDamaged
from runstate.core.patch import apply
from runstate.core.position import Position
from runstate.ports import Cut, History, HistoryEntry, RunsFilter

PLACE_BITS = 16  # `number` = revision << PLACE_BITS | place in the commit; see journal.sql
MAX_REVISION = 2 ** (63 - PLACE_BITS) - 1

# CAST: a hand that edits the file may leave text where bytes were; that must end as "damaged", not as a TypeError.
_HEADS = "SELECT kind, id, version, revision, epoch, at_ms, old_state, digest, ifnull(CAST(encoded AS BLOB), x'') FROM heads "

_CHAIN = """
SELECT version, number >> 16, digest, CAST(patch AS BLOB), CAST(full AS BLOB) FROM versions
WHERE id = :id AND kind = :kind AND version <= :version AND version >= (
  SELECT version FROM versions WHERE id = :id AND kind = :kind AND version <= :version AND full IS NOT NULL
  ORDER BY version DESC LIMIT 1)
ORDER BY version
"""

_VERSION = """
SELECT kind, id, version, revision, epoch, at_ms, old_state, digest
FROM versions JOIN commits ON revision = number >> 16 WHERE id = ? AND kind = ? AND version = ?
"""

_HISTORY = """
SELECT epoch || '.' || revision, at_ms, cause, version, old_state, new_state, digest, patch
FROM versions JOIN commits ON revision = number >> 16
WHERE id = ? AND kind = ? AND version > ? ORDER BY version LIMIT ?
"""

_COMMITS_OF = """
SELECT revision, epoch, at_ms, cause, kind, id, version, old_state, digest, CAST(patch AS BLOB), CAST(full AS BLOB)
FROM versions JOIN commits ON revision = number >> 16 WHERE id = ? AND kind = ? ORDER BY version
"""


class HeadRow(NamedTuple):
    """One document's latest version, as it stands in the store."""

    key: Key
    version: int
    floor: int


def head_revision(db: sqlite3.Connection) -> int:
    """Return the latest revision, 0 before the first."""
    return int(db.execute("SELECT ifnull(max(revision), 0) FROM commits").fetchone()[0])


def head(db: sqlite3.Connection, key: Key) -> Document | None:
    """Return the latest version of a document."""
    if not _storable(key.id):
        return None
    return next(iter(heads(db, "WHERE id = ? AND kind = ?", (key.id, key.kind))), None)


def heads(db: sqlite3.Connection, where: str, parameters: tuple[Any, ...] = ()) -> list[Document]:
    """Return the latest version of the documents that `where` (our own SQL) selects."""
    return [_document(db, row[:-1], row[-1]) for row in db.execute(_HEADS + where, parameters)]


def version(db: sqlite3.Connection, key: Key, wanted: int) -> Document | None:
    """Return the document as it was at version `wanted`."""
    row = _head_row(db, key)
    if row is None or not 1 <= wanted <= row.version:
        return None
    if wanted < row.floor:
        raise Compacted(f"version {wanted} of {key.kind} {key.id} is no longer kept; the oldest is {row.floor}")
    encoded = rebuild(db, key, wanted)
    found = db.execute(_VERSION, (key.id, key.kind, wanted)).fetchone()
    if found is None:
        raise damaged(db, key, wanted, None, "its commit is missing")
    return _document(db, found, encoded)


def history(db: sqlite3.Connection, key: Key, after: int, limit: int) -> History | None:
    """Return a page of a document's versions."""
    row = _head_row(db, key)
    if row is None:
        return None
    start = min(max(after, row.floor - 1), row.version)
    rows = db.execute(_HISTORY, (key.id, key.kind, start, min(max(limit, 0), row.version)))
    return History(row.floor, row.version, tuple(HistoryEntry(*entry) for entry in rows))


def runs(db: sqlite3.Connection, wanted: RunsFilter) -> Cut:
    """Return a page of runs, newest first.

    Runs created by one commit are never parted, since `before` names revisions: such a page may exceed its limit.
    """
    revision, limit = head_revision(db), max(wanted.limit, 1)
    conditions, parameters = _conditions(db, wanted)
    if conditions is None:
        return Cut(revision, (), None)
    where = " AND ".join(["kind = 'run'", *conditions])
    page = f"SELECT number FROM heads WHERE {where} ORDER BY number DESC LIMIT ?"  # noqa: S608 — `where` is made of our own words
    numbers = [number for (number,) in db.execute(page, (*parameters, limit + 1))]
    if len(numbers) <= limit:
        return Cut(revision, tuple(heads(db, f"WHERE {where} ORDER BY number DESC", parameters)), None)
    last = numbers[limit - 1] >> PLACE_BITS
    first_number = last << PLACE_BITS
    documents = heads(db, f"WHERE {where} AND number >= ? ORDER BY number DESC", (*parameters, first_number))
    more = numbers[limit] < first_number or _any_before(db, where, parameters, first_number)
    return Cut(revision, tuple(documents), last if more else None)


def log_floor(db: sqlite3.Connection) -> int:
    """Return the revision after which every commit has all of its versions, 0 where nothing was ever compacted."""
    row = db.execute("SELECT value FROM meta WHERE key = 'floor'").fetchone()
    return 0 if row is None else int(row[0])


def commits_after(db: sqlite3.Connection, revision: int, limit: int | None) -> list[Commit]:
    """Return the first commits after `revision` with whole documents, in order."""
    floor = log_floor(db)
    if max(revision, 0) < floor:
        raise Compacted(f"the commits after revision {revision} are no longer kept; those after {floor} are")
    return kept_commits(db, revision, limit)


def kept_commits(db: sqlite3.Connection, revision: int, limit: int | None) -> list[Commit]:
    """Return what is left of the first commits after `revision` of which anything is left, in order."""
    revision = min(max(revision, 0), MAX_REVISION - 1)
    headers = db.execute(
        "SELECT revision, epoch, at_ms, cause FROM commits WHERE revision > ? ORDER BY revision LIMIT ?",
        (revision, -1 if limit is None else max(limit, 0)),
    ).fetchall()
    if not headers:
        return []
    rows = db.execute(
        "SELECT number >> 16, kind, id, version, old_state, digest, CAST(patch AS BLOB), CAST(full AS BLOB) FROM versions "
        "WHERE number >= ? AND number < ? ORDER BY number",
        ((revision + 1) << PLACE_BITS, (headers[-1][0] + 1) << PLACE_BITS),
    )
    by_revision: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_revision.setdefault(row[0], []).append(row[1:])
    latest: dict[Key, Json] = {}
    commits = []
    for number, epoch, at_ms, cause in headers:
        position = Position(epoch, number)
        changes = tuple(_change(db, latest, position, at_ms, row) for row in by_revision.get(number, ()))
        commits.append(Commit(position, at_ms, FrozenJson(decode(cause or b"")), changes))
    return commits


def commits_of(db: sqlite3.Connection, key: Key) -> Iterator[Commit]:
    """Return what every kept commit did to one document, in order.

    Raises:
        NotFound: There is no such document.
    """
    if _head_row(db, key) is None:
        raise NotFound(f"there is no {key.kind} {key.id} in this store")
    latest: dict[Key, Json] = {}
    for revision, epoch, at_ms, cause, *row in db.execute(_COMMITS_OF, (key.id, key.kind)):
        position = Position(epoch, revision)
        change = _change(db, latest, position, at_ms, tuple(row))
        yield Commit(position, at_ms, FrozenJson(decode(cause or b"")), (change,))


def rebuild(db: sqlite3.Connection, key: Key, version: int) -> bytes:
    """Return the bytes of a version, made from the whole document before it and the patches since.

    Raises:
        StoreDamaged: They do not have the digest they were journalled with.
    """
    rows = db.execute(_CHAIN, {"id": key.id, "kind": key.kind, "version": version}).fetchall()
    if not rows or [row[0] for row in rows] != list(range(version - len(rows) + 1, version + 1)):
        raise damaged(db, key, version, None, "a version it is made from is missing")
    _, revision, recorded, _, full = rows[-1]
    if full is None:
        try:
            value = decode(rows[0][4])
            for row in rows[1:]:
                value = apply(value, decode(row[3] or b""))
            full = encode(value)
        except (InvalidValue, PeerError) as exc:
            raise damaged(db, key, version, revision, f"its patches do not fit ({exc})") from exc
    if digest(full) != recorded:
        raise damaged(db, key, version, revision, "its bytes do not have the recorded digest")
    return bytes(full)


def damaged(db: sqlite3.Connection, key: Key, version: int, revision: int | None, what: str) -> StoreDamaged:
    """Return the error for a version that does not verify."""
    where = "" if revision is None else f" (revision {revision})"
    file = db.execute("PRAGMA database_list").fetchone()[2]
    return StoreDamaged(
        f"{key.kind} {key.id} version {version}{where} in {file} does not verify: {what}; "
        "restore a backup of the data directory (the file was left as it is)"
    )


def _head_row(db: sqlite3.Connection, key: Key) -> HeadRow | None:
    if not _storable(key.id):
        return None
    row = db.execute("SELECT version, floor FROM heads WHERE id = ? AND kind = ?", (key.id, key.kind)).fetchone()
    return None if row is None else HeadRow(key, *row)


def _document(db: sqlite3.Connection, row: tuple[Any, ...], encoded: bytes) -> Document:
    kind, name, version, revision, epoch, at_ms, old_state, recorded = row
    if digest(encoded) != recorded:
        raise damaged(db, Key(kind, name), version, revision, "its bytes do not have the recorded digest")
    try:
        found = restore_document(kind, encoded, position=Position(epoch, revision), at_ms=at_ms, old_state=old_state)
    except InvalidValue as exc:
        raise damaged(db, Key(kind, name), version, revision, str(exc)) from exc
    if (found.key, found.version) != (Key(kind, name), version):
        raise damaged(db, Key(kind, name), version, revision, f"its bytes are {found.key.id} version {found.version}")
    return found


def _change(
    db: sqlite3.Connection, latest: dict[Key, Json], position: Position, at_ms: int, row: tuple[Any, ...]
) -> Change:
    kind, name, version, old_state, recorded, patch, full = row
    key = Key(kind, name)
    if full is not None:
        encoded = full
    elif key in latest:
        try:
            encoded = encode(apply(latest[key], decode(patch or b"")))
        except (InvalidValue, PeerError) as exc:
            raise damaged(db, key, version, position.revision, f"its patch does not fit ({exc})") from exc
    else:
        encoded = rebuild(db, key, version)
    header = (kind, name, version, position.revision, position.epoch, at_ms, old_state, recorded)
    document = _document(db, header, encoded)
    latest[key] = decode(encoded)
    return Change(document, patch)


def _conditions(db: sqlite3.Connection, wanted: RunsFilter) -> tuple[list[str] | None, tuple[Any, ...]]:
    """Return the SQL of a filter and its parameters; None where no run can match."""
    asked = {"pipeline": wanted.pipeline, "status": wanted.status, "state": wanted.state}
    if not all(_storable(word) for word in asked.values() if word is not None):
        return None, ()
    if wanted.state is not None and wanted.status is not None:
        # D3: the state decides the status, so one row tells, and an index on both is not needed.
        row = db.execute(
            "SELECT status FROM heads WHERE kind = 'run' AND state = ? LIMIT 1", (wanted.state,)
        ).fetchone()
        if row is None or row[0] != wanted.status:
            return None, ()
        del asked["status"]
    conditions = [f"{column} = ?" for column, word in asked.items() if word is not None]
    parameters: tuple[Any, ...] = tuple(word for word in asked.values() if word is not None)
    if wanted.before is not None:
        conditions.append("number < ?")
        parameters = (*parameters, min(max(wanted.before, 0), MAX_REVISION) << PLACE_BITS)
    return conditions, parameters


def _any_before(db: sqlite3.Connection, where: str, parameters: tuple[Any, ...], number: int) -> bool:
    found = f"SELECT EXISTS (SELECT 1 FROM heads WHERE {where} AND number < ?)"  # noqa: S608 — as above
    return bool(db.execute(found, (*parameters, number)).fetchone()[0])


def _storable(text: str) -> bool:
    """Whether SQLite could hold `text`: a lone surrogate is in no document, so nothing is known by it."""
    return text.isascii() or text == text.encode(errors="replace").decode()

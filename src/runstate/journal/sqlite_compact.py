"""One turn of compaction, inside the caller's transaction: the oldest versions of some documents go.

Law: a version that stays can still be made, byte for byte. So the new floor is verified and made whole before anything
below it goes; a document that does not verify is left alone, for `journal check` to name.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from runstate.core.commit import Key
from runstate.core.errors import StoreDamaged
from runstate.journal.sqlite_read import PLACE_BITS, log_floor, rebuild
from runstate.journal.sqlite_write import FULL_EVERY
from runstate.ports import Compaction, Retention

EXAMINED_AT_ONCE = 2000  # heads that one turn looks at; most have nothing to give

_HEADS = "SELECT number, kind, id, version, floor FROM heads WHERE number > ? ORDER BY number LIMIT ?"
_TIMES = """
SELECT at_ms FROM versions JOIN commits ON revision = number >> 16
WHERE id = ? AND kind = ? AND version >= ? AND version < ? ORDER BY version LIMIT ?
"""
_GOING = "SELECT number >> 16 FROM versions WHERE id = ? AND kind = ? AND version < ? ORDER BY version"
_EMPTY = (
    "DELETE FROM commits WHERE revision = ? AND NOT EXISTS (SELECT 1 FROM versions WHERE number >= ? AND number < ?)"
)
_FLOOR = "INSERT INTO meta VALUES ('floor', ?) ON CONFLICT DO UPDATE SET value = excluded.value"


@dataclass(slots=True)
class _Turn:
    """What a turn has done so far."""

    left: int  #: Versions that may still be touched, be it to go or to be replayed.
    versions: int = 0
    commits: int = 0
    damaged: int = 0
    floor: int = 0  #: Latest revision of which something is gone.


def compact(db: sqlite3.Connection, retention: Retention, *, after: int, limit: int) -> Compaction:
    """Do one turn; see the port. `after` is the number of the head that the turn before has seen last."""
    turn = _Turn(left=max(limit, 1), floor=log_floor(db))
    rows = db.execute(_HEADS, (after, EXAMINED_AT_ONCE)).fetchall()
    following: int | None = None if len(rows) < EXAMINED_AT_ONCE else rows[-1][0]
    for number, kind, name, version, floor in rows:
        if version == floor:
            continue
        if turn.left <= 0:
            following = number - 1
            break
        key = Key(kind, name)
        end, wanted = _new_floor(db, key, floor, version, retention, turn.left)
        if end > floor and not _raise_floor(db, key, floor, end, turn):
            continue
        if end < wanted:
            following = number - 1
            break
    if turn.versions:
        db.execute(_FLOOR, (str(turn.floor),))
    return Compaction(turn.versions, turn.commits, turn.damaged, turn.floor, following)


def _new_floor(
    db: sqlite3.Connection, key: Key, floor: int, head: int, retention: Retention, limit: int
) -> tuple[int, int]:
    """Return the floor that this turn gives a document, and one that it shall have at least."""
    wanted = floor
    if retention.keep_versions is not None:
        wanted = max(wanted, head - max(retention.keep_versions, 1) + 1)
    if retention.before_ms is not None:
        # One more than may go now, so that a turn knows whether it is done.
        times = db.execute(_TIMES, (key.id, key.kind, floor, head, limit + 1)).fetchall()
        young = (index for index, (at_ms,) in enumerate(times) if at_ms >= retention.before_ms)
        wanted = max(wanted, floor + next(young, len(times)))
    end = min(wanted, floor + limit)
    # On the way a floor that is whole already costs nothing.
    whole = end - end % FULL_EVERY
    return (whole if end < wanted and whole > floor else end), wanted


def _raise_floor(db: sqlite3.Connection, key: Key, floor: int, end: int, turn: _Turn) -> bool:
    """Remove the versions below `end`; return False, with nothing changed, if that one does not verify."""
    turn.left -= end - floor + min(end % FULL_EVERY, end - floor)
    try:
        encoded = rebuild(db, key, end)
    except StoreDamaged:
        turn.damaged += 1
        return False
    where = (key.id, key.kind, end)
    db.execute(
        "UPDATE versions SET full = ? WHERE id = ? AND kind = ? AND version = ? AND full IS NULL", (encoded, *where)
    )
    db.execute("UPDATE heads SET floor = ? WHERE id = ? AND kind = ?", (end, key.id, key.kind))
    revisions = [revision for (revision,) in db.execute(_GOING, where)]
    db.execute("DELETE FROM versions WHERE id = ? AND kind = ? AND version < ?", where)
    emptied = db.executemany(
        _EMPTY, [(revision, revision << PLACE_BITS, (revision + 1) << PLACE_BITS) for revision in revisions]
    ).rowcount
    turn.versions += len(revisions)
    turn.commits += emptied
    turn.floor = max(turn.floor, *revisions)
    return True

"""How a batch of commits becomes rows, inside the caller's transaction.

A document's row in `heads` is written once per batch, with its last version. Most commits are progress, which leaves
state and status alone; those rows are updated by a statement that touches no index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from runstate.core.commit import Change, Commit, Document, Key, Note
from runstate.core.model import PipelineDocument
from runstate.journal.batch import fold_notes
from runstate.journal.sqlite_read import PLACE_BITS

FULL_EVERY = 64  # versions between whole documents: a read replays at most 63 patches

_CREATE = "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)"
_LATEST = "version = ?, revision = ?, epoch = ?, at_ms = ?, old_state = ?, digest = ?, encoded = ?"
# The version before stands in the condition: a step that does not follow the head changes no row.
_WHERE = "WHERE id = ? AND kind = ? AND version = ?"
_MOVE = f"UPDATE heads SET state = ?, status = ?, {_LATEST} {_WHERE}"  # noqa: S608 — our own words
_STAY = f"UPDATE heads SET {_LATEST} {_WHERE}"  # noqa: S608 — as above


def write_batch(db: sqlite3.Connection, commits: Sequence[Commit], notes: Sequence[Note]) -> None:
    """Write everything that `commits` and `notes` say."""
    db.executemany(
        "INSERT INTO commits VALUES (?, ?, ?, ?)",
        [(commit.position.revision, commit.position.epoch, commit.at_ms, commit.cause.encoded) for commit in commits],
    )
    versions: list[tuple[Any, ...]] = []
    steps: dict[Key, tuple[int, Document, Document]] = {}  # number of the first step, first, last
    for commit in commits:
        number = commit.position.revision << PLACE_BITS
        for change in commit.changes:
            document = change.document
            versions.append(_version_row(number, change))
            known = steps.get(document.key)
            steps[document.key] = (number, document, document) if known is None else (known[0], known[1], document)
            number += 1
    db.executemany("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", versions)
    _write_heads(db, steps)
    _write_notes(db, fold_notes(commits, notes))


def state_and_status(document: Document) -> tuple[str, str]:
    """Return what runs are filtered by; nothing for a pipeline."""
    value = document.value
    return ("", "") if isinstance(value, PipelineDocument) else (value.state, value.status)


def _version_row(number: int, change: Change) -> tuple[Any, ...]:
    document = change.document
    kind, name = document.key
    version = document.version
    full = document.encoded if change.patch is None or version % FULL_EVERY == 0 else None
    state, _ = state_and_status(document)
    return number, kind, name, version, document.old_state, state, document.digest, change.patch, full


def _write_heads(db: sqlite3.Connection, steps: dict[Key, tuple[int, Document, Document]]) -> None:
    created, moved, stayed = [], [], []
    for (kind, name), (number, first, last) in steps.items():
        state = state_and_status(last)
        latest = (
            last.version, last.position.revision, last.position.epoch, last.at_ms, last.old_state, last.digest, last.encoded
        )  # fmt: skip
        if first.version == 1:
            created.append((number, kind, name, last.value.pipeline, *state, *latest))
        elif first.old_state != state[0]:
            moved.append((*state, *latest, name, kind, first.version - 1))
        else:
            stayed.append((*latest, name, kind, first.version - 1))
    db.executemany(_CREATE, created)
    found = db.executemany(_MOVE, moved).rowcount if moved else 0
    found += db.executemany(_STAY, stayed).rowcount if stayed else 0
    assert found == len(moved) + len(stayed), "a batch holds a version that does not follow its document's head"


def _write_notes(db: sqlite3.Connection, folded: dict[tuple[str, str], bytes | None]) -> None:
    if not folded:
        return
    db.executemany(
        "DELETE FROM notes WHERE kind = ? AND id = ?", [key for key, value in folded.items() if value is None]
    )
    db.executemany(
        "INSERT INTO notes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [(*key, value) for key, value in folded.items() if value is not None],
    )

"""A list costs what it shows, however many runs there are: every query is a walk along an index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import product

import pytest

from runstate.core.commit import Key
from runstate.journal import sqlite_read
from runstate.journal.sqlite_compact import compact
from runstate.journal.sqlite_open import open_documents
from runstate.ports import Retention, RunsFilter
from tests.journal.worlds import NOW_MS, fill, open_store


def filters():
    for pipeline, status, state, before in product(
        (None, "market"), (None, "running"), (None, "running_translator"), (None, 9)
    ):
        yield RunsFilter(pipeline, status, state, before, limit=1)


QUESTIONS = [
    *(lambda db, wanted=wanted: sqlite_read.runs(db, wanted) for wanted in filters()),
    lambda db: sqlite_read.head(db, Key("run", "r1")),
    lambda db: sqlite_read.version(db, Key("run", "r1"), 2),
    lambda db: sqlite_read.history(db, Key("run", "r1"), 0, 10),
    lambda db: sqlite_read.commits_after(db, 1, 10),
    lambda db: list(sqlite_read.commits_of(db, Key("run", "r1"))),
    lambda db: compact(db, Retention(keep_versions=1, before_ms=NOW_MS * 2), after=0, limit=10),
    open_documents,
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_walks_an_index(tmp_path, question):
    """No question sorts or reads a whole table."""
    journal, opened = open_store(tmp_path)
    fill(journal, opened)
    journal.close()
    asked: list[str] = []
    with closing(sqlite3.connect(journal.path)) as db:
        db.set_trace_callback(asked.append)
        question(db)
        db.set_trace_callback(None)
        plans = [(sql, row[3]) for sql in asked for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]

    assert len(plans) > 0
    # Newest first without a filter is a walk from the end of the table, which is in that order; SQLite calls it a scan.
    slow = [
        (sql, step)
        for sql, step in plans
        if "TEMP B-TREE" in step or (step.startswith("SCAN") and "INDEX" not in step and not is_walk_from_the_end(sql))
    ]
    assert slow == []


def is_walk_from_the_end(sql: str) -> bool:
    return (
        "WHERE kind = 'run' ORDER BY number DESC" in sql or "WHERE kind = 'run' AND number" in sql or "CONSTANT" in sql
    )

"""Commits, documents and history as plain values that compare, and the errors that tell a broken promise."""

from __future__ import annotations

from collections.abc import Iterable

from runstate.core.commit import Change, Commit, Document
from runstate.ports import HistoryEntry


def same(actual: object, expected: object, promise: str) -> None:
    """Check that two values are equal.

    Raises:
        AssertionError: They are not; the text begins with `promise`.
    """
    if actual != expected:
        raise AssertionError(f"{promise}: expected {_short(expected)}, got {_short(actual)}")


def same_document(actual: Document | None, expected: Document, promise: str) -> None:
    """Check that a document came back byte for byte, with all that belongs to it."""
    same(actual and spell_document(actual), spell_document(expected), promise)
    # Equal bytes must also have come back as an equal value.
    same(actual and actual.value.to_dict(), expected.value.to_dict(), f"the value of {promise}")


def spell(commits: Iterable[Commit]) -> list[object]:
    """Return all that a reader can see of commits, as values that compare."""
    return [
        (str(commit.position), commit.at_ms, commit.cause.encoded, [spell_change(change) for change in commit.changes])
        for commit in commits
    ]


def spell_change(change: Change) -> tuple[object, ...]:
    """Return a change as a value."""
    return (*spell_document(change.document), change.patch)


def spell_document(document: Document) -> tuple[object, ...]:
    """Return a document as a value."""
    return (
        document.key, document.encoded, document.digest, str(document.position), document.at_ms, document.old_state,
        document.version,
    )  # fmt: skip


def spell_step(commit: Commit) -> tuple[object, ...]:
    """Return the history entry that a commit of one run makes, as a value."""
    document, patch = commit.changes[0].document, commit.changes[0].patch
    return (
        str(commit.position), commit.at_ms, commit.cause.encoded, document.version, document.old_state,
        document.run.state, document.digest, patch,
    )  # fmt: skip


def spell_entry(entry: HistoryEntry) -> tuple[object, ...]:
    """Return a history entry as a value, comparable with `spell_step`."""
    return (
        entry.commit_position, entry.at_ms, entry.cause, entry.version, entry.old_state, entry.new_state, entry.digest,
        entry.patch,
    )  # fmt: skip


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 2_000 else text[:2_000] + " …"

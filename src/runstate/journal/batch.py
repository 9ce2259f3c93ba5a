"""What every journal checks and folds before it writes a batch. A batch that is wrong is a bug of the caller."""

from __future__ import annotations

from collections.abc import Sequence

from runstate.core.commit import Commit, Note
from runstate.core.position import Position


def check_batch(commits: Sequence[Commit], *, epoch: str, revision: int) -> None:
    """Check that `commits` follow `revision` in `epoch` without a hole (PROTOCOL V2)."""
    for commit in commits:
        revision += 1
        expected = Position(epoch, revision)
        assert commit.position == expected, f"a journal was given commit {commit.position} where {expected} comes next"


def fold_notes(commits: Sequence[Commit], notes: Sequence[Note]) -> dict[tuple[str, str], bytes | None]:
    """Return what remains of a batch's notes: those of its commits in order, then those beside them; the last one counts."""
    folded = {(note.kind, note.id): note.value for commit in commits for note in commit.notes}
    folded.update({(note.kind, note.id): note.value for note in notes})
    return folded

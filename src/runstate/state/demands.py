"""What a command demands of its commit: that nothing has moved (PROTOCOL C2), and that its answer is kept with it (C3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runstate.core.commit import Document, Note
from runstate.core.errors import Conflict

MakeAnswer = Callable[[Document], Note]


@dataclass(frozen=True, slots=True)
class Demands:
    """Judged and carried out in the commit itself, with no await in between."""

    expected: frozenset[str] | None = None  #: Positions, one of which the document must be at; None: any.
    answer: MakeAnswer | None = None  #: Makes the note that keeps the answer, of the commit's first document.

    def check(self, what: str, *documents: Document | None) -> None:
        """Check that one of `documents`, as decided now, is at an expected position.

        Raises:
            Conflict: None is.
        """
        there = [document.position for document in documents if document is not None]
        if self.expected is not None and not any(str(position) in self.expected for position in there):
            raise Conflict(what, max((position.revision for position in there), default=0))


NO_DEMANDS = Demands()

"""What is journalled beside the documents and never shown: runs' ledgers and commands' answers, as decided so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from runstate.core.commit import Note
from runstate.core.model import Ledger, decode_ledger, encode_ledger

LEDGER: Final = "ledger"
ANSWER: Final = "answer"


class Notes:
    """The latest value of each note; the manager's alone to change."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._ledgers: dict[str, Ledger] = {}
        self.answers: dict[str, bytes] = {}  #: By the name of an idempotency key (PROTOCOL C3).
        for note in notes:
            self.take(note)

    def take(self, note: Note) -> None:
        """Take what a commit or a caller notes."""
        if note.kind == LEDGER:
            self._ledgers.pop(note.id, None)
            if note.value is not None:
                self._ledgers[note.id] = decode_ledger(note.value)
        elif note.kind == ANSWER:
            self.answers.pop(note.id, None)
            if note.value is not None:
                self.answers[note.id] = note.value

    def ledger(self, run_id: str) -> Ledger:
        """Return a run's ledger."""
        return self._ledgers.get(run_id, Ledger())


def ledger_note(run_id: str, ledger: Ledger | None) -> Note:
    """Return the note of a run's ledger; None lets go of it."""
    return Note(LEDGER, run_id, None if ledger is None else encode_ledger(ledger))

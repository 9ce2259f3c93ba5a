"""What is journalled beside the documents and never shown, as decided so far.

Ledgers of runs, memories of pipelines, answers of commands, reporters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from runstate.core.commit import Note
from runstate.core.health import Memory, decode_memory, encode_memory
from runstate.core.model import Ledger, decode_ledger, encode_ledger
from runstate.core.reports import Reporter

LEDGER: Final = "ledger"
MEMORY: Final = "memory"
ANSWER: Final = "answer"
REPORTER: Final = "reporter"


class Notes:
    """The latest value of each note; the manager's alone to change."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._ledgers: dict[str, Ledger] = {}
        self._memories: dict[str, Memory] = {}
        self.answers: dict[str, bytes] = {}  #: By the name of an idempotency key (PROTOCOL C3).
        self.reporters: dict[str, Reporter] = {}  #: By run (PROTOCOL C8).
        for note in notes:
            self.take(note)

    def take(self, note: Note) -> None:
        """Take what a commit or a caller notes."""
        if note.kind == LEDGER:
            self._ledgers.pop(note.id, None)
            if note.value is not None:
                self._ledgers[note.id] = decode_ledger(note.value)
        elif note.kind == MEMORY:
            self._memories.pop(note.id, None)
            if note.value is not None:
                self._memories[note.id] = decode_memory(note.value)
        elif note.kind == ANSWER:
            self.answers.pop(note.id, None)
            if note.value is not None:
                self.answers[note.id] = note.value
        elif note.kind == REPORTER:
            self.reporters.pop(note.id, None)
            if note.value is not None:
                self.reporters[note.id] = decode_reporter(note.value)

    def ledger(self, run_id: str) -> Ledger:
        """Return a run's ledger."""
        return self._ledgers.get(run_id, Ledger())

    def memory(self, pipeline: str) -> Memory | None:
        """Return what is remembered of a pipeline; None: it has not been served since memories are kept."""
        return self._memories.get(pipeline)


def ledger_note(run_id: str, ledger: Ledger | None) -> Note:
    """Return the note of a run's ledger; None lets go of it."""
    return Note(LEDGER, run_id, None if ledger is None else encode_ledger(ledger))


def reporter_note(run_id: str, reporter: Reporter | None) -> Note:
    """Return the note of who executes a run elsewhere; None lets go of it."""
    return Note(REPORTER, run_id, None if reporter is None else msgspec.json.encode(reporter))


def memory_note(pipeline: str, memory: Memory) -> Note:
    """Return the note of a pipeline's memory."""
    return Note(MEMORY, pipeline, encode_memory(memory))


def decode_reporter(encoded: bytes) -> Reporter:
    """Return the reporter that a note holds; raises ValueError where it holds none."""
    return msgspec.json.decode(encoded, type=Reporter)

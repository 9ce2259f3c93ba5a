"""Head: the durable truth that readers see. Frozen documents in plain dicts; reading takes no lock and no await.

Only the manager swaps it, commit by commit, once a commit is durable (PROTOCOL V5). In memory stand every pipeline, its
current run and every run that is not over; older runs are the journal's.
"""

from __future__ import annotations

from collections.abc import Iterable

from runstate.core.canonical import digest
from runstate.core.commit import Commit, Document, Key
from runstate.core.errors import NotFound
from runstate.core.machine import is_over
from runstate.core.model import RunContext
from runstate.core.position import Position
from runstate.core.reader import Topics
from runstate.core.run import never_run
from runstate.ports import Opened


class Head:
    """The latest durable version of everything that is in memory."""

    def __init__(self, opened: Opened) -> None:
        self.epoch = opened.epoch  #: Of the store's present incarnation (PROTOCOL V1).
        self.revision = opened.revision  #: Of the latest durable commit.
        self.default: str | None = None  #: The pipeline that is meant where none is named.
        self._documents = {document.key: document for document in opened.documents}

    @property
    def position(self) -> Position:
        """Of the latest durable commit (PROTOCOL V4)."""
        return Position(self.epoch, self.revision)

    def swap(self, commit: Commit) -> list[Document]:
        """Show `commit` from now on and return the documents that it touched; the manager's alone to call."""
        documents = [change.document for change in commit.changes]
        self.revision = commit.position.revision
        self._documents |= {document.key: document for document in documents}
        for document in documents:
            if document.key.kind == "pipeline":
                self._forget_left_runs(document)
        return documents

    def _forget_left_runs(self, owner: Document) -> None:
        left = [
            key
            for key, document in self._documents.items()
            if key.kind == "run"
            and document.run.pipeline == owner.key.id
            and key.id != owner.pipeline.current_run_id
            and is_over(document.run.state)
        ]
        for key in left:
            del self._documents[key]

    def get(self, key: Key) -> Document | None:
        """Return a document that is in memory."""
        return self._documents.get(key)

    def run(self, run_id: str) -> Document | None:
        """Return a run that is in memory: every active and every current one is."""
        return self._documents.get(Key("run", run_id))

    def pipeline(self, name: str | None = None) -> Document:
        """Return a pipeline's document; without a name the default pipeline's.

        Raises:
            NotFound: No such pipeline.
        """
        wanted = self.default if name is None else name
        if wanted is None:
            raise NotFound("no pipeline is served here")
        document = self._documents.get(Key("pipeline", wanted))
        if document is None:
            raise NotFound(f"there is no pipeline {wanted}; GET /api/pipelines lists those that are")
        return document

    def pipelines(self) -> list[Document]:
        """Return every pipeline's document, by name."""
        return sorted((d for k, d in self._documents.items() if k.kind == "pipeline"), key=lambda d: d.key.id)

    def state(self, name: str | None = None) -> RunContext:
        """Return the current run of a pipeline, or its never-run document (PROTOCOL D5).

        Raises:
            NotFound: No such pipeline.
        """
        value = self.pipeline(name).pipeline
        if value.current_run_id is None:
            return never_run(pipeline=value.pipeline, plan=value.stage_order, epoch=self.epoch)
        return self._documents[Key("run", value.current_run_id)].run

    def status(self, name: str | None = None) -> Document:
        """Return what a status poll shows, as a document (PROTOCOL H1, D5).

        Raises:
            NotFound: No such pipeline.
        """
        owner = self.pipeline(name)
        if owner.pipeline.current_run_id is not None:
            return self._documents[Key("run", owner.pipeline.current_run_id)]
        value = self.state(name)
        encoded = value.encoded()
        return Document(Key("run", ""), value, encoded, digest(encoded), owner.position, owner.at_ms, "idle")

    def active_runs(self) -> list[Document]:
        """Return every run that is not over, oldest change first."""
        runs = [d for k, d in self._documents.items() if k.kind == "run" and not is_over(d.run.state)]
        return sorted(runs, key=lambda d: d.position.revision)

    def is_current(self, document: Document) -> bool:
        """Return whether a run document is its pipeline's current run."""
        if document.key.kind == "pipeline":
            return False
        owner = self._documents.get(Key("pipeline", document.run.pipeline))
        return owner is not None and owner.pipeline.current_run_id == document.key.id

    def shown(self, topics: Topics) -> Iterable[Document]:
        """Return all that `topics` show now, pipelines first."""
        wanted = [d for d in self._documents.values() if topics.wants(d, current=self.is_current(d))]
        return sorted(wanted, key=lambda d: (d.key.kind, d.key.id))

"""What the journal says of the runs that were seen: their history read while they go on, and each patch replayed.

Durable means: asked afterwards, the history holds every version that anybody saw, with that digest and position, without
a hole, and the patches lead from each document to the next (PROTOCOL V3, H5, H6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from runstate.client.errors import ServerUnreachable
from runstate.core.canonical import Json, decode, digest, encode
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.patch import apply
from runstate.core.position import Position
from runstate.verify.answers import Answers
from runstate.verify.polls import Asker, Unanswered
from runstate.verify.recorder import Order, Recorder, Sighting

PAGE = 1000
EVERY_S = 1.0
ANSWER_S = 5.0
MAX_RUNS = 200  # of those that were seen, the latest
READ_AGAIN = 24  # versions that are fetched once more, drawn by the seed


class _Commit(msgspec.Struct):
    version: int
    position: str
    digest: str
    patch: Any = None


class _Page(msgspec.Struct):
    floor: int
    head: int
    commits: list[_Commit]


_page = msgspec.json.Decoder(_Page)


@dataclass(slots=True)
class Book:
    """One run's history, as far as it was read."""

    start: int  #: The first version that is asked for, or that retention has left.
    last: int  #: The last version read; `start − 1` before the first.
    made: dict[int, tuple[str, str]] = field(default_factory=dict)  #: Position and digest by version.
    document: Json = None  #: At the last version read; None before the first.


@dataclass
class Journal:
    """Reads the history of every run that somebody saw."""

    recorder: Recorder
    http: httpx.AsyncClient
    random: Random
    books: dict[str, Book] = field(default_factory=dict)
    left_out: int = 0  #: Runs beyond `MAX_RUNS`.
    is_partial: bool = False  #: There was no time to read everything; what was not read is not judged.

    def versions(self, run_id: str) -> dict[int, Sighting]:
        """Return what was seen of a run."""
        return {version: seen for (_, version), seen in self.recorder.sightings[("run", run_id)].items()}

    async def follow(self) -> None:
        """Read on, again and again, until cancelled; what is read early need not be read at the end."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.read()
            except ServerUnreachable:  # perhaps it starts anew; at the end it must answer
                await asyncio.sleep(EVERY_S)

    async def read(self, until_ms: int | None = None) -> None:
        """Read the history of each run up to what was seen, or until it is `until_ms`.

        Raises:
            ServerUnreachable: It does not answer.
            Violation: What is read contradicts itself.
        """
        runs = [name for kind, name in list(self.recorder.sightings) if kind == "run"]
        self.left_out = max(0, len(runs) - MAX_RUNS)
        for run_id in runs[-MAX_RUNS:]:
            seen = self.versions(run_id)
            book = self.books.get(run_id) or self.books.setdefault(run_id, Book(min(seen), min(seen) - 1))
            while book.last < max(seen):
                if until_ms is not None and self.recorder.now_ms() > until_ms:
                    self.is_partial = True
                    return
                if not await self._turn(run_id, book):
                    break

    async def finish(self, until_ms: int) -> None:
        """Read the rest, and hold everything that was seen against it.

        Args:
            until_ms: When to stop reading, since the beginning.

        Raises:
            ServerUnreachable: It does not answer.
            Violation: Something is missing, or is not as it was seen.
        """
        await self.read(until_ms)
        for run_id, book in self.books.items():
            for version, seen in self.versions(run_id).items():
                # Another incarnation of the store may begin before what was seen of the last one (PROTOCOL V1).
                is_read = version <= book.last or not self.is_partial
                if version >= book.start and is_read and len(self.recorder.epochs) < 2:
                    self._hold(run_id, version, seen, book)
        await self._read_again()

    async def _turn(self, run_id: str, book: Book) -> bool:
        """Read a page; return whether it had something new."""
        path = f"api/runs/{quote(run_id, safe='')}/history"
        raw = await self._get(path, {"after": book.last, "limit": PAGE})
        try:
            page = _page.decode(raw or b"")
        except msgspec.DecodeError as exc:
            self.recorder.fail("durable", f"the history cannot be read: {exc}", path)
        if page.floor > book.last + 1:  # retention took what was before
            book.start, book.last, book.document = page.floor, page.floor - 1, None
        for commit in page.commits:
            if commit.version != book.last + 1:
                self.recorder.fail("durable", f"the history of run {run_id} has no version {book.last + 1}", path)
            await self._replay(run_id, book, commit)
            book.last = commit.version  # last: whoever is cancelled while waiting has not read it
        return bool(page.commits)

    async def _replay(self, run_id: str, book: Book, commit: _Commit) -> None:
        name = f"run {run_id} v{commit.version}"
        if book.document is None:
            raw = await self._get(f"api/runs/{quote(run_id, safe='')}/versions/{commit.version}", {})
            if raw is None:  # retention takes it just now
                book.start = commit.version + 1
                return
            found, document = digest(raw), decode(raw)
        else:
            try:
                document = apply(book.document, commit.patch)
                found = digest(encode(document))
            except (PeerError, InvalidValue) as exc:
                self.recorder.fail("durable", f"the patch to {name} does not fit: {exc}", "history")
        self.recorder.checks["durable"] += 1
        if found != commit.digest:
            what = f"the history's patch leads to {found}, and its digest is {commit.digest}"
            self.recorder.fail("durable", what, f"history: {name} at {commit.position}")
        before = book.made.get(commit.version - 1)
        if before is not None and Position.parse(before[0]).order >= Position.parse(commit.position).order:
            self.recorder.fail(
                "ordered", f"{name} stands at {commit.position}, and the version before at {before[0]}", "history"
            )
        book.document = document
        book.made[commit.version] = commit.position, commit.digest

    def _hold(self, run_id: str, version: int, seen: Sighting, book: Book) -> None:
        self.recorder.checks["durable"] += 1
        line = f"{seen.reader} at {seen.at_ms / 1000:.3f} s: run {run_id} v{version} at {seen.row.position} {seen.row.digest}"
        made = book.made.get(version)
        if made is None:
            self.recorder.fail("durable", f"v{version} was seen and is not in the history up to v{book.last}", line)
        if made != (seen.row.position, seen.row.digest):
            what = f"the history has v{version} at {made[0]} with {made[1]}"
            self.recorder.fail("durable", what, line)

    async def _read_again(self) -> None:
        """Fetch some of the versions that were seen, to compare their bytes."""
        known = [(run_id, version) for run_id, book in self.books.items() for version in book.made]
        for run_id, version in self.random.sample(known, min(READ_AGAIN, len(known))):
            try:
                answers = Answers("versions", self.recorder)  # each by itself: these go back and forth
                await Asker(answers, self.http, self.random).ask(
                    f"api/runs/{quote(run_id, safe='')}/versions/{version}"
                )
            except Unanswered as exc:
                if exc.status == httpx.codes.GONE:
                    continue
                self.recorder.fail(
                    "durable", f"v{version} stands in the history and is not given: {exc}", f"run {run_id}"
                )

    async def _get(self, path: str, query: Mapping[str, int]) -> bytes | None:
        """Return the answer's body, None where retention has removed what is asked for."""
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self.http.get(path, params=query)
        except (TimeoutError, httpx.TransportError) as exc:
            raise ServerUnreachable(str(self.http.base_url)) from exc
        if response.status_code >= 500:
            raise ServerUnreachable(str(self.http.base_url))
        if response.status_code not in (httpx.codes.OK, httpx.codes.GONE):
            self.recorder.fail("durable", f"the journal answers {response.status_code}", path)
        return None if response.status_code == httpx.codes.GONE else response.content


def made_by_history(journal: Journal) -> dict[tuple[str, str], dict[int, Order]]:
    """Return the place of each version that the history names."""
    return {
        ("run", run_id): {version: Position.parse(position).order for version, (position, _) in book.made.items()}
        for run_id, book in journal.books.items()
    }

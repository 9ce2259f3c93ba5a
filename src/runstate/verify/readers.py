"""The readers of one checking, all at once: who they are, how they run, and when they have seen the head."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

import httpx

from runstate.client import Client
from runstate.core.position import Position
from runstate.verify.answers import Answers
from runstate.verify.chaos import chance, plan
from runstate.verify.hearing import Hearing
from runstate.verify.outcome import Asked, ReaderLine
from runstate.verify.polls import Asker
from runstate.verify.recorder import Key, Order, Recorder
from runstate.verify.streams import StreamReader
from runstate.verify.watching import Watcher

MAX_POLLED = 8  # pipelines, drawn by the seed
LOOK_S = 0.2  # between two looks at the clock
REACH_S = 5.5  # a heartbeat, in which a silent server says how far all is delivered, and a little more
MOVING_MS = 2000  # a reader that got on so recently is catching up; that is our slowness, not a broken promise


@dataclass(frozen=True, slots=True)
class Head:
    """Where the store was when the readers had to reach it."""

    position: Order
    versions: Mapping[Key, int]  #: Of the pipelines and current runs that are polled.
    tags: Mapping[str, str]  #: Position of the document at each address.


class Readers:
    """Every way to read, attached to one server."""

    def __init__(
        self, recorder: Recorder, http: httpx.AsyncClient, client: Client, asked: Asked, pipelines: Sequence[str]
    ) -> None:
        self._recorder, self._seconds = recorder, asked.seconds
        random = chance(asked.seed, "pipelines")
        names = random.sample(pipelines, min(MAX_POLLED, len(pipelines)))
        self.addresses = [f"api/pipelines/{quote(name, safe='')}" for name in names]
        self._statuses = [f"{address}/status" for address in self.addresses]

        def asker(name: str) -> Asker:
            return Asker(Answers(name, recorder), http, chance(asked.seed, name), chaos=asked.chaos)

        def stream(name: str, *, mode: str = "latest", delta: bool = False) -> StreamReader:
            is_sse = name.startswith("sse")
            random = chance(asked.seed, name)
            acts = plan(random, asked.seconds, chaos=asked.chaos, can_ask=not is_sse)
            hearing = Hearing(name, recorder, mode=mode, delta=delta, is_sse=is_sse)
            return StreamReader(hearing, http, deque(acts), names_id=name == "sse")

        self.poll = asker("poll")
        self.waits = [asker(f"long-poll {name}") for name in names]
        self.streams = [
            stream("sse"),
            stream("sse-delta", delta=True),
            stream("websocket"),
            stream("websocket-delta", delta=True),
            stream("websocket-every", mode="every"),
        ]
        self._polling: list[asyncio.Task[None]] = []
        self.watcher = Watcher(client, recorder, _leaves(chance(asked.seed, "python-client"), asked))

    def begin(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start every reader, and who watches their silence."""
        waits = (wait.wait(path, self._seconds) for wait, path in zip(self.waits, self._statuses, strict=True))
        polls = (self.poll.poll([*self._statuses, *self.addresses]), *waits)
        streams = (*(reader.run() for reader in self.streams), self.watcher.run(), self._watch_silence())
        self._polling = [tasks.create_task(one) for one in polls]
        return [*self._polling, *(tasks.create_task(one) for one in streams)]

    async def _watch_silence(self) -> None:
        """Look for streams that are silent for too long; notice how late we are ourselves."""
        while True:
            before_ms = self._recorder.now_ms()
            await asyncio.sleep(LOOK_S)
            late_ms = self._recorder.now_ms() - before_ms - round(LOOK_S * 1000)
            self._recorder.late_ms = max(self._recorder.late_ms, late_ms)
            for reader in self.streams:
                reader.hearing.check_silence()

    async def head(self) -> Head:
        """Ask where the store is now.

        Raises:
            Unanswered: It does not say.
        """
        answers = Answers("poll at the end", self._recorder)
        asker = Asker(answers, self.poll.http, self.poll.random)
        for path in (*self.addresses, *self._statuses):
            await asker.ask(path)
        rows = [known.row for known in answers.known.values() if known.row is not None]
        orders = [Position.parse(known.tag).order for known in answers.known.values()]
        tags = {path: known.tag for path, known in answers.known.items()}
        return Head(max(orders, default=(0, 0)), {row.key: row.version for row in rows}, tags)

    async def reach(self, head: Head) -> None:
        """Wait until every reader has reached the head.

        Raises:
            Violation: One of them does not.
            Unanswered: The pollers get no answer.
        """
        try:
            async with asyncio.timeout(REACH_S):
                while self._behind(head):
                    self._recorder.changed.clear()
                    await self._recorder.changed.wait()
        except TimeoutError:
            self._blame(head)
        self._recorder.checks["converges"] += len(self.streams) + 1
        for task in self._polling:  # a poller has one request under way: two answers may overtake each other
            task.cancel()
        if self._polling:
            await asyncio.wait(self._polling)
        for asker, paths in [(self.poll, (*self.addresses, *self._statuses)), *self._waiting()]:
            for path in paths:
                await asker.ask(path)
                self._compare(asker.answers, path, head)

    def _waiting(self) -> list[tuple[Asker, tuple[str, ...]]]:
        return [(asker, (path,)) for asker, path in zip(self.waits, self._statuses, strict=True)]

    def _behind(self, head: Head) -> list[str]:
        """Return the readers that have not reached the head."""
        late = [one.hearing.name for one in self.streams if not one.hearing.has_reached(head.position, head.versions)]
        reached = self.watcher.has_reached(head.position, head.versions)
        return late if reached else [*late, self.watcher.name]

    def _blame(self, head: Head) -> None:
        for name in self._behind(head):
            hearing = next((one.hearing for one in self.streams if one.hearing.name == name), None)
            if hearing is not None and self._recorder.now_ms() - hearing.moved_ms < MOVING_MS:
                self._recorder.notes.append(f"{name} was still catching up at the end")
                continue
            place = self.watcher.position if hearing is None else hearing.place
            what = f"{name} did not reach revision {head.position[1]} within {REACH_S:g} s"
            self._recorder.fail("converges", what, f"{name}: it is at {place}")

    def _compare(self, answers: Answers, path: str, head: Head) -> None:
        self._recorder.checks["converges"] += 1
        tag, newer = answers.tag(path), head.tags[path]
        if tag is None or Position.parse(tag).order < Position.parse(newer).order:
            what = f"what was changed at {newer} is not given to whoever has {tag}"
            self._recorder.fail("converges", what, f"{answers.name}: {path}")

    def lines(self) -> list[ReaderLine]:
        """Return what each reader did."""
        polls = [self.poll, *self.waits]
        return [
            *(
                ReaderLine(
                    one.answers.name,
                    one.answers.answers,
                    one.answers.received,
                    {"unchanged": one.answers.unchanged} | ({"cut": one.cuts} if one.cuts else {}),
                )
                for one in polls
            ),
            *(ReaderLine(one.hearing.name, one.hearing.frames, one.hearing.received, one.done) for one in self.streams),
            ReaderLine(self.watcher.name, self.watcher.views, None, {"renew": self.watcher.leaves}),
        ]


def _leaves(random: Random, asked: Asked) -> list[float]:
    """Return when the client leaves its watch: with chaos a few times."""
    if not asked.chaos:
        return []
    return sorted(random.uniform(0, asked.seconds) for _ in range(max(1, min(10, int(asked.seconds / 3)))))

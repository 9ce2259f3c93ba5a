"""The simulation: the real manager, orchestrator, bus, link and replica in a world that is drawn from one number.

Everything happens on virtual time. Runs start, fail, retry and stop; servers are restarted, crash in the middle of an
append, meet a journal that refuses and are replaced by a copy with a new epoch, beside the old one for a while; clients
of every kind are cut, stalled and lied to. Law: each event of the recording is judged when it happens, and in the end,
when all is quiet, every client must show the head.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from runstate.core.canonical import digest
from runstate.core.errors import RunstateError, StoreUnavailable
from runstate.core.position import Position
from runstate.ports import Retention
from runstate.testing.guarantees import Judge
from runstate.testing.recording import Event, Read, Row, Settled
from runstate.testing.scripted_link import Client
from runstate.testing.scripted_wire import Habits, World
from runstate.testing.simulated_server import RUN_PIPELINES, Server, Store
from runstate.testing.virtual_time import START_MS, run, virtual_loop

T = TypeVar("T")

QUIET_S = 150.0  # longer than the longest back-off, a stale connection and some heartbeats
TAIL = 1000  # events that are remembered
SHOWN = 15  # of these, about the client in question, that a failure shows


class Failure(AssertionError):
    """A seed whose world broke a promise."""


def simulate(seed: int, directory: Path, *, steps: int = 60) -> Counter[str]:
    """Run one world to its end; return what happened in it and what was checked, by name.

    Raises:
        Failure: A promise was broken.
    """
    simulation = Simulation(seed, directory, steps)
    try:
        return run(simulation.main())
    except BaseExceptionGroup as group:
        raise Failure(simulation.story(_leaf(group))) from group
    except AssertionError as broken:
        raise Failure(simulation.story(broken)) from broken


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Simulation:
    """One world."""

    def __init__(self, seed: int, directory: Path, steps: int) -> None:
        """Draw it."""
        self.seed, self.directory, self.steps = seed, directory, steps
        self.chance = Random(seed)
        self.judge = Judge()
        self.tail: deque[Event] = deque(maxlen=TAIL)
        self.counts: Counter[str] = Counter()
        self.clients: list[Client] = []
        self.over = self.hurry = False
        self.trouble: BaseException | None = None
        self.servers: list[Server] = []  #: The latest incarnation's is the last one.

    def story(self, error: BaseException) -> str:
        """Return what a person needs to see of a failure."""
        named = getattr(getattr(error, "event", None), "client", None)
        about = [one for one in self.tail if named is None or getattr(one, "client", named) == named]
        events = "\n".join(f"  {str(event)[:400]}" for event in about[-SHOWN:])
        return f"seed {self.seed}: {type(error).__name__}: {error}\nbefore it:\n{events}"

    async def main(self) -> Counter[str]:
        """Live through it."""
        self.loop = virtual_loop()
        self.loop.set_exception_handler(self._note)
        async with asyncio.TaskGroup() as self.tasks:
            self.world = World(self.loop, self.tasks, self._route, self._record, self.counts)
            self.store = Store(epoch=f"{START_MS // 1000}-{self._draw(1 << 32):08x}", record=self._record)
            self.tasks.create_task(self._serve(self.store))
            sampler = self.tasks.create_task(self._sample())
            for number in range(self._pick([2, 4, 8])):
                self._join(number)
            for _ in range(self.steps):
                await asyncio.sleep(self._pick([0.0, 0.002, 0.05, 0.5, 3.0, 10.0]))
                await self._happen()
            await self._settle()
            sampler.cancel()
            if self.trouble is not None:
                raise self.trouble
            for client in self.clients:
                client.close()
            for server in self.servers:
                server.kill()
        self.counts.update({f"checked {name}": count for name, count in self.judge.checks.items()})
        return self.counts

    # What may happen

    async def _happen(self) -> None:
        menu = self._menu()
        action = self.chance.choices(list(menu), list(menu.values()))[0]
        self.counts[action.__name__.strip("_").replace("_", " ")] += 1
        action()
        await asyncio.sleep(0)

    def _menu(self) -> dict[Callable[[], None], int]:
        runs = {self._start_run: 12, self._stop_run: 3, self._retry_run: 4}
        clients = {self._cut_one: 8, self._stall_one: 6, self._garble_one: 3, self._read: 6, self._join_late: 2}
        servers = {self._restart: 3, self._crash: 3, self._outage: 2, self._compact: 3, self._restore: 1}
        return runs | clients | servers

    def _start_run(self) -> None:
        pipeline = self._pick(list(RUN_PIPELINES))
        self._command(lambda server: server.orchestrator.start(pipeline))

    def _stop_run(self) -> None:
        async def stop(server: Server) -> None:
            active = server.manager.head.active_runs()
            if active:
                await server.orchestrator.stop(self._pick(active).key.id)

        self._command(stop)

    def _retry_run(self) -> None:
        async def retry(server: Server) -> None:
            kept = await server.find(self._some_run())
            if kept is not None:
                ticket = server.manager.retry_run(kept, by=None)
                # `retry` itself asks a thread for old runs, and a thread has no place on virtual time.
                server.orchestrator._launch_with(ticket, kept.key.id)  # noqa: SLF001
                await ticket

        self._command(retry)

    def _command(self, command: Callable[[Server], Awaitable[object]]) -> None:
        server = self.servers[-1]

        async def run_it() -> None:
            try:
                await command(server)
                self.counts["command done"] += 1
            except RunstateError as refusal:
                self.counts[f"command refused {refusal.code}"] += 1

        if server.up:
            server.commands.append(self.tasks.create_task(run_it()))

    def _cut_one(self) -> None:
        self._pick(self.clients).cut()

    def _garble_one(self) -> None:
        self._pick(self.clients).garble()

    def _stall_one(self) -> None:
        self._pick(self.clients).stall(self._pick([0.5, 5.0, 20.0, 50.0]))

    def _read(self) -> None:
        """Ask for a run and answer late: whatever the views show by then stays (F11)."""
        client, server = self._pick(self.clients), self._route(self.chance)
        run_id = self._some_run()
        if server is None or run_id == "":
            return

        async def read() -> None:
            found = await server.find(run_id)
            await asyncio.sleep(self._pick([0.0, 0.1, 5.0, 30.0]))
            if found is not None:
                row = Row(*found.key, found.version, str(found.position), found.digest, digest(found.encoded))
                self._record(Read(client=client.name, at_ms=self.loop.now_ms(), row=row))

        self.tasks.create_task(read())

    def _join_late(self) -> None:
        self._join(len(self.clients))

    def _restart(self) -> None:
        self.servers[-1].stop()

    def _crash(self) -> None:
        """Die now, or just before or after the next append is durable: what was only decided is lost."""
        server, how = self.servers[-1], self._pick(["now", "before", "after"])
        if how == "now":
            server.kill()
        else:
            server.handle.doom = how

    def _outage(self) -> None:
        self.store.begin_outage("drawn", keeps=self.chance.random() < 0.5)
        self.loop.call_later(self._pick([0.1, 3.0, 30.0]), self.store.end_outage)

    def _compact(self) -> None:
        server = self.servers[-1]
        if server.up and not server.handle.dead:
            retention = Retention(keep_versions=self._pick([1, 3, 20]))
            try:
                server.handle.compact(retention, after=0, limit=self._pick([1, 10, 1000]))
            except StoreUnavailable:
                pass

    def _restore(self) -> None:
        """Serve a backup, perhaps an old one, as a new incarnation; the original may go on for a while beside it."""
        original, number = self.store, int(self.store.epoch.partition("-")[0])
        revision = len(original.commits) - self._pick([0, 0, 1, 5])
        if revision < 1:
            return
        self.store = original.copy(f"{number + self._pick([1, 60])}-{self._draw(1 << 32):08x}", revision)
        if self.chance.random() < 0.5:
            self.loop.call_later(20.0, self.servers[-1].stop)
        else:
            self.servers[-1].kill()
        self.tasks.create_task(self._serve(self.store))

    # How it goes on and ends

    async def _serve(self, store: Store) -> None:
        """Serve a store, by one server after the other, until another store takes its place."""
        while store is self.store and not self.over:
            server = Server(store, self.directory, Random(self._draw(1 << 32)))
            server.runner.hurry = self.hurry
            self.servers = [one for one in self.servers if not one.ended.is_set()] + [server]
            task = self.tasks.create_task(server.serve())
            await asyncio.wait({self.tasks.create_task(_dead(server)), task}, return_when=asyncio.FIRST_COMPLETED)
            server.kill()
            task.cancel()
            for command in server.commands:
                command.cancel()
            await server.ended.wait()
            self.counts["servers"] += 1
            await asyncio.sleep(self._pick([0.0, 0.2, 5.0]))

    def _route(self, chance: Random) -> Server | None:
        """Return a server that answers: mostly the latest, sometimes one of an older incarnation."""
        up = [server for server in self.servers if server.up]
        return None if not up else up[-1] if chance.random() < 0.7 else chance.choice(up)

    def _join(self, number: int) -> None:
        chance = Random(self._draw(1 << 32))
        topics = [("*",), ("*",), ("pipeline:market",), ("pipeline:night", "pipeline:one")]
        named = [run_id for run_id in (self._some_run(), self._some_run()) if run_id]
        if named:
            topics += [tuple(f"run:{run_id}" for run_id in dict.fromkeys(named)), (f"run:{named[0]}", "pipeline:one")]
        habits = Habits(
            topics=chance.choice(topics),
            mode="every" if number % 3 == 1 else "latest",
            delta=number % 2 == 0,
            sse=chance.random() < 0.3,
            lies=0.05 if number % 4 == 3 else 0.0,
            latency_s=chance.choice([0.002, 0.05, 1.0]),
        )
        client = Client(self.world, f"c{number} {habits.mode} {'delta' * habits.delta}", habits, chance)
        self.clients.append(client)
        client.start()

    async def _settle(self) -> None:
        """End all trouble, and hold every view against the head once all is quiet."""
        self.store.end_outage()
        for server in self.servers[:-1]:
            server.kill()
        for client in self.clients:
            client.lies = 0.0
        self.hurry = True
        self.servers[-1].runner.hurry = True
        await asyncio.sleep(QUIET_S)
        head = self.store.reopen()
        position = str(Position(head.epoch, head.revision))
        known = {change.document.key.id for commit in self.store.commits for change in commit.changes}
        named = {c: {topic[4:] for topic in c.habits.topics if topic.startswith("run:")} for c in self.clients}
        # Who asks for a run that a restored backup never had is refused for ever, and shows that it is stale.
        settled = tuple(client.name for client in self.clients if named[client] <= known)
        self._record(Settled(position=position, clients=settled))
        self.over = True

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what was raised in a callback; the next sample raises it where it is heard."""
        self.trouble = self.trouble or context.get("exception") or AssertionError(context["message"])

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self.trouble is not None:
                raise self.trouble
            for client in self.clients:
                client.show()

    def _record(self, event: Event) -> None:
        if self.trouble is None:  # one is enough, and the tail ends there
            self.tail.append(event)
            self.judge.see(event)

    def _some_run(self) -> str:
        """Return the id of a run that was begun at some time; "" if there is none."""
        runs = [
            c.document.key.id for commit in self.store.commits for c in commit.changes if c.document.key.kind == "run"
        ]
        return self._pick(list(dict.fromkeys(runs))) if runs else ""

    def _pick(self, choices: Sequence[T]) -> T:
        return self.chance.choice(choices)

    def _draw(self, below: int) -> int:
        return self.chance.randrange(below)


async def _dead(server: Server) -> None:
    """Return when a server's journal has died under it, or the server was killed."""
    await server.handle.died.wait()

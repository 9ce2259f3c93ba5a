"""What the journal refused never was: neither for readers, nor for what is decided next."""

from __future__ import annotations

import pytest

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Note
from runstate.core.errors import StoreUnavailable
from runstate.core.events import RunStopped, StopAsked
from runstate.core.model import Trigger
from runstate.core.run import new_run
from runstate.journal.memory import MemoryJournal
from runstate.state.bus import EventBus
from runstate.state.manager import PipelineStateManager
from runstate.state.writer import Append, perform
from runstate.testing.commits import Author, make_run
from runstate.testing.inline_writer import InlineWriter
from runstate.testing.virtual_time import run as in_virtual_time
from runstate.testing.virtual_time import virtual_loop

EPOCH = "1790000000-00000000"


@pytest.mark.rule("V2", "V3", "V5")
@pytest.mark.parametrize("keeps", [False, True])
def test_what_was_refused_is_not_what_the_next_event_finds(keeps: bool) -> None:
    """Two commits are refused: decisions stand on the durable document again, and versions go on without a hole.

    Where the journal had kept them all the same, they are published once it works, and the next version follows those.
    """

    async def main() -> None:
        clock, journal = virtual_loop(), MemoryJournal(epoch=EPOCH)
        manager = PipelineStateManager(
            journal, journal.reopen(), clock=clock, bus=EventBus(clock), make_writer=InlineWriter
        )
        async with manager.running():
            defined = manager.serve({"work": ["fetch"]})
            assert defined is not None
            await defined
            begun = new_run(
                pipeline="work", run_id="A", plan=("fetch",), metadata=FrozenJson({}),
                trigger=Trigger(kind="manual"), now_ms=clock.now_ms(),
            )  # fmt: skip
            await manager.create_run(begun, by=None)
            durable = manager.head.run("A")

            journal.begin_outage("the disk is full", keeps=keeps)
            tickets = [manager.apply("A", StopAsked(by="me", reason="why")), manager.apply("A", RunStopped())]
            assert manager.pending_run("A").context.state == "stopped", "the next event follows those under way"
            for ticket in tickets:
                assert ticket is not None
                with pytest.raises(StoreUnavailable, match="the disk is full"):
                    await ticket
            assert manager.head.run("A") is durable
            assert manager.pending_run("A").context == durable.run, "what was refused is still decided upon"
            with pytest.raises(StoreUnavailable):
                manager.apply("A", RunStopped())

            journal.end_outage()
            await manager.until(lambda: manager.trouble is None)
            assert manager.head.run("A").run.state == ("stopped" if keeps else "starting")
            revision, version = manager.head.revision, manager.head.run("A").version
            assert (revision, version) == ((4, 3) if keeps else (2, 1))
            follow = manager.retry_run(manager.head.run("A"), by=None) if keeps else manager.apply("A", RunStopped())
            assert follow is not None
            await follow
            assert (manager.head.revision, manager.head.run("A").version) == (revision + 1, version + 1)
            assert [commit.position.revision for commit in journal.commits_after(0)] == list(range(1, revision + 2))

    in_virtual_time(main())


@pytest.mark.rule("F3", "H10")
def test_a_store_that_opens_and_takes_nothing_does_not_work() -> None:
    """A store on a full disk can be opened again; until one can write to it, it is in trouble and its age grows."""

    async def main() -> None:
        clock, journal = virtual_loop(), MemoryJournal(epoch=EPOCH)
        manager = PipelineStateManager(
            journal, journal.reopen(), clock=clock, bus=EventBus(clock), make_writer=InlineWriter
        )
        async with manager.running():
            journal.begin_outage("the disk is full", opens=True)
            await manager.until(lambda: manager.trouble is not None)
            begun_s, first = clock.time(), manager.source_age_ms()
            seen: list[str | None] = []
            # Asked after each answer of the journal, which is opened again once a second.
            await manager.until(lambda: seen.append(str(manager.trouble)) or clock.time() > begun_s + 10)
            assert len(seen) >= 10 and set(seen) == {"the disk is full"}
            assert manager.source_age_ms() >= first + 10_000
            journal.end_outage()
            await manager.until(lambda: manager.trouble is None)
            assert manager.source_age_ms() < 100

    in_virtual_time(main())


def test_of_notes_in_one_batch_the_last_that_was_made_counts() -> None:
    """A note beside a commit, then one in a later commit, and the other way round: order decides, not where they stand."""
    author, journal = Author(EPOCH), MemoryJournal(epoch=EPOCH)
    first = author.commit(make_run("r1"), notes=(Note("key", "b", b"old"),))
    second = author.commit(make_run("r2"), notes=(Note("key", "a", b"new"), Note("key", "c", b"first")))
    batch = [
        Append(None, (Note("key", "a", None),)),
        Append(first),
        Append(None, (Note("key", "b", b"new"), Note("key", "c", b"0"))),
        Append(second, (Note("key", "c", b"last"),)),
    ]
    perform(journal, batch)
    kept = {note.id: note.value for note in journal.reopen().notes}
    assert kept == {"a": b"new", "b": b"new", "c": b"last"}

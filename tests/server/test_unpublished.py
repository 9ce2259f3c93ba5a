"""A commit that is durable and not published: the journal has it, and nobody may see it yet (V5)."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from runstate.core.errors import RunstateError, StoreUnavailable
from runstate.core.events import RunStopped
from runstate.journal.memory import MemoryJournal
from runstate.server.problems import answer_error
from runstate.server.reads import Reads
from tests.state.test_find_run import managed, started


@pytest.mark.rule("V5", "H5", "H6", "H7")
def test_what_the_journal_kept_in_spite_of_its_refusal_is_shown_only_once_it_is_known():
    """Its versions are neither read, nor in the history, nor in a list, until the store was opened again."""

    async def main() -> None:
        journal = MemoryJournal(epoch="1790000000-00000000")
        async with managed(journal) as manager:
            await started(manager, "A")
            reads = Reads(manager)
            routes = [
                Route("/api/runs", reads.runs),
                Route("/api/runs/{run_id}/history", reads.history),
                Route("/api/runs/{run_id}/versions/{version}", reads.version),
            ]
            app = Starlette(routes=routes, exception_handlers={RunstateError: answer_error})
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                journal.begin_outage("the disk is full", keeps=True)
                refused = manager.apply("A", RunStopped())
                assert refused is not None
                with pytest.raises(StoreUnavailable):
                    await refused
                history = (await http.get("/api/runs/A/history")).json()
                assert (history["head"], [entry["version"] for entry in history["commits"]]) == (1, [1])
                assert (await http.get("/api/runs/A/versions/2")).status_code == 404
                unsure = await http.get("/api/runs")
                assert (unsure.status_code, unsure.json()["code"]) == (503, "unavailable")

                journal.end_outage()
                await manager.until(lambda: manager.trouble is None)
                history = (await http.get("/api/runs/A/history")).json()
                assert (history["head"], [entry["version"] for entry in history["commits"]]) == (2, [1, 2])
                assert (await http.get("/api/runs/A/versions/2")).json()["state"] == "stopped"
                assert (await http.get("/api/runs")).json()["runs"][0]["version"] == 2

    asyncio.run(main())

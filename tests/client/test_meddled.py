"""The client behind something that lies or forgets, before the real server."""

from __future__ import annotations

import asyncio
import re

import pytest

from runstate.client import connect
from tests.acceptance.conftest import working
from tests.acceptance.harness import TWO_STAGES
from tests.client.eye import watching
from tests.client.meddler import meddling

DIGEST = re.compile(rb'("kind":"run",.*?"digest":"sha-256:)(.)')


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


def falsified(passing):
    """Return the bytes with the digest of the first run in them made wrong."""
    return DIGEST.sub(lambda found: found[1] + (b"1" if found[2] == b"0" else b"0"), passing, count=1)


@pytest.mark.rule("F9", "F10")
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_wrong_digests_end_patches_and_are_shown(bench, transport):
    """A patch with a wrong digest is asked about once; a wrong document after that is `integrity`; it heals by itself."""
    server = bench.serve(TWO_STAGES)
    passed = []

    async def scenario():
        async with (
            meddling(server.url) as between,
            connect(between.url, transports=(transport,), random=lambda: 0.0) as client,
            watching(client, "pipeline:work") as eye,
        ):
            lies = []

            def lie(passing):
                passed.append(passing)
                if len(lies) < 2 and DIGEST.search(passing) and (lies or b'"patch"' in passing):
                    lies.append(passing)
                    return falsified(passing)
                return passing

            run_id = (await client.start("work", stages=["fetch"])).document.run_id
            held = await asyncio.to_thread(bench.puppets.next, "fetch")
            await asyncio.to_thread(held.do, "ctx.progress(1, total=3); answer = 1")
            await eye.until(lambda view: progress(view, run_id) == 1)
            assert eye.views[-1].link == "live"
            between.meddle = lie

            await asyncio.to_thread(held.do, "ctx.progress(2, total=3); answer = 1")
            doubted = await eye.until(lambda view: view.link == "integrity")
            assert progress(doubted, run_id) == 2, "it never stops converging"
            assert len(lies) == 2
            assert b'"snapshot"' in lies[1]
            passed.clear()
            await asyncio.to_thread(held.do, "ctx.progress(3, total=3); answer = 1")
            healed = await eye.until(lambda view: progress(view, run_id) == 3)
            assert (healed.link, healed.runs[run_id].verified) == ("live", True)
            assert not any(b'"patch"' in passing for passing in passed), "only whole documents from now on"
            held.returns()
            await eye.until(lambda view: run_id in view.runs and view.runs[run_id].document["state"] == "success")

    asyncio.run(scenario())


def progress(view, run_id):
    told = view.runs[run_id].document["stages"]["fetch"]["progress"] if run_id in view.runs else None
    return told and told["done"]


@pytest.mark.rule("C3")
def test_a_command_whose_answer_is_lost_is_done_once(bench):
    """The client sends it again under the same key, and gets the first answer."""
    server = bench.serve(TWO_STAGES)

    async def scenario():
        async with meddling(server.url) as between, connect(between.url, random=lambda: 0.0) as client:
            lost = []

            def lose(passing):
                if not lost and b" 202 " in passing.partition(b"\r\n")[0]:
                    lost.append(passing)
                    return None
                return passing

            between.meddle = lose
            receipt = await client.start("work", stages=["fetch"])

            assert lost
            page = await client.runs()
            assert [run.run_id for run in page.runs] == [receipt.document.run_id]
            assert (receipt.document.version, receipt.document.state) == (1, "starting"), (
                "the first answer, not a later one"
            )
            (await asyncio.to_thread(bench.puppets.next, "fetch")).returns()
            async with watching(client) as eye:
                await eye.until(lambda view: view.run and view.run.to_dict()["state"] == "success")

    asyncio.run(scenario())

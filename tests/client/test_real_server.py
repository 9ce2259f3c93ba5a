"""The client against the real server: three ways to one truth, over its ends, restarts and tokens."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

import pytest

from runstate.client import Problem, connect
from tests.acceptance.conftest import working
from tests.acceptance.harness import TWO_STAGES
from tests.client.eye import entries, watching

TRANSPORTS = ["websocket", "sse", "long-poll"]
SOON = partial(float, 0)  # no jitter: a reconnection waits for nothing but the server


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


def keep_port(server):
    """Let the next start of `server` be where it is now."""
    server.options = (*server.options, "--port", str(urlsplit(server.url).port))


async def next_stage(bench, stage, **wanted):
    return await asyncio.to_thread(bench.puppets.next, stage, **wanted)


def fresh(view, transport):
    return view.link in ("live", "quiet") and view.transport == transport


def version_at(commits, order):
    """Return the version that a history gives for a position."""
    before = [one["version"] for one in commits if int(one["position"].rpartition(".")[2]) <= order[1]]
    return max(before, default=0)


@pytest.mark.rule("F4", "F5", "F13")
@pytest.mark.parametrize("topics", [("pipeline:work",), ("*",)])
def test_the_transports_agree_byte_for_byte(bench, topics):
    """Whatever the way, a version has one face, a view is one moment, and the end is the same."""
    server = bench.serve(TWO_STAGES)

    async def scenario():
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(connect(server.url, transports=(transport,), delta=delta))
                for transport, delta in [*((one, True) for one in TRANSPORTS), ("websocket", False), ("sse", False)]
            ]
            eyes = [await stack.enter_async_context(watching(client, *topics)) for client in clients]
            run_id = (await clients[0].start("work")).document.run_id
            held = await next_stage(bench, "fetch")
            for done in range(30):
                await asyncio.to_thread(held.do, f"ctx.progress({done}, total=30); answer = 1")
            held.returns("{'rows': 30}")
            (await next_stage(bench, "crunch")).returns()
            for eye in eyes:
                await eye.until(lambda view: run_id in view.runs and view.runs[run_id].document["state"] == "success")
            head = (await clients[0].get_run(run_id)).encoded()
            history = await clients[0].history(run_id, limit=1000)
            return run_id, eyes, head, history["commits"]

    run_id, eyes, head, commits = asyncio.run(scenario())
    known = {}
    for eye in eyes:
        eye.check_order()
        for version, encoded in eye.documents().items():
            assert known.setdefault(version, encoded) == encoded
        for view in eye.views:
            if run_id in view.runs:
                assert view.runs[run_id].version == version_at(commits, view.position.order), "two moments in one view"
                assert view.pipelines["work"].relative == run_id
        assert eye.views[-1].runs[run_id].encoded == head
    assert {view.transport for eye in eyes for view in eye.views} - {None} == set(TRANSPORTS)


@pytest.mark.rule("F13", "V5")
@pytest.mark.parametrize("end", ["kill", "terminate"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_goes_on_over_a_restart(bench, transport, end):
    """kill -9 and SIGTERM: the view says that it waits, is never wrong, and goes on by itself; nothing goes back."""
    server = bench.serve(TWO_STAGES)
    keep_port(server)

    async def scenario():
        async with (
            connect(server.url, transports=(transport,), random=SOON) as client,
            watching(client, "pipeline:work") as eye,
        ):
            receipt = await client.start("work", stages=["fetch"])
            run_id = receipt.document.run_id
            assert eye.views[-1].has_reached(receipt.position) or await eye.until(
                lambda view: view.has_reached(receipt.position)
            )
            await next_stage(bench, "fetch", attempt=1)
            await asyncio.to_thread(getattr(server, end))
            away = await eye.until(lambda view: view.link in ("resyncing", "stale"))
            assert run_id in away.runs, "what was known stays, shown as what it is"
            since = len(eye.views)
            await asyncio.to_thread(server.restart)
            (await next_stage(bench, "fetch", attempt=2)).returns()
            back = await eye.until(
                lambda view: fresh(view, transport) and view.runs[run_id].document["state"] == "success", since
            )
            assert back.runs[run_id].document["stages"]["fetch"]["attempt"] == 2
            eye.check_order()
            eye.documents()

    asyncio.run(scenario())


@pytest.mark.rule("F8")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_token_that_expires_is_said(bench, transport):
    """The view says `unauthorized`, keeps what it knows, and does not hammer; a wrong token at first is raised."""
    tokens = bench.folder / "tokens.toml"
    expires = datetime.now(UTC) + timedelta(seconds=8)
    tokens.write_text(
        f'[[token]]\nname = "brief"\ntoken = "brief-secret"\nscope = "control"\nexpires = {expires.isoformat()}\n'
        '[[token]]\nname = "judge"\ntoken = "judge-secret"\nscope = "control"\n'
    )
    server = bench.serve(TWO_STAGES, "--tokens", str(tokens))
    server.http.headers["authorization"] = "Bearer judge-secret"

    async def scenario():
        async with connect(server.url, "wrong-secret", transports=(transport,)) as client:
            with pytest.raises(Problem) as caught:
                await anext(client.watch())
            assert (caught.value.code, caught.value.status) == ("unauthorized", 401)
        async with connect(server.url, "brief-secret", transports=(transport,)) as client:
            async with watching(client, "pipeline:work") as eye:
                assert fresh(eye.views[-1], transport)
                refused = await eye.until(lambda view: view.trouble is not None)
                assert (refused.trouble.code, refused.trouble.status) == ("unauthorized", 401)
                assert refused.pipelines["work"].verified
                assert eye.failure is None
                with pytest.raises(Problem, match="token"):
                    await client.start("work")

    asyncio.run(scenario())


@pytest.mark.rule("C1", "C6")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_command_is_done_when_the_own_view_shows_it(bench, transport):
    """start, retry and stop return when every open watch has reached their commit; `if_match` guards them."""
    server = bench.serve(TWO_STAGES)

    async def scenario():
        async with connect(server.url, transports=(transport,)) as client, watching(client, "pipeline:work") as eye:
            receipt = await client.start("work", stages=["crunch"])
            run_id = receipt.document.run_id
            (await next_stage(bench, "crunch", attempt=1)).raises("ValueError('no')")
            failed = await eye.until(lambda view: view.run and view.run.to_dict()["state"] == "failed")

            with pytest.raises(Problem) as caught:
                await client.retry(run_id, if_match=receipt.position)
            assert (caught.value.code, caught.value.document["state"]) == ("conflict", "failed")
            again = await client.retry(run_id, if_match=str(failed.runs[run_id].position))
            assert again.document.to_dict()["state"] == "retrying"
            assert (await client.get_run(run_id)).version >= again.document.version
            await next_stage(bench, "crunch", attempt=2)
            stopped = await client.stop(run_id, "enough")
            reached = await eye.until(lambda view: view.has_reached(stopped.position))
            assert reached.runs[run_id].document["stop_requested"]["reason"] == "enough"
            await eye.until(lambda view: view.run and view.run.to_dict()["state"] == "stopped")
            assert all(entry.verified for entry in entries(eye.views[-1]).values())

    asyncio.run(scenario())

"""`watch` over real sockets: what the link decides is done, and each change is shown once."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from runstate.client import Problem, connect
from tests.client.world import (
    ManualClock,
    answering,
    at,
    change,
    encode,
    events,
    hello,
    run,
    send,
    snapshot,
    sockets,
    transition,
)

WITHIN_S = 20


def scenario(test):
    """Run an async test in a loop of its own, with an end."""

    def run_it():
        async def limited():
            async with asyncio.timeout(WITHIN_S):
                await test()

        asyncio.run(limited())

    run_it.__name__, run_it.__doc__ = test.__name__, test.__doc__
    return run_it


async def seen(views, wanted):
    """Return the first view for which `wanted` holds."""
    async for view in views:
        if wanted(view):
            return view
    raise AssertionError("the watch ended")


@scenario
async def test_shows_each_change():
    """PROTOCOL F2, F5: the snapshot, then each transition, as documents with their digest."""
    async with (
        sockets() as world,
        connect(world.url, clock=ManualClock()) as client,
        aclosing(client.watch("run:r1")) as views,
    ):
        first = asyncio.ensure_future(anext(views))
        socket = await world.opened.get()
        await send(socket, hello(10), snapshot(10, change(run(1, "starting"), 10)))
        view = await first

        assert socket.request.path == "/api/ws?topics=run%3Ar1&delta=1"
        assert (view.link, view.transport, str(view.position), view.run.state) == (
            "live",
            "websocket",
            at(10),
            "starting",
        )
        assert view.runs["r1"].verified
        assert view.has_reached(at(10))
        assert not view.has_reached(at(11))

        await send(socket, transition(10, 11, change(run(2, "running_a"), 11)))
        view = await anext(views)
        assert (view.run.state, view.run.version, view.source_age_ms) == ("running_a", 2, 3)


@scenario
async def test_goes_stale_by_time_and_resumes():
    """PROTOCOL F12, F13: silence is seen by the clock alone; the next connection names the position."""
    clock = ManualClock()
    async with (
        sockets() as world,
        connect(world.url, clock=clock, random=lambda: 0.5) as client,
        aclosing(client.watch()) as views,
    ):
        first = asyncio.ensure_future(anext(views))
        socket = await world.opened.get()
        await send(socket, hello(10), snapshot(10, change(run(1, "starting"), 10)))
        await first

        clock.advance(15_000)
        view = await anext(views)
        assert (view.link, view.age_ms, view.transport) == ("stale", 15_000, None)
        assert view.run.state == "starting", "what was known stays, shown as stale"

        clock.advance(125)
        socket = await world.opened.get()
        assert socket.request.path == f"/api/ws?topics=%2A&resume={at(10)}&delta=1"
        await send(socket, hello(11), transition(10, 11, change(run(2, "running_a"), 11)))
        assert (await seen(views, lambda view: view.link == "live")).run.version == 2


@scenario
async def test_asks_for_a_snapshot_on_the_same_socket():
    """PROTOCOL F2: after a gap the view says `resyncing`, and a `subscribe` goes out."""
    async with sockets() as world, connect(world.url, clock=ManualClock()) as client, aclosing(client.watch()) as views:
        first = asyncio.ensure_future(anext(views))
        socket = await world.opened.get()
        await send(socket, hello(10), snapshot(10, change(run(1, "starting"), 10)))
        await first

        await send(socket, transition(11, 12))
        assert (await anext(views)).link == "resyncing"
        assert json.loads(await socket.recv()) == {"type": "subscribe", "topics": "*", "delta": "1"}
        await send(socket, snapshot(12, change(run(3, "success", status="idle"), 12)))
        assert (await anext(views)).run.state == "success"


@scenario
async def test_falls_back_to_an_event_stream():
    """PROTOCOL F13: where WebSocket does not get through, an event stream does; its token goes with it."""
    clock, frames = ManualClock(), asyncio.Queue()
    async with answering() as world:
        world.stream("GET /api/stream", frames)
        async with (
            connect(world.url, token="T", clock=clock, random=lambda: 0.5) as client,
            aclosing(client.watch()) as views,
        ):
            assert (await anext(views)).link == "connecting", "the first try failed"
            clock.advance(125)
            sent = events(hello(10), snapshot(10, change(run(1, "starting"), 10)))
            frames.put_nowait(sent[:100])
            frames.put_nowait(sent[100:])
            view = await seen(views, lambda view: view.link == "live")

            assert (view.transport, view.run.state) == ("sse", "starting")
            assert [asked for asked, _, _ in world.asked] == [
                "GET /api/ws?topics=%2A&delta=1",
                "GET /api/stream?topics=%2A&delta=1",
            ]
            assert {headers["authorization"] for _, headers, _ in world.asked} == {"bearer t"}

            frames.put_nowait(None)
            assert (await anext(views)).link == "resyncing"


@pytest.mark.parametrize(("transport", "path"), [("websocket", "/api/ws"), ("sse", "/api/stream")])
def test_a_refusal_that_stays_one_is_raised(transport, path):
    """An unknown run or a bad token does not get better by waiting."""

    @scenario
    async def refused():
        async with answering() as world, connect(world.url, transports=(transport,), clock=ManualClock()) as client:
            world.say(
                f"GET {path}", 404, encode({"code": "not_found", "status": 404, "detail": "there is no run nope"})
            )
            with pytest.raises(Problem, match="there is no run nope") as caught:
                await anext(client.watch("run:nope"))
            assert (caught.value.code, caught.value.status) == ("not_found", 404)

    refused()


@scenario
async def test_waits_for_a_server_that_is_not_ready():
    """PROTOCOL F13: a 503 is told and tried again, not before its Retry-After."""
    clock = ManualClock()
    async with answering() as world:
        world.say("GET /api/stream", 503, encode({"code": "unavailable", "title": "draining"}), retry_after="2")
        async with connect(world.url, transports=("sse",), clock=clock, random=lambda: 0.0) as client:
            async with aclosing(client.watch()) as views:
                view = await anext(views)
                assert (view.link, view.trouble.code, view.position) == ("connecting", "unavailable", None)

                frames = asyncio.Queue()
                world.stream("GET /api/stream", frames)
                clock.advance(2000)
                frames.put_nowait(events(hello(10), snapshot(10)))
                assert (await seen(views, lambda view: view.link == "live")).trouble is None
                assert len(world.asked) == 2


@scenario
async def test_the_slow_are_given_the_latest():
    """Whoever is slower than the changes skips some, and misses no end."""
    async with sockets() as world, connect(world.url, clock=ManualClock()) as client, aclosing(client.watch()) as views:
        first = asyncio.ensure_future(anext(views))
        socket = await world.opened.get()
        await send(socket, hello(10), snapshot(10, change(run(1, "starting"), 10)))
        await first
        await send(socket, *(transition(9 + v, 10 + v, change(run(1 + v, "running_a"), 10 + v)) for v in range(1, 50)))

        assert (await seen(views, lambda view: view.has_reached(at(59)))).run.version == 50


@scenario
async def test_leaving_the_client_ends_its_watches():
    """Nothing of a client is left behind, also when its body fails, and the failure is the body's own."""
    async with sockets() as world:
        with pytest.raises(LookupError, match="mine"):
            async with connect(world.url, clock=ManualClock()) as client:
                views = client.watch()
                first = asyncio.ensure_future(anext(views))
                socket = await world.opened.get()
                await send(socket, hello(10), snapshot(10))
                await first
                raise LookupError("mine")
        await socket.wait_closed()
        await views.aclose()


@scenario
async def test_a_watch_in_another_task_ends_with_its_client():
    """Whoever iterates elsewhere leaves the loop, and does not hang on a client that is closed."""
    async with sockets() as world:
        async with connect(world.url, clock=ManualClock()) as client:
            first = asyncio.Event()

            async def look():
                async for _ in client.watch():
                    first.set()
                return "left"

            looking = asyncio.ensure_future(look())
            socket = await world.opened.get()
            await send(socket, hello(10), snapshot(10, change(run(1, "starting"), 10)))
            await first.wait()
        assert await looking == "left"


@pytest.mark.rule("F11")
@scenario
async def test_a_late_answer_writes_no_view():
    """PROTOCOL F11: what a GET and a command are answered goes to their callers; views move by the stream alone."""
    frames = asyncio.Queue()
    async with answering() as world, connect(world.url, transports=("sse",), clock=ManualClock()) as client:
        world.stream("GET /api/stream", frames)
        world.say("GET /api/runs/r1", 200, encode(run(7, "success", status="idle")), etag=f'"{at(70)}"')
        world.say("POST /api/runs/r1/stop", 202, encode(run(3, "running_a")), etag=f'"{at(12)}"')
        async with aclosing(client.watch("run:r1")) as views:
            frames.put_nowait(events(hello(10), snapshot(10, change(run(1, "starting"), 10))))
            assert (await seen(views, lambda view: view.run)).run.version == 1

            assert (await client.get_run("r1")).version == 7
            stopping = asyncio.ensure_future(client.stop("r1"))
            frames.put_nowait(events(transition(10, 11, change(run(2, "running_a"), 11))))
            assert (await anext(views)).run.version == 2, "neither version 7 nor version 3 was shown before"
            while "min=" not in world.asked[-1][0]:
                await client.get_run("r1")
            assert not stopping.done(), "it was answered, and is done when its own view shows it"

            frames.put_nowait(events(transition(11, 12, change(run(3, "running_a"), 12))))
            assert (await stopping).document.version == 3
            assert (await anext(views)).run.version == 3
            frames.put_nowait(None)

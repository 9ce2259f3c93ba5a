"""The fast lane says what the plain path says, byte for byte, and takes only what it understands (ADR 5)."""

from __future__ import annotations

import asyncio
import random

import pytest
import uvloop

from runstate import Pipeline
from runstate.server.access import Policy, Token
from tests.server.asked import get, targets, unusual
from tests.server.paths import both_paths, until

SECRET = "a-secret-to-read-with"


def make_pipeline(name: str = "market") -> Pipeline:
    pipeline = Pipeline(name, progress_interval_s=0)

    @pipeline.stage
    async def fetch(ctx):
        ctx.progress(1, total=2, message="über")
        return {"n": 1}

    return pipeline


def run(main) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def ran(engine) -> str:
    """Return the id of a run that is over."""
    run_id = (await engine.orchestrator.start()).key.id
    await engine.orchestrator.finished(run_id)
    return run_id


@pytest.mark.rule("H1", "H2", "H9")
def test_both_paths_say_the_same(tmp_path):
    """Every target, plain and conditional, and every oddity: the same bytes but for the date."""

    async def main() -> None:
        async with both_paths([make_pipeline(), make_pipeline("idle")], tmp_path) as paths:
            run_id = await ran(paths.engine)
            tag = str(paths.engine.manager.head.status(None).position)
            usual = [get(target, *lines) for target in targets(run_id) for lines in ((), (f'If-None-Match: "{tag}"',))]
            for request in usual:
                assert await paths.fast.ask(request) == await paths.plain.ask(request), request
            assert paths.fast.asked == [], "the lane answers these itself"
            assert len(paths.plain.asked) == len(usual)
            for request in unusual(tag, run_id):
                assert await paths.fast.ask(request) == await paths.plain.ask(request), request
            assert len(paths.fast.asked) > 20, "the lane takes what is not its own"

    run(main())


@pytest.mark.rule("H1", "H2")
def test_pipelined_and_cut_requests_are_answered_in_order(tmp_path, seed):
    """Requests that come many at once, mixed, cut anywhere: the same answers in the same order on both paths."""
    chance = random.Random(seed)

    async def main() -> None:
        async with both_paths([make_pipeline(), make_pipeline("idle")], tmp_path) as paths:
            run_id = await ran(paths.engine)
            tag = str(paths.engine.manager.head.status(None).position)
            pool = [get(target) for target in targets(run_id)] + [
                get(targets(run_id)[0], f'If-None-Match: "{tag}"'),
                get("/api/runs/nope"),
                get("/api/pipelines"),
                get("/api/pipeline/status?x=1"),
            ]
            for _ in range(12):
                requests = chance.choices(pool, k=chance.randrange(2, 9))
                whole = b"".join(requests)
                cut = sorted(chance.sample(range(1, len(whole)), 3))
                wires = [await path.connect() for path in (paths.fast, paths.plain)]
                for start, end in zip([0, *cut], [*cut, len(whole)], strict=True):
                    for wire in wires:
                        wire.writer.write(whole[start:end])
                        await wire.writer.drain()
                    await asyncio.sleep(0)
                fast, plain = [[await wire.answer() for _ in requests] for wire in wires]
                assert fast == plain, whole
                for wire in wires:
                    await wire.close()

    run(main())


@pytest.mark.rule("H1", "H2")
def test_the_same_bytes_again_get_what_is_true_now(tmp_path):
    """A request that is known by its bytes: again on one connection, cut, behind another, after a commit, on a new one."""

    async def main() -> None:
        async with both_paths([make_pipeline()], tmp_path) as paths:
            await ran(paths.engine)
            path = "/api/pipeline/status"
            for _ in range(3):
                tag = str(paths.engine.manager.head.status(None).position)
                have = get(path, f'If-None-Match: "{tag}"')
                wires = [await each.connect() for each in (paths.fast, paths.plain)]
                for parts in (
                    [have], [have], [get(path)], [get(path)], [have[:30], have[30:]], [have], [have + get(path)],
                    [have + have[:9], have[9:]], [have], [get("/api/runs/nope")], [have], [b"\r\n" + have], [have],
                    [have[:-1], have[-1:] + have],
                ):  # fmt: skip
                    count = b"".join(parts).count(b"GET ")
                    said = []
                    for wire in wires:
                        for part in parts:
                            wire.writer.write(part)
                            await wire.writer.drain()
                            for _ in range(5):  # the server, in this same loop, reads it by itself
                                await asyncio.sleep(0)
                        said.append([await wire.answer() for _ in range(count)])
                    assert said[0] == said[1], parts
                for wire in wires:
                    await wire.close()
                await ran(paths.engine)

    run(main())


@pytest.mark.rule("H3")
def test_polls_that_wait_are_answered_alike(tmp_path):
    """A poll that waits gets the same answer on both paths: at the commit, and when its time is over; others wait behind."""

    async def main() -> None:
        async with both_paths([make_pipeline(), make_pipeline("idle")], tmp_path) as paths:
            run_id = await ran(paths.engine)
            tag = str(paths.engine.manager.head.status(None).position)
            waiting = get(f"/api/runs/{run_id}?after={tag}&wait=1")
            assert await paths.fast.ask(waiting) == await paths.plain.ask(waiting)
            both = get("/api/pipeline/status", f'If-None-Match: "{tag}"', "Prefer: wait=60"), get("/api/pipelines/idle")
            polls = [asyncio.create_task(path.ask(*both)) for path in (paths.fast, paths.plain)]
            asked = len(paths.plain.asked)
            await until(lambda: paths.lane.parked and len(paths.plain.asked) > asked)
            assert paths.lane.parked == 1
            old = paths.engine.manager.head.revision
            await paths.engine.orchestrator.start()
            fast, plain = [await poll for poll in polls]
            head, _, body = fast.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert b"preference-applied: wait=60" in head
            assert f'.{old + 1}"'.encode() in head
            assert b'"idle"' in body, "the request behind is answered too"
            assert sorted(_names(fast)) == sorted(_names(plain))
            assert paths.lane.parked == 0
            assert "/api/pipeline/status" not in paths.fast.asked

    run(main())


def _names(answer: bytes) -> list[bytes]:
    head = answer.partition(b"\r\n\r\n")[0]
    return [line.partition(b":")[0] for line in head.split(b"\r\n")]


@pytest.mark.rule("H3")
def test_whoever_goes_or_stays_to_the_end_leaves_nothing(tmp_path):
    """A poll whose connection is gone is forgotten; at the end of the server the others get 503 at once."""

    async def main() -> None:
        async with both_paths([make_pipeline()], tmp_path) as paths:
            await ran(paths.engine)
            tag = str(paths.engine.manager.head.status(None).position)
            waiting = get(f"/api/pipeline/status?after={tag}&wait=60")
            gone, stays = await paths.fast.connect(), await paths.fast.connect()
            for wire in (gone, stays):
                wire.writer.write(waiting)
            await until(lambda: paths.lane.parked == 2)
            await gone.close()
            await until(lambda: paths.lane.parked == 1)
            plain = asyncio.create_task(paths.plain.ask(waiting))
            await until(lambda: paths.plain.asked)
            paths.engine.begin_to_end()
            paths.lane.drain()
            ending = await stays.answer()
            assert ending == await plain
            assert ending.startswith(b"HTTP/1.1 503")
            assert paths.lane.parked == 0
            await stays.close()

    run(main())


@pytest.mark.rule("H9")
def test_what_is_not_http_is_a_problem_too(tmp_path):
    """A line that is no request gets the problem that every refusal is, and the end of the connection."""

    async def main() -> None:
        async with both_paths([make_pipeline()], tmp_path) as paths:
            for path in (paths.fast, paths.plain):
                answer = await path.ask(b"\x16\x03\x01 hello\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
                assert b"content-type: application/problem+json" in answer
                assert b'"code":"bad_query"' in answer
                assert b"connection: close" in answer

    run(main())


def test_tokens_are_asked_for_on_both_paths(tmp_path):
    """No token, a wrong one, an expired one, a cookie, two at once: what the application says; a good one is fast."""
    tokens = Token("eye", SECRET, "read"), Token("past", "an-expired-secret", "read", expires_ms=1)

    async def main() -> None:
        async with both_paths([make_pipeline()], tmp_path, Policy(tokens)) as paths:
            bearer = f"Authorization: Bearer {SECRET}"
            status = "/api/pipeline/status"
            good = [
                get(status, bearer),
                get(status, bearer.upper().replace(SECRET.upper(), SECRET), host="any.example"),
            ]
            for request in good:
                assert await paths.fast.ask(request) == await paths.plain.ask(request)
            assert paths.fast.asked == []
            others = [
                get(status),
                get(status, "Authorization: Bearer wrong-wrong"),
                get(status, "Authorization: Bearer an-expired-secret"),
                get(status, f"Authorization: Basic {SECRET}"),
                get(status, bearer, bearer),
                get(status, f"Cookie: runstate_session={tokens[0].session}"),
            ]
            for request in others:
                assert await paths.fast.ask(request) == await paths.plain.ask(request), request
            assert len(paths.fast.asked) == len(others)

    run(main())


def test_pages_of_other_servers_are_left_to_the_application(tmp_path):
    """Where an origin is allowed its answers carry more headers, and those to others say that they may differ."""
    policy = Policy(origins=frozenset({"https://dash.example"}))

    async def main() -> None:
        async with both_paths([make_pipeline()], tmp_path, policy) as paths:
            for lines in ((), ("Origin: https://dash.example",), ("Origin: https://evil.example",)):
                request = get("/api/pipeline/status", *lines)
                assert await paths.fast.ask(request) == await paths.plain.ask(request), request
            assert len(paths.fast.asked) == 3

    run(main())

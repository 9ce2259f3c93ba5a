"""A real receiver: signed requests over HTTP, and whatever it does stays its own trouble."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from runstate import Pipeline, Runstate
from runstate.core.errors import DefinitionError
from runstate.webhooks import Webhook
from runstate.webhooks.post import posting

SECRET = "correct horse battery staple"
OK = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"

Request = tuple[str, dict[str, str], bytes]


class Receiver:
    """An HTTP server of twenty lines that answers what it is told to."""

    def __init__(self, answer: Callable[[str], bytes | None]) -> None:
        self.answer, self.got = answer, list[Request]()
        self.came = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest) if name}
        body = await reader.readexactly(int(headers["content-length"]))
        path = first.split(" ")[1]
        self.got.append((path, headers, body))
        self.came.set()
        answer = self.answer(path)
        if answer is None:
            await reader.read()  # until whoever waits for the answer gives up
        else:
            writer.write(answer)
        writer.close()

    async def until(self, count: int) -> list[Request]:
        while len(self.got) < count:
            self.came.clear()
            await self.came.wait()
        return self.got


@asynccontextmanager
async def receiving(answer: Callable[[str], bytes | None] = lambda _: OK) -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    try:
        yield receiver, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def make_pipeline() -> Pipeline:
    pipeline = Pipeline("market")

    @pipeline.stage
    async def fetch(ctx):
        if ctx.metadata.get("fail"):
            raise ValueError("bad row 7")

    return pipeline


async def one_run(app: Runstate, **metadata: object) -> str:
    run_id = (await app.orchestrator.start("market", metadata=metadata)).key.id
    await app.orchestrator.finished(run_id)
    return run_id


def test_a_failed_run_arrives_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """The signature is computed here by hand; neither secret nor path is shown or logged."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with receiving() as (receiver, url):
            hook = Webhook(f"{url}/services/T0KEN", ["failed"], "HOOK_SECRET")
            app = Runstate([make_pipeline()], tmp_path, webhooks=[hook])
            async with app.lifespan():
                await one_run(app)
                run_id = await one_run(app, fail=True)
                (path, headers, body), *_ = await receiver.until(1)
                signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
                expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
                assert headers["webhook-signature"] == f"v1,{expected}"
                assert headers["content-type"] == "application/cloudevents+json"
                event = json.loads(body)
                assert (path, event["type"], event["subject"]) == (
                    "/services/T0KEN", "dev.runstate.run.failed", run_id,
                )  # fmt: skip
                document = event["data"]["document"]
                assert (document["state"], document["error"]) == ("failed", "ValueError: bad row 7")

                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    shown = await client.get("/api/webhooks")
                    (listed,) = shown.json()["webhooks"]
                    assert (listed["receiver"], listed["on"], listed["dead"]) == (url, ["failed"], [])
                    again = await client.post(f"/api/webhooks/{listed['id']}/redeliver")
                    assert again.json() == {"events": 0}
                    assert (await client.post("/api/webhooks/none/redeliver")).status_code == 404
                    told = shown.text + "".join(record.getMessage() for record in caplog.records)
                    assert SECRET not in told and "T0KEN" not in told

    asyncio.run(main())


def test_a_receiver_that_was_away_is_told_by_the_next_server(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(lambda path: None) as (deaf, url):
            app = Runstate([make_pipeline()], tmp_path, webhooks=[Webhook(url, ["success"])])
            async with app.lifespan():
                run_id = await one_run(app)
                await deaf.until(1)
                deaf.answer = lambda path: OK
            async with Runstate([make_pipeline()], tmp_path, webhooks=[Webhook(url, ["success"])]).lifespan():
                (_, first, body), (_, second, again) = await deaf.until(2)
                assert json.loads(body)["subject"] == run_id
                assert (again, second["webhook-id"]) == (body, first["webhook-id"])

    asyncio.run(main())


def test_answers_that_are_none(tmp_path: Path) -> None:
    """No redirect is followed, a huge body is not read, silence ends, and no text tells the URL."""

    async def main() -> None:
        answers = {
            "/moved": b"HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n",
            "/busy": b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 90\r\ncontent-length: 99999999999\r\n\r\n",
            "/silent": None,
            "/noise": b"\x00\xff\r\n\r\n",
            "/ok": OK,
        }
        async with receiving(answers.__getitem__) as (receiver, url), posting(timeout_s=0.5) as post:
            told = {path: await post(url + path, b"{}", {}) for path in answers}
            assert told["/moved"].error == "the receiver answered 302"
            assert (told["/busy"].error, told["/busy"].retry_after_ms) == ("the receiver answered 429", 90_000)
            assert told["/silent"].error == "the receiver did not answer within 0.5 s"
            assert told["/noise"].error == "the receiver cannot be reached (RemoteProtocolError)"
            assert told["/ok"].error is None
            assert [path for path, _, _ in receiver.got] == list(answers), "the redirect was not followed"
            away = await post("http://127.0.0.1:1/T0KEN", b"{}", {})
            assert away.error == "the receiver cannot be reached (ConnectError)"

    asyncio.run(main())


def test_what_cannot_be_told_is_refused_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        unset = Webhook("https://ops.example", ["failed"], "NOT_SET_ANYWHERE")
        twice = [Webhook("https://ops.example", ["failed"]), Webhook("https://ops.example", ["success"])]
        for hooks, complaint in (([unset], "NOT_SET_ANYWHERE"), (twice, "the same url")):
            with pytest.raises(DefinitionError, match=complaint):
                async with Runstate([make_pipeline()], tmp_path, webhooks=hooks).lifespan():
                    pass

    asyncio.run(main())

"""Reads and commands: documents with the digest that came with them, and one clear sentence where there is none."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from runstate.client import Problem, ServerUnreachable, connect
from runstate.core.errors import InvalidValue, PeerError
from tests.client.world import answering, at, decode, encode, run

DOCUMENT = encode(run(3, "success", status="idle"))


def told(body=DOCUMENT, revision=12, **headers):
    tag = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return {
        "etag": f'"{at(revision)}"',
        "repr_digest": f"sha-256=:{tag}:",
        "runstate_position": at(revision + 1),
        **headers,
    }


def ask(play, wanted, token=None):
    """Return what `wanted` gives of a client of a server that `play` prepared, and what the server was asked."""

    async def scenario():
        async with answering() as world:
            play(world)
            async with asyncio.timeout(20), connect(world.url + "/", token) as client:
                return await wanted(client), world.asked

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/api/pipeline/status", lambda c: c.get_status()),
        ("/api/pipelines/market%20day/status", lambda c: c.get_status("market day")),
        ("/api/runs/r1", lambda c: c.get_run("r1")),
        ("/api/runs/a%2Fb/versions/3", lambda c: c.get_version("a/b", 3)),
    ],
)
def test_reads_a_run(path, wanted):
    """PROTOCOL H1, H5: the document, frozen, byte for byte."""
    document, asked = ask(lambda world: world.say(f"GET {path}", 200, DOCUMENT, **told()), wanted, token="T")

    assert document.encoded() == DOCUMENT
    assert asked[0][0] == f"GET {path}"
    assert asked[0][1]["authorization"] == "bearer t"


def test_reads_lists_and_history():
    """PROTOCOL H6, H7."""
    page = {"position": at(12), "runs": [run(3, "success", status="idle")], "next": "7"}
    pipeline = {"schema": 1, "epoch": "100-aaaaaaaa", "pipeline": "market", "version": 1, "updated_at": None}
    pipeline |= {
        "stage_order": [],
        "current_run_id": "r1",
        "schedule": None,
        "health": {"state": "healthy", "reasons": []},
    }

    def play(world):
        world.say("GET /api/runs", 200, encode(page))
        world.say("GET /api/pipelines", 200, encode({"position": at(12), "pipelines": [pipeline]}))
        world.say("GET /api/pipelines/market", 200, encode(pipeline))
        world.say("GET /api/runs/r1/history", 200, encode({"floor": 1, "head": 3, "commits": []}))

    async def wanted(client):
        listed = await client.runs(pipeline="market", limit=1, before="9")
        return (
            listed,
            await client.pipelines(),
            await client.get_pipeline("market"),
            await client.history("r1", after=2),
        )

    (listed, pipelines, one, history), asked = ask(play, wanted)
    assert (listed.position, listed.runs[0].run_id, listed.next) == (at(12), "r1", "7")
    assert pipelines == (one,)
    assert history == {"floor": 1, "head": 3, "commits": []}
    assert [line for line, _, _ in asked] == [
        "GET /api/runs?pipeline=market&limit=1&before=9",
        "GET /api/pipelines",
        "GET /api/pipelines/market",
        "GET /api/runs/r1/history?after=2",
    ]


def test_sends_commands():
    """PROTOCOL C1: a receipt names the position of the commit."""

    def play(world):
        world.say("POST /api/pipelines/market/start", 202, DOCUMENT, **told())
        world.say("POST /api/pipeline/start", 202, DOCUMENT, runstate_position=at(5))
        world.say("POST /api/runs/r1/stop", 202, DOCUMENT, **told())

    async def wanted(client):
        return [
            await client.start("market", metadata={"day": 1}, stages=["a"]),
            await client.start(),
            await client.stop("r1", "enough"),
            await client.stop("r1"),
        ]

    receipts, asked = ask(play, wanted)
    assert [receipt.position for receipt in receipts] == [at(12), at(5), at(12), at(12)]
    assert receipts[0].document.run_id == "r1"
    assert [decode(body) for _, _, body in asked] == [
        {"metadata": {"day": 1}, "stages": ["a"]},
        {},
        {"reason": "enough"},
        {},
    ]
    assert asked[0][1]["content-type"] == "application/json"
    assert len({headers["idempotency-key"] for _, headers, _ in asked}) == 4, "a key for each"
    assert "if-match" not in asked[0][1]


def test_a_retry_is_meant_for_what_was_seen():
    """PROTOCOL C2, H4: `if_match` names a position; what is read after a command is not older than it."""

    def play(world):
        world.say("POST /api/runs/r1/retry", 202, DOCUMENT, **told())
        world.say("GET /api/runs/r1", 200, DOCUMENT, **told())
        world.say("GET /api/runs/r1/versions/3", 200, DOCUMENT, **told())

    async def wanted(client):
        await client.retry("r1", if_match=at(9))
        await client.get_version("r1", 3)
        return await client.get_run("r1")

    _, asked = ask(play, wanted)
    assert asked[0][1]["if-match"] == f'"{at(9)}"'
    assert [line for line, _, _ in asked[1:]] == [
        "GET /api/runs/r1/versions/3",
        f"GET /api/runs/r1?min={at(12)}",
    ]


@pytest.mark.parametrize("answer", ["none", "unavailable"])
def test_a_command_is_sent_again_under_its_key_and_then_given_up(answer):
    """PROTOCOL C3: three more tries where nobody answers or the server is away for a moment; reads are not repeated."""

    async def scenario():
        async with answering() as world, connect(world.url, random=lambda: 0.0) as client:
            if answer == "unavailable":
                world.say("POST /api/pipeline/start", 503, encode({"code": "unavailable", "title": "draining"}))
            with pytest.raises(ServerUnreachable if answer == "none" else Problem):
                await client.start()
            with pytest.raises(ServerUnreachable):
                await client.get_status()
            return world.asked

    asked = asyncio.run(scenario())
    assert [line for line, _, _ in asked] == [*["POST /api/pipeline/start"] * 4, "GET /api/pipeline/status"]
    assert len({headers["idempotency-key"] for _, headers, _ in asked[:4]}) == 1


def test_a_refusal_says_what_the_server_said():
    """PROTOCOL H9, C4: code, status, sentence, and the document it is about."""
    problem = {
        "code": "already_running",
        "status": 409,
        "title": "Running",
        "detail": "market is running",
        "document": run(2, "running_a"),
    }

    with pytest.raises(Problem, match=r"^market is running$") as caught:
        ask(lambda world: world.say("POST /api/pipeline/start", 409, encode(problem)), lambda c: c.start())

    assert (caught.value.code, caught.value.status, caught.value.document["run_id"]) == ("already_running", 409, "r1")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_refusal_of_something_else_is_clear_too(body):
    """A proxy's page is no problem document."""
    with pytest.raises(Problem, match="502 without saying why") as caught:
        ask(lambda world: world.say("GET /api/runs/r1", 502, body), lambda c: c.get_run("r1"))

    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        (DOCUMENT, told(b"{}"), "does not have the digest"),
        (b"[1]", {}, "no run document"),
        (encode({"a": 1}), {}, "no run document"),
        (b"<html>", {}, "no run document"),
    ],
)
def test_what_is_not_a_document_is_not_returned(body, headers, sentence):
    """PROTOCOL F10: what is shown was verified."""
    with pytest.raises(PeerError, match=sentence):
        ask(lambda world: world.say("GET /api/runs/r1", 200, body, **headers), lambda c: c.get_run("r1"))


@pytest.mark.parametrize(("body", "sentence"), [(b"[]", "not a JSON object"), (b"x", "not valid JSON")])
def test_a_page_is_an_object(body, sentence):
    with pytest.raises(PeerError, match=sentence):
        ask(lambda world: world.say("GET /api/runs", 200, body), lambda c: c.runs())


def test_a_receipt_without_a_position_is_none():
    with pytest.raises(PeerError, match="named no position"):
        ask(lambda world: world.say("POST /api/pipeline/start", 202, DOCUMENT), lambda c: c.start())


def test_nobody_answers():
    """One sentence that names the address and the way out."""

    async def scenario():
        async with answering() as world:
            url = world.url
        async with connect(url) as client:
            await client.get_status()

    with pytest.raises(
        ServerUnreachable, match=r"no runstate server answers at http://127.0.0.1:\d+; is `runstate serve`"
    ):
        asyncio.run(scenario())


@pytest.mark.parametrize("url", ["localhost:8642", "ftp://host", "http://", ""])
def test_an_address_that_is_none(url):
    async def scenario():
        async with connect(url):
            pass

    with pytest.raises(InvalidValue, match="is not the address of a server"):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (lambda c: c.start(metadata=[1]), r"^metadata is a mapping of names to JSON values, not \[1\]$"),
        (lambda c: c.start(metadata="day=1"), "^metadata is a mapping of names to JSON values, not 'day=1'$"),
        (lambda c: c.start(metadata={"day": {1}}), "metadata.day"),
        (lambda c: c.start(stages="load"), "^stages is a list of stage names, not 'load'$"),
        (lambda c: c.start(stages=3), "^stages is a list of stage names, not 3$"),
        (lambda c: c.open_run("p", stages=["a"], metadata=[1]), r"^metadata is a mapping .* not \[1\]$"),
        (lambda c: c.open_run("p", stages="load", metadata={}), "^stages is a list of stage names, not 'load'$"),
    ],
)
def test_what_cannot_be_sent_is_said_in_one_sentence(wanted, sentence):
    """Nothing goes out: the mistake is the program's own, and the sentence names it."""
    asked = []

    async def tried(client):
        with pytest.raises(InvalidValue, match=sentence):
            await wanted(client)

    _, asked = ask(lambda world: None, tried)
    assert asked == []

"""`verify`: attach every reader, let them read for a while, and judge what they saw.

Law: every wait has a bound, and the whole ends within `seconds` + 10 s, whatever the server does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from runstate.client import Client, Problem, ServerUnreachable, connect
from runstate.client.transports import LOOPBACK
from runstate.core.errors import PeerError, RunstateError
from runstate.verify.answers import Answers
from runstate.verify.chaos import chance
from runstate.verify.journal import Journal, made_by_history
from runstate.verify.ledger import hold_all, ledger_of
from runstate.verify.outcome import Asked, Outcome
from runstate.verify.polls import Unanswered
from runstate.verify.promises import Violation
from runstate.verify.readers import Readers
from runstate.verify.recorder import Recorder

CONTACT_S = 3.0  # for the first answer
AFTERWARDS_S = 9.0  # for everything after the time that was asked for; with the program's own start less than 10 s
HISTORY_S = 7.0  # of which the history may be read until here


class _Named(msgspec.Struct):
    pipeline: str


class _Pipelines(msgspec.Struct):
    pipelines: list[_Named]


async def verify(
    url: str,
    *,
    seed: int,
    token: str | None = None,
    seconds: float = 10.0,
    chaos: bool = False,
    start: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Return what became of each promise at the server, looked at for `seconds`.

    Args:
        url: Where the server is.
        seed: What all chance comes from.
        token: As whom we come.
        seconds: How long the readers read; judging takes up to 10 s more.
        chaos: Whether the readers cut, stall and resume their own connections.
        start: A pipeline to start a run of at the beginning.
        tell: Takes a sentence for a person.

    Raises:
        ServerUnreachable: Nobody answers, or nobody does any more.
        Problem: The server refuses.
        PeerError: It is no runstate server.
        InvalidValue: `url` is not one.
    """
    asked = Asked(url, seconds, chaos, seed, start)
    begun_ns = time.monotonic_ns()
    with Recorder(lambda: (time.monotonic_ns() - begun_ns) // 1_000_000) as recorder:
        try:
            async with asyncio.timeout(seconds + AFTERWARDS_S), _attached(url, token) as (http, client):
                pipelines = await _contact(http, url)
                if start is not None:
                    await _start(client, start, tell)
                return await _check(recorder, http, client, asked, pipelines)
        except TimeoutError as exc:
            raise ServerUnreachable(url) from exc


@asynccontextmanager
async def _attached(url: str, token: str | None) -> AsyncIterator[tuple[httpx.AsyncClient, Client]]:
    async with connect(url, token) as client:
        base = httpx.URL(url.rstrip("/") + "/")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(
            base_url=base, headers=headers, limits=limits, timeout=CONTACT_S, trust_env=base.host not in LOOPBACK
        ) as http:
            yield http, client


async def _contact(http: httpx.AsyncClient, url: str) -> list[str]:
    """Return the names of the pipelines."""
    try:
        async with asyncio.timeout(CONTACT_S):
            response = await http.get("api/pipelines")
    except (TimeoutError, httpx.TransportError) as exc:
        raise ServerUnreachable(url) from exc
    if response.status_code in (401, 403):
        raise Problem(
            "unauthorized", response.status_code, f"the server refuses us ({response.status_code}); see --token"
        )
    try:
        return [one.pipeline for one in msgspec.json.decode(response.content, type=_Pipelines).pipelines]
    except msgspec.DecodeError as exc:
        raise PeerError(f"{url} answers {response.status_code} and is no runstate server") from exc


async def _start(client: Client, pipeline: str, tell: Callable[[str], None]) -> None:
    try:
        begun = (await client.start(pipeline)).document
    except Problem as refusal:
        tell(f"{pipeline} was not started: {refusal.detail}")
    else:
        tell(f"started run {begun.run_id} of {pipeline}")


async def _check(
    recorder: Recorder, http: httpx.AsyncClient, client: Client, asked: Asked, pipelines: list[str]
) -> Outcome:
    readers = Readers(recorder, http, client, asked, pipelines)
    journal = Journal(recorder, http, chance(asked.seed, "journal"))
    checks = recorder.checks
    ends: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            work = [*readers.begin(tasks), tasks.create_task(journal.follow())]
            await _read_for(recorder, asked.seconds)
            head = await readers.head()
            await readers.reach(head)
            for task in work:
                task.cancel()
        await journal.finish(round((asked.seconds + HISTORY_S) * 1000))
        ledger = ledger_of(recorder.sightings, made_by_history(journal))
        checks.update(hold_all(ledger, [one.hearing for one in readers.streams], _answers(readers)))
    except* (Violation, Unanswered, RunstateError) as group:
        ends.append(_first(group))
    broken = next((end for end in ends if isinstance(end, Violation)), None)
    if ends and broken is None:
        raise ServerUnreachable(asked.url) if isinstance(ends[0], Unanswered) else ends[0]
    if journal.is_partial:
        recorder.notes.append("there was no time to read the whole history; what was not read was not held against it")
    if journal.left_out:
        recorder.notes.append(f"{journal.left_out} runs were seen whose history was not read")
    return Outcome(
        asked=asked,
        checks=recorder.counts(),
        commits=len(recorder.commits),
        joint_commits=sum(count > 1 for count in recorder.commits.values()),
        readers=readers.lines(),
        notes=recorder.told(),
        broken=broken,
    )


async def _read_for(recorder: Recorder, seconds: float) -> None:
    """Let the readers read."""
    while recorder.now_ms() < seconds * 1000:
        await asyncio.sleep(min(0.1, max(0.0, seconds - recorder.now_ms() / 1000)))
        if recorder.is_full:
            recorder.notes.append(
                f"there was more to see than is kept; it was looked at for {recorder.now_ms() / 1000:.1f} s"
            )
            return


def _answers(readers: Readers) -> list[Answers]:
    return [readers.poll.answers, *(one.answers for one in readers.waits)]


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return the first broken promise of a group, else whatever came first."""
    inner = [_first(one) if isinstance(one, BaseExceptionGroup) else one for one in group.exceptions]
    return next((one for one in inner if isinstance(one, Violation)), inner[0])

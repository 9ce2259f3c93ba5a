"""The readers that ask: a poller with tags, and one that waits for the answer (PROTOCOL H2, H3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import httpx

from runstate.verify.answers import Answers

ANSWER_S = 5.0  # for an answer that does not wait
LONGEST_WAIT_S = 10
POLL_S = 0.1  # between two polls
PAUSE_S = 0.25  # after a refusal


class Unanswered(Exception):
    """The server did not answer with a document; the text says what it did."""

    def __init__(self, what: str, status: int | None = None) -> None:
        self.status = status  #: HTTP's, None where nothing came.
        super().__init__(what)


@dataclass
class Asker:
    """Asks for documents, and hands each answer to be judged."""

    answers: Answers
    http: httpx.AsyncClient
    random: Random
    chaos: bool = False
    cuts: int = 0  #: Requests left without waiting for their answer, by our own plan.

    async def ask(self, path: str, *, wait_s: int | None = None, fresh: bool = False) -> None:
        """Ask once, with the tag of what is known unless `fresh`.

        Raises:
            Unanswered: Nothing came that can be judged.
            Violation: The answer breaks a promise.
        """
        tag = None if fresh else self.answers.tag(path)
        headers = {"accept-encoding": "identity"}
        query: dict[str, str] = {}
        if tag is not None and wait_s is not None and self.random.random() < 0.5:
            query = {"after": tag, "wait": str(wait_s)}
        elif tag is not None:
            headers["if-none-match"] = f'"{tag}"'
            if wait_s is not None:
                headers["prefer"] = f"wait={wait_s}"
        limit = ANSWER_S + (wait_s or 0)
        try:
            async with (
                asyncio.timeout(limit),
                self.http.stream("GET", path, params=query, headers=headers, timeout=limit) as response,
            ):
                body = b"".join([piece async for piece in response.aiter_raw()])
        except (TimeoutError, httpx.HTTPError) as exc:
            raise Unanswered(f"{path}: {type(exc).__name__}") from exc
        if response.status_code not in (200, 304):
            raise Unanswered(f"{path}: status {response.status_code}", response.status_code)
        self.answers.take(path, response.status_code, response.headers, body, tag)

    async def poll(self, paths: Sequence[str]) -> None:
        """Poll these addresses in turn until cancelled."""
        while True:
            for path in paths:
                try:
                    await self.ask(path, fresh=self.chaos and self.random.random() < 0.2)
                except Unanswered as exc:
                    await self._pause(exc)
            await asyncio.sleep(POLL_S if not self.chaos else self.random.uniform(0, 4 * POLL_S))

    async def wait(self, path: str, seconds: float) -> None:
        """Wait for one address to change, again and again until cancelled."""
        wait_s = max(1, min(LONGEST_WAIT_S, int(seconds / 2)))
        while True:
            patience_s = None
            if self.chaos and self.random.random() < 0.3:
                patience_s = self.random.uniform(0, seconds / 4)
            try:
                async with asyncio.timeout(patience_s):
                    await self.ask(path, wait_s=wait_s)
            except TimeoutError:
                self.cuts += 1
            except Unanswered as exc:
                await self._pause(exc)

    async def _pause(self, exc: Unanswered) -> None:
        self.answers.recorder.failed(self.answers.name, str(exc))
        await asyncio.sleep(PAUSE_S)

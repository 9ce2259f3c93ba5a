"""One delivery over HTTP: no redirect is followed, no body is read, and it ends within a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import httpx

TIMEOUT_S = 10.0

_is_posting = ContextVar("_is_posting", default=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a delivery."""

    error: str | None  #: None: it was taken. Never holds the URL, which may be a secret.
    retry_after_ms: int = 0


class _WithoutUrls(logging.Filter):
    """httpx logs each URL; a receiver's may be a secret as a whole."""

    def filter(self, _: logging.LogRecord) -> bool:
        return not _is_posting.get()


Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Answer]]  #: URL, body, headers


@asynccontextmanager
async def posting(timeout_s: float = TIMEOUT_S) -> AsyncIterator[Post]:
    """Give what posts, for as long as the block lasts."""
    quiet = _WithoutUrls()
    logging.getLogger("httpx").addFilter(quiet)
    async with httpx.AsyncClient(follow_redirects=False, timeout=timeout_s) as client:

        async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
            _is_posting.set(True)  # of the sender's task, which does nothing else
            try:
                # Together, since a receiver that sends a byte now and then never lets a read time out.
                async with asyncio.timeout(timeout_s), client.stream("POST", url, content=body, headers=headers) as got:
                    if got.is_success:
                        return Answer(None)
                    return Answer(f"the receiver answered {got.status_code}", _milliseconds(got.headers))
            except (TimeoutError, httpx.TimeoutException):
                return Answer(f"the receiver did not answer within {timeout_s:g} s")
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as exc:
                return Answer(f"the receiver cannot be reached ({type(exc).__name__})")

        try:
            yield post
        finally:
            logging.getLogger("httpx").removeFilter(quiet)


def _milliseconds(headers: httpx.Headers) -> int:
    told = headers.get("retry-after", "")
    return int(told) * 1000 if told.isascii() and told.isdecimal() and len(told) < 7 else 0

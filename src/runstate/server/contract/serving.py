"""`GET /api/openapi.json` and `GET /api/asyncapi.json`."""

from __future__ import annotations

from functools import cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstate.server.contract.asyncapi import asyncapi
from runstate.server.contract.openapi import openapi
from runstate.server.query import query_of


async def serve_openapi(request: Request) -> Response:
    """Answer with the contract of the HTTP routes."""
    query_of(request)
    return _answer(_openapi())


async def serve_asyncapi(request: Request) -> Response:
    """Answer with the contract of the streams."""
    query_of(request)
    return _answer(_asyncapi())


@cache
def _openapi() -> bytes:
    return msgspec.json.encode(openapi())


@cache
def _asyncapi() -> bytes:
    return msgspec.json.encode(asyncapi())


def _answer(body: bytes) -> Response:
    return Response(body, 200, {"Cache-Control": "no-cache"}, "application/json")

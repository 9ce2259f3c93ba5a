"""Webhooks over HTTP: who is told, what waits for its next try, what was given up; and trying that again."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstate.core.times import format_time
from runstate.server.query import body_of, query_of
from runstate.webhooks.events import Ref
from runstate.webhooks.sender import Sender, Webhooks


class WebhookRoutes:
    """The routes over one engine's webhooks. No secret and no path of a receiver's URL is ever shown."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def read(self, request: Request) -> Response:
        """`GET /api/webhooks`."""
        query_of(request)
        return _json({"webhooks": [_shown(sender) for sender in self._webhooks.senders.values()]})

    async def redeliver(self, request: Request) -> Response:
        """`POST /api/webhooks/{id}/redeliver`: what was given up is tried again."""
        query_of(request)
        await body_of(request, {})
        return _json({"events": await self._webhooks.sender(request.path_params["id"]).revive()})


def _shown(sender: Sender) -> dict[str, Any]:
    outbox = sender.outbox
    waiting = [
        _event(one.ref)
        | {"tries": one.tries, "error": one.error, "next_try_at": format_time(one.due_ms) if one.due_ms else None}
        for one in outbox.waiting
    ]
    dead = [
        _event(one.ref) | {"tries": one.tries, "error": one.error, "given_up_at": format_time(one.at_ms)}
        for one in outbox.dead
    ]
    config = sender.config
    return {"id": sender.id, "receiver": config.receiver, "on": config.on, "waiting": waiting, "dead": dead}


def _event(ref: Ref | None) -> dict[str, Any]:
    if ref is None:
        return {"type": None, "subject": None, "version": None}
    return {"type": ref.type, "subject": ref.id, "version": ref.version}


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), 200, {"Cache-Control": "no-store"}, "application/json")

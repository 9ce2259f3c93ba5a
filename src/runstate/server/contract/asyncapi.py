"""The AsyncAPI 3.0 document of the streams (PROTOCOL §4): the same frames on WebSocket and as server-sent events."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from runstate.server.contract.operations import OPERATIONS
from runstate.server.contract.schemas import all_schemas, ref

SENT = ("Hello", "Snapshot", "Transition", "Bye", "ProblemFrame")
HEARD = ("Subscribe",)


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    query = {
        p.name: p.schema | {"description": p.about}
        for p in OPERATIONS["GET /api/stream"].parameters
        if p.place == "query"
    }
    query_schema = {"type": "object", "properties": query, "additionalProperties": False}
    asked = {"method": "GET", "query": query_schema}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "runstate streams",
            "version": version("runstate"),
            "description": "Names such as F1 are the rules of docs/protocol.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/api/ws",
                "description": "WebSocket; text frames, one JSON object each.",
                "messages": _messages(*SENT, *HEARD),
                "bindings": {"ws": {"method": "GET", "query": query_schema}},
            },
            "events": {
                "address": "/api/stream",
                "description": "Server-sent events; `data` holds one JSON object, `id` a position to resume from (F7).",
                "messages": _messages(*SENT),
            },
        },
        "operations": {
            "sendToSocket": _operation("send", "socket", SENT),
            "hearFromSocket": _operation("receive", "socket", HEARD),
            "sendEvents": _operation("send", "events", SENT) | {"bindings": {"http": asked}},
        },
        "components": {
            "messages": {name: {"name": name, "payload": ref(name)} for name in (*SENT, *HEARD)},
            "schemas": all_schemas(),
        },
    }


def _messages(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _operation(action: str, channel: str, names: tuple[str, ...]) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "messages": messages}

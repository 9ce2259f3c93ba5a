"""What a request may ask: an option that is unknown, repeated or not supported is refused, never ignored (PROTOCOL H9)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from runstate.core.canonical import Json, decode
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.position import Position
from runstate.server.problems import Problem

MAX_BODY_BYTES = 1024 * 1024  # PROTOCOL H9

#: What a member is, as people say it.
_WORDS: dict[type | tuple[type, ...], str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    (int, float): "a number",
}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")


def query_of(request: HTTPConnection, allowed: Iterable[str] = ()) -> dict[str, str]:
    """Return the query's parameters.

    Raises:
        Problem: One is not among `allowed`, or stands twice.
    """
    wanted = dict.fromkeys(allowed)
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in wanted:
            known = ", ".join(wanted) or "none"
            raise Problem("bad_query", f"query parameter {name} is not known here; known: {known}")
        if name in found:
            raise Problem("bad_query", f"query parameter {name} stands twice")
        found[name] = value
    return found


def number_of(query: dict[str, str], name: str, *, default: int, least: int, most: int) -> int:
    """Return a whole number from the query.

    Raises:
        Problem: It is not one, or not between `least` and `most`.
    """
    text = query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise Problem(
            "bad_query", f"query parameter {name} is {text!r}; a whole number from {least} to {most} is needed"
        )
    return int(text)


def position_of(query: dict[str, str], name: str) -> Position | None:
    """Return a position from the query, None where it is missing.

    Raises:
        Problem: It is not a position.
    """
    if name not in query:
        return None
    try:
        return Position.parse(query[name])
    except PeerError as exc:
        raise Problem("bad_query", f"query parameter {name}: {exc}") from exc


async def body_of(request: Request, members: dict[str, type | tuple[type, ...]]) -> dict[str, Json]:
    """Return the request's JSON object; an empty body is `{}` (PROTOCOL C7).

    Args:
        members: The members it may have, with their types.

    Raises:
        Problem: It is too large, not JSON, not an object, or has other members.
    """
    body = await _whole_body(request)
    if not body.strip():
        return {}
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise Problem("unsupported_media_type", f"the body is encoded as {coding}; send it as it is")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            "unsupported_media_type", f"the body is {kind or 'of no named type'}; send Content-Type: application/json"
        )
    try:
        value = decode(body)
    except InvalidValue as exc:
        raise Problem("bad_json", f"the body is {exc}") from exc
    if not isinstance(value, dict):
        raise Problem("invalid", "the body is JSON, but not an object")
    for name, member in value.items():
        if name not in members:
            raise Problem("invalid", f"the body has the unknown member {name!r}; known: {', '.join(members) or 'none'}")
        if not isinstance(member, members[name]):
            shown = msgspec.json.encode(member)[:40].decode(errors="replace")
            raise Problem("invalid", f"member {name} is {shown}; {_WORDS[members[name]]} is needed")
    return value


async def _whole_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Problem("too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    except ClientDisconnect:
        # Nobody is there to read this; without it a caller who hangs up would be logged as a bug of ours.
        raise Problem("bad_json", "the connection ended before the body did") from None
    return bytes(body)

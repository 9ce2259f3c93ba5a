"""Patches: RFC 6902 restricted to `add`, `replace` and `remove`.

Things that change are keyed by name and arrays are replaced whole, so no path carries an array index, and a patch is
valid from exactly one base (PROTOCOL F9). `apply(a, diff(a, b))` is `b` in canonical bytes.
"""

from __future__ import annotations

from typing import Any

from runstate.core.canonical import Json, encode
from runstate.core.errors import PeerError

Patch = list[dict[str, Any]]


def diff(old: Json, new: Json, path: str = "") -> Patch:
    """Return the operations that turn `old` into `new`, in the order of sorted keys.

    Both are decoded canonical JSON (so equal numbers have equal types); neither is changed.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        operations: Patch = []
        for key in sorted(old.keys() | new.keys()):
            place = f"{path}/{_escape(key)}"
            if key not in new:
                operations.append({"op": "remove", "path": place})
            elif key not in old:
                operations.append({"op": "add", "path": place, "value": new[key]})
            else:
                operations += diff(old[key], new[key], place)
        return operations
    return [] if _same(old, new) else [{"op": "replace", "path": path, "value": new}]


def apply(document: Json, patch: Json) -> Json:
    """Return `document` with `patch` applied; `document` is left as it was.

    Raises:
        PeerError: The patch does not fit the document, or is not one of ours.
    """
    if not isinstance(patch, list):
        raise PeerError("a patch is an array of operations")
    for operation in patch:
        match operation:
            case {"op": "add" | "replace" | "remove" as op, "path": str(path)} if (
                op == "remove" or "value" in operation
            ):
                document = _apply_at(document, op, path, operation.get("value"))
            case _:
                raise PeerError(f"{operation!r} is not an add, replace or remove operation")
    return document


def _apply_at(document: Json, op: str, path: str, value: Json) -> Json:
    if path == "":
        if op == "remove":
            raise PeerError("the whole document cannot be removed")
        return value
    if not path.startswith("/"):
        raise PeerError(f"{path!r} is not a JSON Pointer")
    token, _, rest = path[1:].partition("/")
    key = _unescape(token)
    if not isinstance(document, dict):
        raise PeerError(f"there is no object to hold {key!r}")
    copy = dict(document)
    if rest or path.count("/") > 1:
        if key not in copy:
            raise PeerError(f"there is no member {key!r}")
        copy[key] = _apply_at(copy[key], op, path[1 + len(token) :], value)
    elif op == "add":
        copy[key] = value
    elif key not in copy:
        raise PeerError(f"there is no member {key!r} to {op}")
    elif op == "replace":
        copy[key] = value
    else:
        del copy[key]
    return copy


def _same(old: Json, new: Json) -> bool:
    # Python says [True] == [1] and 1 == 1.0; the wire does not.
    if isinstance(old, (dict, list)) or isinstance(new, (dict, list)):
        return encode(old) == encode(new)
    return type(old) is type(new) and bool(old == new)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")

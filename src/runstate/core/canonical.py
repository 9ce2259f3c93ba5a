"""Canonical JSON (RFC 8785) and the border where values enter documents (PROTOCOL §2).

Law: what passes `freeze` has exactly one canonical form, and every byte of every document is made here.
The fast encoder serves values without floats and with ASCII keys, where RFC 8785 and msgspec's sorted form are the same;
the `rfc8785` library serves the rest, and tests/core/test_canonical.py holds the two equal.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import rfc8785

from runstate.core.errors import InvalidValue

Json = Any  # a decoded JSON value; `freeze` is what gives it its shape

MAX_SAFE_INT = 2**53 - 1
MAX_DEPTH = 64  # levels of nesting; no document needs more, and recursion stays far from Python's limit

_SURROGATE = re.compile("[\ud800-\udfff]")
_fast = msgspec.json.Encoder(order="sorted")


def encode(value: Json) -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises:
        InvalidValue: The value is outside PROTOCOL §2 (NaN, an integer beyond 2^53−1, a lone surrogate, not JSON at all).
    """
    plain = check(value)
    return _fast.encode(value) if plain else rfc8785.dumps(normal(value))


def decode(encoded: bytes | str) -> Json:
    """Return the JSON value; `encoded` must be valid JSON in UTF-8.

    Raises:
        InvalidValue: It is not.
    """
    try:
        return msgspec.json.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidValue(f"not valid JSON: {exc}") from exc


def digest(encoded: bytes) -> str:
    """Return `sha-256:<hex>` of canonical bytes (PROTOCOL D6)."""
    return "sha-256:" + hashlib.sha256(encoded).hexdigest()


def check(value: Json, where: str = "value", depth: int = 0) -> bool:
    """Check that `value` may stand in a document; return whether the fast encoder serves it.

    Args:
        where: What the error names, for example `outputs.rows`.

    Raises:
        InvalidValue: It may not; the text names the member.
    """
    if value is None or value is True or value is False:
        return True
    if depth > MAX_DEPTH:
        raise InvalidValue(f"{where} is nested deeper than {MAX_DEPTH} levels")
    # Exact types: a subclass (an IntEnum, a numpy float) has a meaning of its own that JSON would drop.
    kind = type(value)
    if kind is str:
        _check_text(value, where)
        return True
    if kind is int:
        if not -MAX_SAFE_INT <= value <= MAX_SAFE_INT:
            raise InvalidValue(
                f"{where} is an integer beyond ±(2^53−1), which JSON readers cannot hold; send it as text"
            )
        return True
    if kind is float:
        _check_float(value, where)
        return False
    if kind is dict or kind is MappingProxyType:
        plain = kind is dict
        for key, member in value.items():
            if type(key) is not str:
                raise InvalidValue(f"{where} has the key {key!r}; the keys of a JSON object are text")
            _check_text(key, f"a key of {where}")
            plain &= key.isascii()
            plain &= check(member, f"{where}.{key}", depth + 1)
        return plain
    if kind is list or kind is tuple:
        plain = True
        for index, member in enumerate(value):
            plain &= check(member, f"{where}[{index}]", depth + 1)
        return plain
    if kind is FrozenJson:
        return False
    raise InvalidValue(
        f"{where} is of type {kind.__name__}, which is not JSON; use text, numbers, booleans, None, lists and dicts"
    )


def _check_text(text: str, where: str) -> None:
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidValue(f"{where} holds a lone surrogate, which is not UTF-8 text")


def _check_float(value: float, where: str) -> None:
    if not math.isfinite(value):
        raise InvalidValue(f"{where} is {value!r}, which JSON has no number for; use None")
    # ES6 writes whole floats below 1e21 without exponent, so a reader would take this for an integer it cannot hold.
    if value.is_integer() and MAX_SAFE_INT < abs(value) < 1e21:
        raise InvalidValue(
            f"{where} is a whole number beyond ±(2^53−1), which JSON readers cannot hold; send it as text"
        )


def normal(value: Json) -> Json:
    """Return `value` made of plain dicts and lists, as the general encoder wants it."""
    if isinstance(value, FrozenJson):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: normal(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [normal(member) for member in value]
    return value


class FrozenJson(Mapping[str, Json]):
    """A JSON object that cannot change, kept as its canonical bytes.

    Reads like a mapping; nested objects are read-only mappings, nested arrays are tuples.
    """

    __slots__ = ("_view", "encoded")

    encoded: bytes  #: Canonical JSON.

    def __init__(self, value: Mapping[str, Json], where: str = "value") -> None:
        """Freeze `value`; `where` is what an error names.

        Raises:
            InvalidValue: It is not a JSON object that may stand in a document.
        """
        if isinstance(value, FrozenJson):
            self.encoded = value.encoded
        else:
            if not isinstance(value, Mapping):
                raise InvalidValue(f"{where} is of type {type(value).__name__}; a JSON object (dict) is needed")
            value = dict(value)
            plain = check(value, where)
            self.encoded = _fast.encode(value) if plain else rfc8785.dumps(normal(value))
        self._view: Mapping[str, Json] | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return a fresh, mutable copy."""
        return msgspec.json.decode(self.encoded, type=dict[str, Any])

    def _mapping(self) -> Mapping[str, Json]:
        if self._view is None:
            self._view = _freeze(self.to_dict())
        return self._view

    def __getitem__(self, key: str) -> Json:
        return self._mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def __len__(self) -> int:
        return len(self._mapping())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenJson):
            return self.encoded == other.encoded
        return isinstance(other, Mapping) and self._mapping() == _freeze(dict(other))

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        return f"FrozenJson({self.encoded.decode()})"


def _freeze(value: Json) -> Json:
    if isinstance(value, dict):
        return MappingProxyType({key: _freeze(member) for key, member in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(member) for member in value)
    return value

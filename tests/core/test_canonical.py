"""One value has one canonical form, and what has none is refused at the border."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import MAX_SAFE_INT, FrozenJson, check, decode, digest, encode
from runstate.core.errors import InvalidValue

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(-MAX_SAFE_INT, MAX_SAFE_INT)
floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda x: not (x.is_integer() and MAX_SAFE_INT < abs(x) < 1e21)
)
scalars = st.none() | st.booleans() | integers | floats | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
# Drawn close together on purpose: two independent draws rarely differ by False and 0 alone.
near = st.sampled_from([None, False, True, 0, 1, -0.0, 1.0, "", "0", "1"])


@given(values)
def test_both_encoders_give_the_form_of_rfc_8785(value: Any) -> None:
    """The fast path and the library agree, whatever the value."""
    assert encode(value) == rfc8785.dumps(value)


@given(values)
def test_decoding_and_encoding_again_changes_nothing(value: Any) -> None:
    """The canonical form is a fixed point."""
    assert encode(decode(encode(value))) == encode(value)


@given(st.dictionaries(texts, near | st.lists(near), max_size=3))
def test_a_frozen_object_reads_as_it_was_written(value: dict[str, Any]) -> None:
    """It compares, iterates and copies like the dict it was made of."""
    frozen = FrozenJson(value)
    assert frozen.encoded == encode(value)
    assert frozen.to_dict() == decode(encode(value))
    assert sorted(frozen) == sorted(value)
    assert hash(frozen) == hash(FrozenJson(frozen.to_dict()))


def test_what_a_frozen_object_holds_cannot_be_changed() -> None:
    """Nested objects are read-only too, and a copy is only a copy."""
    frozen = FrozenJson({"a": {"b": [1]}})
    with pytest.raises(TypeError):
        frozen["a"]["b"] = 2  # type: ignore[index]
    frozen.to_dict()["a"] = 1
    assert frozen["a"]["b"] == (1,)


@pytest.mark.rule("D6")
def test_the_digest_is_the_sha_256_of_the_bytes() -> None:
    """Anybody can check it with a standard library."""
    assert digest(b"{}") == "sha-256:" + hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (2**53, "beyond"),
        (-(2**53), "beyond"),
        (1e17, "beyond"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        ({1: 2}, "keys of a JSON object are text"),
        ({"a": [1, {"b": object()}]}, r"value\.a\[1\]\.b is of type object"),
        (b"bytes", "of type bytes"),
        ({1, 2}, "of type set"),
    ],
)
def test_what_has_no_canonical_form_is_refused_by_name(value: Any, complaint: str) -> None:
    """The sentence says which member it is."""
    with pytest.raises(InvalidValue, match=complaint):
        encode(value)


def test_nesting_has_a_limit_that_is_an_error_and_not_a_crash() -> None:
    """A hostile document cannot exhaust the stack."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidValue, match="nested deeper"):
        check(deep)
    with pytest.raises(InvalidValue, match="not valid JSON"):
        decode("[" * 100_000 + "]" * 100_000)


def test_large_floats_with_an_exponent_are_allowed() -> None:
    """Their ES6 form is no integer that a reader would have to hold."""
    assert json.loads(encode([1e21, 1.5e300])) == [1e21, 1.5e300]

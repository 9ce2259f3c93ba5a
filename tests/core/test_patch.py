"""A patch turns one document into another, exactly, and into no other."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import decode, encode
from runstate.core.errors import PeerError
from runstate.core.patch import apply, diff

keys = st.sampled_from(["a", "b", "a/b", "~", "~1", "", "é"])
near = st.sampled_from([None, False, True, 0, 1, 1.5, "", "1"])
documents = st.recursive(
    near, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
).map(lambda value: decode(encode(value)))


@given(documents, documents)
def test_applying_the_difference_gives_the_other_document(old: Any, new: Any) -> None:
    """In canonical bytes, so that False is not 0 and 1 is not true."""
    before = encode(old)
    assert encode(apply(old, diff(old, new))) == encode(new)
    assert encode(old) == before


@given(documents, documents)
def test_an_independent_library_understands_our_patches(old: Any, new: Any) -> None:
    """They are plain RFC 6902."""
    assert encode(jsonpatch.apply_patch(old, diff(old, new))) == encode(new)


@given(st.dictionaries(keys, documents), st.dictionaries(keys, documents))
def test_only_three_operations_and_no_array_index(old: Any, new: Any) -> None:
    """Objects are patched by name, arrays are replaced whole."""
    for operation in diff(old, new):
        assert operation["op"] in {"add", "replace", "remove"}
        *parents, _ = [token.replace("~1", "/").replace("~0", "~") for token in operation["path"].split("/")[1:]]
        at = old
        for name in parents:
            at = at[name]
            assert isinstance(at, dict)


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "replace", "path": "/nope", "value": 1}],
        [{"op": "remove", "path": "/nope"}],
        [{"op": "add", "path": "/a/b/c", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/a"}],
        [{"op": "move", "from": "/a", "path": "/b"}],
        [{"op": "remove", "path": ""}],
        {"op": "add"},
        [1],
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: Any) -> None:
    """The document is left as it was."""
    document = {"a": [1]}
    with pytest.raises(PeerError):
        apply(document, patch)
    assert document == {"a": [1]}

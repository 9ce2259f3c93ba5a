"""Events survive every cut of their bytes; the cases are in conformance/sse."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runstate.core.sse import SseDecoder, SseEvent, encode

# What tempts a decoder: ends of lines that are none, the field's own signs, characters of several bytes.
TEXT = st.text(
    st.sampled_from('a: \n\u2028\u2029\u0085\x0b\x0c\x1c\ufeffé€😀{}"')
    | st.characters(exclude_characters="\r", codec="utf-8")
)
IDS = st.none() | st.text("0123456789abcdef-.", min_size=1)
EVENTS = st.lists(st.tuples(TEXT, IDS, st.none() | st.integers(0, 10**9)), max_size=5)


def decoded(chunks):
    decoder, events = SseDecoder(), []
    for chunk in chunks:
        decoder, ended = decoder.feed(chunk)
        events += ended
    return decoder, events


@given(EVENTS, st.lists(st.integers(0, 10**4)))
def test_what_is_encoded_is_decoded_wherever_it_is_cut(sent, cuts):
    """PROTOCOL F7: the data arrives as it was, ids stay until the next, and no cut matters."""
    stream = b"".join(encode(data.encode(), id=at, retry_ms=retry_ms) for data, at, retry_ms in sent)
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(places)]

    decoder, events = decoded(chunks)

    last_id, expected = None, []
    for data, at, _ in sent:
        last_id = last_id if at is None else at
        expected.append(SseEvent(data, last_id))
    assert events == expected
    assert decoder.last_id == last_id


@given(st.binary(max_size=200))
def test_no_bytes_can_break_the_decoder(stream):
    """Whatever a peer sends, cut into single bytes or not, is read the same and raises nothing."""
    assert decoded([stream]) == decoded([stream[i : i + 1] for i in range(len(stream))])

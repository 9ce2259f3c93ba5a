"""Waiting is spread, bounded and never shorter than nothing; the cases are in conformance/backoff."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runstate.core.backoff import FIRST_CEILING_MS, LAST_CEILING_MS, delay_ms


@given(failures=st.integers(0, 10**9), random=st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_its_ceiling(failures, random):
    """Each failure doubles the ceiling, and 30 s is the last."""
    ceiling = min(LAST_CEILING_MS, FIRST_CEILING_MS * 2 ** min(failures, 100))

    assert 0 <= delay_ms(failures, random) < ceiling


@given(failures=st.integers(0, 100))
def test_the_jitter_is_full(failures):
    """The shortest wait is none, whatever failed before."""
    assert delay_ms(failures, 0.0) == 0

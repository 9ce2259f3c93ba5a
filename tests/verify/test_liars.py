"""Each promise has a liar that `verify` catches, and it names that promise and no other."""

from __future__ import annotations

import asyncio

import pytest

from runstate.verify import PROMISES, verify
from tests.verify.liars import LIARS
from tests.verify.proxy import Proxy, Truth

SEED = 7


def check(url: str, **options):
    return asyncio.run(verify(url, seed=SEED, **{"seconds": 3.0} | options))


def test_a_proxy_that_does_not_lie_is_believed(busy_server):
    with Proxy(busy_server.url, Truth()) as proxy:
        outcome = check(proxy.url)

    assert (outcome.verdict, outcome.broken) == ("kept", None)


@pytest.mark.parametrize(("liar", "promise"), LIARS, ids=[liar.__name__ for liar, _ in LIARS])
def test_a_liar_is_caught(busy_server, liar, promise):
    """It exits with the promise, evidence of who saw what, and how to see it again."""
    with Proxy(busy_server.url, liar()) as proxy:
        outcome = check(proxy.url)

    assert outcome.broken is not None, outcome
    assert outcome.broken.promise == promise, (outcome.broken, outcome.broken.seen)
    assert outcome.broken.what
    assert outcome.broken.seen
    assert f"--seed {SEED}" in outcome.asked.command


def test_every_promise_has_its_liar():
    assert {promise for _, promise in LIARS} == set(PROMISES)

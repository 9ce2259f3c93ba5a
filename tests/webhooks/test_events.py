"""What receivers get: CloudEvents whose signature anybody can check, and whose id never changes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from runstate.core.errors import DefinitionError
from runstate.webhooks.events import Ref, headers_of, secret_key
from runstate.webhooks.outbox import (
    MOST_DEAD,
    MOST_TRIES,
    Dead,
    Outbox,
    backoff_ms,
    decode_outbox,
    encode_outbox,
)

REF = Ref(kind="run", id="r", version=7, word="failed")


def test_the_signature_is_that_of_standard_webhooks():
    """The example of the specification's own libraries."""
    key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "S")
    body = b'{"test": 2432232314}'

    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", body, key=key, now_ms=1_614_265_330_000)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"
    assert "webhook-signature" not in headers_of("id", body, key=None, now_ms=0)


def test_a_plain_secret_is_its_own_key():
    signed = headers_of("id", b"body", key=secret_key("hush", "S"), now_ms=5000)["webhook-signature"]

    assert signed == "v1," + base64.b64encode(hmac.new(b"hush", b"id.5.body", hashlib.sha256).digest()).decode()


@pytest.mark.parametrize("secret", ["", "  ", "whsec_not base64"])
def test_a_secret_that_is_none_is_refused_without_being_told(secret):
    with pytest.raises(DefinitionError, match="HOOK_SECRET") as refusal:
        secret_key(secret, "HOOK_SECRET")
    assert "not base64" not in str(refusal.value)


def test_pauses_grow_to_an_hour_and_differ():
    for tries in range(1, MOST_TRIES):
        least, most = backoff_ms(tries, 0.0), backoff_ms(tries, 0.999)
        assert 2_500 <= least < most <= 3_600_000
        assert least <= backoff_ms(tries + 1, 0.0)
    assert backoff_ms(1, 0.0) == 2_500 and backoff_ms(10_000, 0.0) == 1_800_000


def test_an_event_is_given_up_after_its_last_try_and_the_dead_are_bounded():
    outbox = Outbox(after=1).take(2, (REF,))
    for tries in range(1, MOST_TRIES):
        outbox = outbox.failed(outbox.waiting[0], "no", now_ms=tries, retry_after_ms=0, random=0.5)
        assert (outbox.waiting[0].tries, outbox.dead) == (tries, ())
    outbox = outbox.failed(outbox.waiting[0], "no", now_ms=99, retry_after_ms=0, random=0.5)
    assert outbox == Outbox(after=2, dead=(Dead(ref=REF, at_ms=99, tries=MOST_TRIES, error="no"),))
    assert decode_outbox(encode_outbox(outbox)) == outbox
    assert json.loads(encode_outbox(outbox))["after"] == 2
    assert [one.ref for one in outbox.revived().waiting] == [REF] and outbox.revived().dead == ()

    for revision in range(3, 3 + 2 * MOST_DEAD):
        outbox = outbox.take(revision, (REF,))
        outbox = outbox.given_up(outbox.waiting[0], "no", now_ms=revision)
    assert len(outbox.dead) == MOST_DEAD and outbox.dead[-1].at_ms == 2 + 2 * MOST_DEAD
    assert len(outbox.skipped(10_000, now_ms=0).revived().waiting) == MOST_DEAD - 1, "what is gone cannot be told"


def test_a_receiver_that_asks_for_more_time_gets_it():
    outbox = Outbox(after=1).take(2, (REF,))

    later = outbox.failed(outbox.waiting[0], "busy", now_ms=1000, retry_after_ms=120_000, random=0.0)

    assert later.waiting[0].due_ms == 121_000

"""What a poll is answered: tags, digests and watermarks."""

from __future__ import annotations

import base64
import hashlib

import pytest

from runstate.core.canonical import encode
from runstate.verify.answers import Answers
from runstate.verify.promises import Violation
from runstate.verify.recorder import Recorder

EPOCH = "1795442496-88a9e774"
PATH = "api/pipelines/nightly"


def at(revision: int) -> str:
    return f"{EPOCH}.{revision}"


def body_of(version: int) -> bytes:
    return encode({"epoch": EPOCH, "pipeline": "nightly", "version": version, "current_run_id": None})


def headers_of(body: bytes, revision: int, head: int, **other: str | None) -> dict[str, str]:
    proof = base64.b64encode(hashlib.sha256(body).digest()).decode()
    named = {"etag": f'"{at(revision)}"', "repr-digest": f"sha-256=:{proof}:", "runstate-position": at(head)}
    return {name: value for name, value in (named | other).items() if value is not None}


@pytest.fixture
def answers():
    with Recorder(lambda: 0) as recorder:
        begun = Answers("poll", recorder)
        begun.take(PATH, 200, headers_of(body_of(2), 4, 5), body_of(2), None)
        yield begun


def test_what_the_rules_allow_passes(answers):
    answers.take(PATH, 304, headers_of(b"", 4, 6), b"", at(4))
    answers.take(PATH, 200, headers_of(body_of(3), 7, 7, etag=f'W/"{at(7)}"'), body_of(3), at(4))

    assert answers.tag(PATH) == at(7)
    assert [(mark.version, mark.head[1]) for mark in answers.marks] == [(2, 5), (2, 6), (3, 7)]


def test_a_pipeline_that_never_ran_is_no_version(answers):
    idle = encode({"epoch": EPOCH, "pipeline": "idle", "version": 0, "run_id": None, "stages": {}})

    answers.take("api/pipelines/idle/status", 200, headers_of(idle, 5, 5), idle, None)

    assert len(answers.marks) == 1


@pytest.mark.parametrize(
    ("status", "changed", "version", "promise"),
    [
        (200, {"etag": None}, 3, "byte-identical"),
        (200, {"repr-digest": None}, 3, "byte-identical"),
        (200, {"content-encoding": "gzip"}, 3, "byte-identical"),
        (200, {"repr-digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}, 3, "byte-identical"),
        (200, {"runstate-position": None}, 3, "byte-identical"),
        (200, {"runstate-position": at(4)}, 3, "ordered"),
        (200, {"etag": f'"{at(3)}"'}, 3, "ordered"),
        (200, {}, 1, "ordered"),
        (304, {}, 3, "bookmarkable"),  # it names a version that nobody asked about
    ],
)
def test_what_the_rules_do_not_allow_is_named(answers, status, changed, version, promise):
    body = body_of(version)

    with pytest.raises(Violation) as caught:
        answers.take(PATH, status, headers_of(body, 8, 8, **changed), body, at(4))

    assert caught.value.promise == promise, caught.value

"""What a commit tells a receiver, as CloudEvents 1.0 in structured JSON, and how it is signed (Standard Webhooks). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection

import msgspec

from runstate.core.commit import Change, Commit, Document, Key, Kind
from runstate.core.errors import DefinitionError
from runstate.core.times import format_time

CONTENT_TYPE = "application/cloudevents+json"
_SECRET_PREFIX = "whsec_"  # noqa: S105  # because it is what Standard Webhooks' secrets begin with
_TYPES = {"run": "dev.runstate.run", "pipeline": "dev.runstate.pipeline"}


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """An event by where it happened: one version of one document, from which all of it can be made again."""

    kind: Kind
    id: str  #: `run_id` or the pipeline's name.
    version: int
    word: str  #: What happened, of `WEBHOOK_EVENTS`.

    @property
    def key(self) -> Key:
        """Of the document."""
        return Key(self.kind, self.id)

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"{_TYPES[self.kind]}.{self.word}"


def refs_of(commit: Commit, on: Collection[str]) -> tuple[Ref, ...]:
    """Return what a commit tells a receiver that wants the words `on`."""
    cause = msgspec.json.decode(commit.cause.encoded)["event"]
    return tuple(
        Ref(kind=change.document.key.kind, id=change.document.key.id, version=change.document.version, word=word)
        for change in commit.changes
        if (word := _word_of(change, cause)) in on
    )


def _word_of(change: Change, cause: str) -> str:
    document = change.document
    if document.key.kind == "run":
        state = document.run.state
        return state if state != document.old_state else ""
    schedule = document.pipeline.schedule
    if cause == "start_refused":
        return "refused"
    if cause == "schedule_skip" and schedule is not None and schedule.last_skip_reason == "blocked":
        return "refused"
    if document.pipeline.health.state != "blocked" or change.patch is None:
        return ""
    paths = [step["path"] for step in msgspec.json.decode(change.patch)]
    return "blocked" if any(path in ("/health", "/health/state") for path in paths) else ""


def event_id(document: Document) -> str:
    """Return the event's id: the same whenever it is sent, and of no other event."""
    position, key = document.position, document.key
    return f"{position.epoch}-{position.revision}-{key.kind}-{key.id}"


def encode_event(ref: Ref, document: Document) -> bytes:
    """Return the event; `data.document` is the canonical bytes that `data.digest` is of.

    Args:
        document: The version that `ref` names.
    """
    pipeline = document.run.pipeline if ref.kind == "run" else ref.id
    envelope = {
        "specversion": "1.0",
        "id": event_id(document),
        "source": f"/pipelines/{pipeline}",
        "type": ref.type,
        "subject": ref.id,
        "time": format_time(document.at_ms),
        "datacontenttype": "application/json",
    }
    about = {"position": str(document.position), "version": document.version, "digest": document.digest}
    data = msgspec.json.encode(about)[:-1] + b',"document":' + document.encoded + b"}"
    return msgspec.json.encode(envelope)[:-1] + b',"data":' + data + b"}"


def secret_key(secret: str, variable: str) -> bytes:
    """Return the key that a secret spells: `whsec_` and base64, or any other text as it is.

    Raises:
        DefinitionError: It is neither; the text names the variable, never the secret.
    """
    if not secret.strip():
        raise DefinitionError(
            f"webhook: the environment variable {variable} is not set; it holds the secret that signs"
        )
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise DefinitionError(f"webhook: the secret in {variable} begins with whsec_, and no base64 follows") from None


def headers_of(event: str, body: bytes, *, key: bytes | None, now_ms: int) -> dict[str, str]:
    """Return the headers of one delivery; without a key it is not signed.

    `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`.
    """
    at = str(now_ms // 1000)
    headers = {"content-type": CONTENT_TYPE, "webhook-id": event, "webhook-timestamp": at}
    if key is not None:
        code = hmac.new(key, f"{event}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(code).decode()}"
    return headers

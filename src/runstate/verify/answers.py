"""What polls are answered, judged as it comes (PROTOCOL H1–H3, H5): tags, digests, and the watermark of each answer.

Law: no I/O. The digest is that of the body's bytes as they came.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from runstate.core.errors import PeerError
from runstate.core.position import Position
from runstate.verify.frames import row_of
from runstate.verify.judging import Row
from runstate.verify.recorder import Key, Order, Recorder

_TAG = re.compile(r'(?:W/)?"([^"]+)"')  # a proxy that compresses weakens it
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


class _Named(msgspec.Struct):
    version: int
    pipeline: str
    run_id: str | None = None
    stages: msgspec.Raw = msgspec.Raw()


_named = msgspec.json.Decoder(_Named)


@dataclass(frozen=True, slots=True)
class Mark:
    """An answer's claim: this was the latest version when the head was there."""

    key: Key
    version: int
    made: Order  #: Of the version.
    head: Order  #: `Runstate-Position`.


@dataclass(frozen=True, slots=True)
class Known:
    """What a poller has of one address."""

    tag: str  #: Position, as in the ETag.
    row: Row | None  #: None where the pipeline has never run (PROTOCOL D5).


@dataclass(slots=True)
class Answers:
    """One poller's answers."""

    name: str
    recorder: Recorder
    known: dict[str, Known] = field(default_factory=dict)  #: By address.
    marks: list[Mark] = field(default_factory=list)
    answers: int = 0
    unchanged: int = 0  #: How many of them were 304.
    received: int = 0  #: Bytes.
    _head: str = ""
    _latest: dict[Key, tuple[str, int]] = field(default_factory=dict)

    def tag(self, path: str) -> str | None:
        """Return the position of what is known of `path`."""
        known = self.known.get(path)
        return None if known is None else known.tag

    def take(self, path: str, status: int, headers: Mapping[str, str], body: bytes, asked: str | None) -> None:
        """Judge an answer of 200 or 304.

        Args:
            path: What was asked for.
            status: HTTP's.
            headers: With names in lower case.
            body: As received.
            asked: The position in `If-None-Match` or `after`.

        Raises:
            Violation: It breaks a promise.
        """
        self.answers += 1
        self.received += len(body)
        try:
            self._take(path, status, headers, body, asked)
        except PeerError as broken:
            self.recorder.fail("byte-identical", f"an answer breaks the protocol: {broken}", f"{self.name}: {path}")

    def _take(self, path: str, status: int, headers: Mapping[str, str], body: bytes, asked: str | None) -> None:
        found = _TAG.fullmatch(headers.get("etag", ""))
        if found is None:
            raise PeerError("it has no ETag, so nobody can ask whether something changed")
        tag, head = found[1], headers.get("runstate-position", "")
        made, reached = Position.parse(tag).order, Position.parse(head).order
        self.recorder.checks["ordered"] += 1
        if self._head and reached < Position.parse(self._head).order:
            self.recorder.fail(
                "ordered", f"the server's head went from {self._head} back to {head}", f"{self.name}: {path}"
            )
        self._head = head
        known = self.known.get(path)
        if status == 304:
            self.unchanged += 1
            if tag != asked:
                what = f"304 says that {asked} is unchanged, and names {tag}"
                self.recorder.fail("bookmarkable", what, f"{self.name}: {path}")
            row = None if known is None or known.tag != tag else known.row
        else:
            row = self._document(path, tag, headers, body)
            self.known[path] = Known(tag, row)
        if known is not None and made < Position.parse(known.tag).order:
            self.recorder.fail("ordered", f"the answer went from {known.tag} back to {tag}", f"{self.name}: {path}")
        if row is not None:
            self.marks.append(Mark(row.key, row.version, made, reached))
            self.recorder.changed.set()

    def _document(self, path: str, tag: str, headers: Mapping[str, str], body: bytes) -> Row | None:
        if "content-encoding" in headers:
            raise PeerError(f"it is encoded ({headers['content-encoding']}); documents travel as they are")
        proof = _DIGEST.search(headers.get("repr-digest", ""))
        if proof is None:
            raise PeerError("it has no Repr-Digest, so nobody can tell whether something on the way changed it")
        claimed = "sha-256:" + base64.b64decode(proof[1]).hex()
        try:
            named = _named.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise PeerError(f"its body is no document: {exc}") from exc
        if named.version == 0:
            return None
        is_run = bool(bytes(named.stages))
        key = ("run", named.run_id or "") if is_run else ("pipeline", named.pipeline)
        row = row_of(key, named.version, tag, claimed, body)
        self.recorder.saw(f"{self.name} ({path})", row, body)
        epoch, version = self._latest.get(key, ("", 0))
        if epoch == tag.rpartition(".")[0] and row.version < version:
            self.recorder.fail("ordered", f"{key[0]} {key[1]} went from v{version} back to v{row.version}", self.name)
        self._latest[key] = tag.rpartition(".")[0], row.version
        return row

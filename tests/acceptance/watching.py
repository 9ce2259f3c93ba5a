"""Raw readers of the streams: every frame as it came, in its own thread, judged by nobody yet."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.acceptance.puppets import PATIENCE_S


class Frame(NamedTuple):
    text: str  #: As it came.
    value: dict
    id: str | None = None  #: SSE: the `id` field of this event alone.
    retry: str | None = None  #: SSE: likewise.


class Watch:
    """Reads a stream to its end in a thread of its own."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.problems: list[str] = []  #: What broke the form of the stream.
        self.has_ended = False
        self.end = "none"
        self._changed = threading.Condition()
        self._looked = 0  #: Frames whose documents stand in `_unseen`, or have been looked at.
        self._unseen: deque[dict] = deque()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._read()
        except (OSError, httpx.HTTPError, ConnectionClosed) as end:
            self.end = repr(end)  # a test that minds looks at `close_code` or `bye`
        finally:
            with self._changed:
                self.has_ended = True
                self._changed.notify_all()

    def _read(self) -> None:
        raise NotImplementedError

    def _take(self, frame: Frame) -> None:
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()

    def wait(self, condition: Callable[[list[Frame]], object], patience_s: float = PATIENCE_S) -> None:
        """Wait until the frames so far meet `condition`."""
        with self._changed:
            met = self._changed.wait_for(lambda: condition(self.frames) or self.has_ended, patience_s)
            assert met and condition(self.frames), (
                f"waited in vain (end: {self.end}); the last frames: {[f.text[:300] for f in self.frames[-3:]]}"
            )

    def wait_type(self, kind: str) -> dict:
        """Wait for a frame of that type; return the first."""
        self.wait(lambda frames: any(frame.value["type"] == kind for frame in frames))
        return next(frame.value for frame in self.frames if frame.value["type"] == kind)

    def wait_end(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.has_ended, PATIENCE_S), "the stream did not end"

    def wait_document(self, condition: Callable[[dict], bool], patience_s: float = PATIENCE_S) -> dict:
        """Wait for a document that meets `condition`, later than the one of the last call; return it."""
        found: list[dict] = []

        def look(frames: list[Frame]) -> bool:
            for frame in frames[self._looked :]:
                self._unseen.extend(documents_of(frame.value))
            self._looked = len(frames)
            while self._unseen and not found:
                document = self._unseen.popleft()
                found.extend([document] if condition(document) else [])
            return bool(found)

        self.wait(look, patience_s)
        return found[0]

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


def documents_of(frame: dict) -> list[dict]:
    data = [change.get("data", {}) for change in frame.get("changes", ())]
    return [datum.get("canonical_state") or datum.get("document") for datum in data]


class WsWatch(Watch):
    """A WebSocket."""

    def __init__(self, url: str) -> None:
        self._socket = connect(
            url, max_size=None, compression=None, proxy=None, open_timeout=PATIENCE_S, ping_interval=None, legacy=True
        )
        super().__init__()

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    def _read(self) -> None:
        for message in self._socket:
            if not isinstance(message, str):
                self.problems.append("a binary frame")
                message = message.decode()
            self._take(Frame(message, json.loads(message)))

    def send(self, message: str | bytes | dict) -> None:
        self._socket.send(json.dumps(message) if isinstance(message, dict) else message)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(PATIENCE_S)

    def cut(self) -> None:
        """Leave without a word."""
        with contextlib.suppress(OSError):
            self._socket.socket.shutdown(2)
        self._thread.join(PATIENCE_S)


class SseWatch(Watch):
    """An SSE stream, parsed here by hand: lines end at LF only."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self._client = httpx.Client(timeout=httpx.Timeout(PATIENCE_S), trust_env=False)
        request = self._client.build_request("GET", url, headers={"Accept": "text/event-stream", **(headers or {})})
        self.response = self._client.send(request, stream=True)
        super().__init__()

    def _read(self) -> None:
        rest = b""
        for piece in self.response.iter_raw():
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                self._take(self._parse(event))
        if rest:
            self.problems.append(f"the stream ends within an event: {rest[:100]!r}")

    def _parse(self, event: bytes) -> Frame:
        fields: dict[str, str] = {}
        for line in event.split(b"\n"):
            name, colon, value = line.decode().partition(": ")
            if not colon or name not in ("data", "id", "retry") or name in fields:
                self.problems.append(f"a line that has no place here: {line[:100]!r}")
            fields[name] = value
        return Frame(fields["data"], json.loads(fields["data"]), fields.get("id"), fields.get("retry"))

    def close(self) -> None:
        # Only the thread may touch the response while it reads; shutting the socket wakes it.
        stream = self.response.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)
        self._thread.join(PATIENCE_S)
        self.response.close()
        self._client.close()

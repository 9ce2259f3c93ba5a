"""The fast lane: polls and long-polls of documents in memory, answered from the HTTP parser without a task (ADR 5).

What it writes is rendered by the same code as the plain path's answers, once per commit, and so equal byte for byte; a
request that is unusual in any way goes to the application untouched. A long-poll that waits costs a dictionary entry and
a timer. Built on uvicorn's protocol class, whose inside is no promise: `pyproject.toml` pins it, and
tests/server/test_fastlane.py holds both paths equal on the real server.
Longer than others: a hand-written piece stands in one file.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from runstate.core.commit import Commit, Document
from runstate.core.errors import NotFound
from runstate.ports import Clock
from runstate.server.access import LOOPBACK_HOSTS, Policy, find_token, host_name
from runstate.server.http import Http, render
from runstate.server.problems import Problem, refusal_of
from runstate.server.reads import Reads
from runstate.server.waiting import Condition, check_not_draining, condition_of
from runstate.state.manager import PipelineStateManager

AT_ONCE = 250  # parked polls that are answered in one turn of the loop, so that others have theirs
MAX_CONDITIONS = 512
MAX_KNOWN, MAX_KNOWN_BYTES = 512, 2048

_STATUS = re.compile(rb"/api/pipeline(?:s/([A-Za-z0-9_-]+))?/status")
_DOCUMENT = re.compile(rb"/api/(pipelines|runs)/([A-Za-z0-9_-]+)")
_QUERY = re.compile(r"(?:after|wait)=[A-Za-z0-9.-]{1,40}(?:&(?:after|wait)=[A-Za-z0-9.-]{1,40})?")
#: What the lane understands, once; anything else that changes an answer is left to the application.
_READ = frozenset({b"host", b"if-none-match", b"prefer", b"authorization"})
_UNUSUAL = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"cookie"})


class Parkable(Protocol):
    """A connection whose poll waits."""

    def answer(self, room: Room, status: bytes, rest: bytes) -> None:
        """Answer the poll that waits in `room`, if it is still there."""


@dataclass(slots=True)
class Room:
    """Polls that wait for the same thing."""

    path: bytes
    condition: Condition
    document: Document  #: As it is now, or was before it left memory.
    polls: dict[Parkable, asyncio.TimerHandle] = field(default_factory=dict)


class Known(NamedTuple):
    """A request that was answered at once."""

    headers: list[tuple[bytes, bytes]]
    answer: tuple[bytes, bytes]


class Lane:
    """The answers of one server, ready to be written, and the polls that wait for one."""

    def __init__(self, reads: Reads, manager: PipelineStateManager, policy: Policy, clock: Clock) -> None:
        """Answer polls of `manager`'s documents; `manager.listeners` hears of each commit."""
        self._reads, self._manager, self._policy, self._clock = reads, manager, policy, clock
        self._loop = asyncio.get_running_loop()
        self._revision = -1
        self._documents: dict[bytes, Document] = {}  # of this revision, by path
        self._answers: dict[tuple[bytes, int | None, bool], tuple[bytes, bytes]] = {}  # of this revision
        self._conditions: dict[tuple[bytes, bytes, bytes], Condition] = {}
        self._known: dict[bytes, Known] = {}  # of this revision, by the bytes of the whole request
        self._rooms: dict[tuple[bytes, Condition], Room] = {}
        self._due: deque[tuple[Parkable, Room]] = deque()
        self._is_due = False
        manager.listeners.append(self._hear)

    def admits(self, headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
        """Return the headers that matter to a poll; None: the application shall judge."""
        if self._policy.origins:
            return None  # answers to other servers' pages carry more headers (CORS)
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _READ:
                if name in found:
                    return None
                found[name] = value
            elif name in _UNUSUAL:
                return None
        if self._policy.tokens:
            scheme, _, secret = found.get(b"authorization", b"").decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                return None
            token = find_token(self._policy.tokens, secret.strip(), now_ms=self._clock.now_ms())
            return found if token is not None else None
        host = host_name(found.get(b"host", b"").decode("latin-1"))
        return found if self._policy.any_host or host in LOOPBACK_HOSTS else None

    def condition(self, query: bytes, headers: dict[bytes, bytes]) -> Condition | None:
        """Return what a poll asks for; None: the application shall say what is wrong with it, or wait for a position."""
        name = query, headers.get(b"if-none-match", b""), headers.get(b"prefer", b"")
        known = self._conditions.get(name)
        if known is not None:
            return known
        text = query.decode("latin-1")
        if text and not _QUERY.fullmatch(text):
            return None
        asked = [part.partition("=") for part in text.split("&") if part]
        options = {key: value for key, _, value in asked}
        if len(options) < len(asked):
            return None
        try:
            condition = condition_of(options, Headers(raw=list(headers.items())))
        except Problem:
            return None
        if len(self._conditions) >= MAX_CONDITIONS:
            self._conditions.clear()
        self._conditions[name] = condition
        return condition

    def repeat(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the answer to a whole request that came in the same bytes since the last commit; None: read it."""
        if self._manager.head.revision != self._revision or self._manager.bus.is_draining:
            return None
        known = self._known.get(data)
        if known is None or (self._policy.tokens and self.admits(known.headers) is None):  # a token ends one day
            return None
        return known.answer

    def learn(self, data: bytes, known: Known) -> None:
        """Remember what was answered to the bytes of a whole request: whoever polls says the same again and again."""
        if len(data) <= MAX_KNOWN_BYTES and len(self._known) < MAX_KNOWN:
            self._known[data] = known

    def document(self, path: bytes) -> Document | None:
        """Return the document that a path names, where memory has it."""
        head = self._manager.head
        if head.revision != self._revision:
            self._revision = head.revision
            self._known.clear()
            self._documents.clear()
            self._answers.clear()
        document = self._documents.get(path)
        if document is None:
            document = self._find(path)
            if document is not None:
                self._documents[path] = document
        return document

    def _find(self, path: bytes) -> Document | None:
        head = self._manager.head
        try:
            status = _STATUS.fullmatch(path)
            if status is not None:
                return head.status(None if status[1] is None else status[1].decode())
            named = _DOCUMENT.fullmatch(path)
            if named is None:
                return None
            return head.pipeline(named[2].decode()) if named[1] == b"pipelines" else head.run(named[2].decode())
        except NotFound:
            return None

    def must_wait(self, condition: Condition) -> bool:
        """Return whether the poll has seen a position that the head has not reached, or the server is about to end."""
        if self._manager.bus.is_draining:
            return True
        after, head = condition.after, self._manager.head
        # Of another incarnation of the store, positions do not tell what is newer (V1); the application knows what to do.
        return after is not None and (after.epoch != head.epoch or after.order > head.position.order)

    def answer(self, path: bytes, document: Document, condition: Condition, *, is_wanted: bool) -> tuple[bytes, bytes]:
        """Return the answer: its status line, and what follows the date."""
        name = path, condition.wait_s, is_wanted
        known = self._answers.get(name)
        if known is None:
            self._answers[name] = known = render(self._reads.answer(document, condition, is_wanted=is_wanted))
        return known

    # Polls that wait

    @property
    def parked(self) -> int:
        """How many polls wait."""
        return sum(len(room.polls) for room in self._rooms.values())

    def park(self, poll: Parkable, path: bytes, condition: Condition, document: Document) -> Room:
        """Let a poll wait until the document is newer than what it has, or its time is over."""
        room = self._rooms.setdefault((path, condition), Room(path, condition, document))
        assert condition.wait_s is not None, "only a poll that says how long waits"
        room.polls[poll] = self._loop.call_later(condition.wait_s, self._time_is_over, poll, room)
        return room

    def leave(self, poll: Parkable, room: Room) -> None:
        """Forget a poll whose connection is gone."""
        timer = room.polls.pop(poll, None)
        if timer is not None:
            timer.cancel()
            self._drop_if_empty(room)

    def drain(self) -> None:
        """Answer everybody who waits that the server is about to end (PROTOCOL H3)."""
        try:
            check_not_draining(self._manager)
        except Problem as ending:
            status, rest = render(refusal_of(ending))
            for room in list(self._rooms.values()):
                for poll in list(room.polls):
                    self.leave(poll, room)
                    poll.answer(room, status, rest)

    def _drop_if_empty(self, room: Room) -> None:
        if not room.polls:
            self._rooms.pop((room.path, room.condition), None)

    def _hear(self, commit: Commit) -> None:
        if not self._rooms:
            return
        touched = {b"/api/runs/" + change.document.key.id.encode(): change.document for change in commit.changes}
        for room in self._rooms.values():
            # A run may be left by its pipeline, and by memory with it, before the next turn of the loop.
            room.document = touched.get(room.path, room.document)
        self._come_back()

    def _come_back(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Answer some whose document is newer now."""
        self._is_due = False
        for room in list(self._rooms.values()):
            room.document = self.document(room.path) or room.document
            if room.condition.is_met(room.document):
                self._due.extend((poll, room) for poll in room.polls)
                for timer in room.polls.values():
                    timer.cancel()
                room.polls.clear()
                self._drop_if_empty(room)
        for poll, room in [self._due.popleft() for _ in islice(range(len(self._due)), AT_ONCE)]:
            self._answer_one(poll, room)
        if self._due:
            self._come_back()

    def _time_is_over(self, poll: Parkable, room: Room) -> None:
        del room.polls[poll]
        self._drop_if_empty(room)
        self._answer_one(poll, room)

    def _answer_one(self, poll: Parkable, room: Room) -> None:
        document = self.document(room.path) or room.document
        is_wanted = room.condition.is_met(document)
        poll.answer(room, *self.answer(room.path, document, room.condition, is_wanted=is_wanted))


class FastLane(Http):
    """An HTTP connection that answers polls itself."""

    def __init__(self, lane: Lane, **options: Any) -> None:
        """Serve one connection; `options` are uvicorn's."""
        super().__init__(**options)
        self._lane = lane
        self._asked: tuple[bytes, Condition, Document] | None = None  # of the request that is being read
        self._parked: _Parked | None = None
        self._is_between = True  # no byte of a next request has come
        self._taken: list[Known | None] = []  # the requests that ended in the bytes that are being read
        self._dates: object = None
        self._date = b""

    def data_received(self, data: bytes) -> None:
        """Read what came in; bytes that were one whole request before are the same request again."""
        was_between = self._is_between
        answer = self._lane.repeat(data) if was_between and self._is_free() else None
        if answer is not None:
            self._unset_keepalive_if_required()
            self._write(*answer)
            self.on_response_complete()
            return
        self._taken = []
        super().data_received(data)
        if was_between and self._is_between and len(self._taken) == 1 and self._taken[0] is not None:
            self._lane.learn(data, self._taken[0])

    def _is_free(self) -> bool:
        """Return whether an answer may be written now: answers keep the order of their requests, and somebody reads."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type leaves the None out
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take the request, or give it to the application."""
        self._asked = self._mine()
        if self._asked is None:
            super().on_headers_complete()

    def _mine(self) -> tuple[bytes, Condition, Document] | None:
        parser = self.parser
        if (
            parser.get_method() != b"GET"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or not self._is_free()
        ):
            return None
        path, _, query = self.url.partition(b"?")
        document = self._lane.document(path)
        if document is None:
            return None
        headers = self._lane.admits(self.headers)
        condition = None if headers is None else self._lane.condition(query, headers)
        if condition is None or self._lane.must_wait(condition):
            return None
        return path, condition, document

    def on_message_complete(self) -> None:
        """Answer, or wait."""
        self._is_between = True
        if self._asked is None:
            self._taken.append(None)
            super().on_message_complete()
            return
        (path, condition, document), self._asked = self._asked, None
        is_wanted = condition.is_met(document)
        if is_wanted or not condition.wait_s:
            answer = self._lane.answer(path, document, condition, is_wanted=is_wanted)
            self._taken.append(Known(self.headers, answer))
            self._write(*answer)
            self.on_response_complete()
            return
        self._taken.append(None)
        room = self._lane.park(self, path, condition, document)
        # Where uvicorn keeps the request under way, so that those behind it wait and a shutdown lets it be answered.
        self._parked = self.cycle = _Parked(room)  # type: ignore[assignment]

    def _write(self, status: bytes, rest: bytes) -> None:
        dates = self.server_state.default_headers
        if dates is not self._dates:  # uvicorn makes a new list each second
            self._dates = dates
            self._date = b"".join(b"%s: %s\r\n" % header for header in dates)
        self.transport.write(status + self._date + rest)

    def answer(self, room: Room, status: bytes, rest: bytes) -> None:
        """Answer the poll that waits in `room`, if it is still there."""
        parked = self._parked
        if parked is None or parked.room is not room:
            return
        self._parked = None
        parked.response_complete = True
        if parked.keep_alive:
            self._write(status, rest)
            self.on_response_complete()
        else:
            self._write(status, b"connection: close\r\n" + rest)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave, with the poll that waits."""
        if self._parked is not None:
            self._lane.leave(self, self._parked.room)
            self._parked.response_complete = True
            self._parked = None
        super().connection_lost(exc)


class _Parked:
    """What uvicorn asks of a request under way."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = asyncio.Event()

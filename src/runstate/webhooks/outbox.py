"""What one receiver is still to be told: a frozen value, journalled as one note. Pure; time and chance are arguments.

Law: everything up to revision `after` has been told, waits here, or was given up. So a note that is older than the truth
only makes an event come twice.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from runstate.webhooks.events import Ref

MOST_TRIES = 12  # over about two hours
FIRST_BACKOFF_MS = 5_000
LAST_BACKOFF_MS = 3_600_000
MOST_WAITING = 100  # beyond that later events wait in the journal
MOST_DEAD = 100  # the latest stay
MOST_ERROR = 200


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was not taken yet."""

    ref: Ref
    due_ms: int = 0  #: Wall time of the next try.
    tries: int = 0  #: That failed.
    error: str | None = None  #: Of the last one.


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up."""

    ref: Ref | None  #: None: a piece of history went before it could be told.
    at_ms: int
    tries: int
    error: str


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver's."""

    after: int  #: Revision.
    waiting: tuple[Waiting, ...] = ()
    dead: tuple[Dead, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken from the journal for now."""
        return len(self.waiting) >= MOST_WAITING

    def take(self, revision: int, refs: tuple[Ref, ...]) -> Outbox:
        """Take what a commit tells; all before it has been taken."""
        return replace(self, after=revision, waiting=(*self.waiting, *(Waiting(ref=ref) for ref in refs)))

    def next(self) -> Waiting | None:
        """Return what is to be sent next, now or when it is due."""
        return min(self.waiting, key=lambda waiting: waiting.due_ms, default=None)

    def delivered(self, sent: Waiting) -> Outbox:
        """Return what is left when it was taken."""
        return replace(self, waiting=tuple(waiting for waiting in self.waiting if waiting is not sent))

    def failed(self, sent: Waiting, error: str, *, now_ms: int, retry_after_ms: int, random: float) -> Outbox:
        """Return what is left when it was not taken: it waits for its next try, or is given up after the last.

        Args:
            retry_after_ms: The least wait, says the receiver; 0 where it did not say.
            random: Drawn evenly from [0, 1).
        """
        tries = sent.tries + 1
        if tries >= MOST_TRIES:
            return self.given_up(sent, error, now_ms=now_ms)
        wait_ms = max(backoff_ms(tries, random), min(retry_after_ms, LAST_BACKOFF_MS))
        again = replace(sent, tries=tries, due_ms=now_ms + wait_ms, error=error[:MOST_ERROR])
        return replace(self, waiting=tuple(again if waiting is sent else waiting for waiting in self.waiting))

    def given_up(self, sent: Waiting, error: str, *, now_ms: int) -> Outbox:
        """Return what is left when there is no use in trying on."""
        dead = Dead(ref=sent.ref, at_ms=now_ms, tries=sent.tries + 1, error=error[:MOST_ERROR])
        return replace(self.delivered(sent), dead=(*self.dead, dead)[-MOST_DEAD:])

    def skipped(self, floor: int, *, now_ms: int) -> Outbox:
        """Return what is left when history up to `floor` was thinned before it could be told."""
        error = f"history was thinned: what happened in the revisions {self.after + 1} to {floor} cannot be told"
        dead = Dead(ref=None, at_ms=now_ms, tries=0, error=error)
        return replace(self, after=floor, dead=(*self.dead, dead)[-MOST_DEAD:])

    def revived(self) -> Outbox:
        """Return it with everything that was given up to be tried again, as if it were new."""
        again = tuple(Waiting(ref=dead.ref) for dead in self.dead if dead.ref is not None)
        return replace(self, waiting=(*self.waiting, *again), dead=())


def backoff_ms(tries: int, random: float) -> int:
    """Return the wait after so many failures: doubling from 5 s to an hour, the later half of it by chance."""
    ceiling = min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS << min(tries - 1, 16))
    return ceiling // 2 + int(random * (ceiling // 2))


def encode_outbox(outbox: Outbox) -> bytes:
    """Return the outbox as it is journalled."""
    return msgspec.json.encode(outbox)


def decode_outbox(encoded: bytes) -> Outbox:
    """Return the outbox that `encode_outbox` wrote."""
    return msgspec.json.decode(encoded, type=Outbox)

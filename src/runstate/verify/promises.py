"""What `verify` proves, in words that can be broken, and what it raises when one of them is."""

from __future__ import annotations

from collections.abc import Sequence

#: In the order in which they are shown. A promise that nothing was held against is not proved.
PROMISES = {
    "ordered": "No reader goes back, and a version has one place in the order of commits.",
    "unique": "No change is sent twice on one connection, and no document twice in one frame.",
    "gap-free": "Each transition begins where the last one ended, or a snapshot says why; mode=every skips no version.",
    "atomic": "All documents of one commit arrive together.",
    "resumable": "A connection that resumes goes on right after that position, or a snapshot says why it cannot.",
    "bookmarkable": "Where an answer or a frame names a position, all that concerns the reader up to there was delivered.",
    "byte-identical": "A version of a document has the same bytes and digest, however it is read.",
    "durable": "Each version that anybody saw stands in the history with that digest, and the patches lead to it.",
    "honest": "A stream is never silent for longer than it said, and tells how old its source is.",
    "converges": "Every reader reaches the head of the store.",
}


class Violation(Exception):
    """A promise was not kept; the first one ends the checking."""

    def __init__(self, promise: str, what: str, seen: Sequence[str] = ()) -> None:
        self.promise = promise  #: A key of `PROMISES`.
        self.what = what  #: One sentence.
        self.seen = tuple(seen)  #: Who saw what and when, a line each.
        super().__init__(f"{promise}: {what}")

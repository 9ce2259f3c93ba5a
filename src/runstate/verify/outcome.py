"""What came out: each promise with what was held against it, and the verdict over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runstate.verify.promises import PROMISES, Violation

Verdict = Literal["kept", "broken", "nothing proved", "not finished"]


@dataclass(frozen=True, slots=True)
class ReaderLine:
    """What one reader did."""

    name: str
    messages: int  #: Frames, answers or views.
    received: int | None  #: Bytes; None where the client counts none.
    acts: Mapping[str, int]  #: What it did to itself, and how often.


@dataclass(frozen=True, slots=True)
class Asked:
    """How the checking was called."""

    url: str
    seconds: float
    chaos: bool
    seed: int
    start: str | None = None  #: A pipeline, of which a run was started first.

    @property
    def command(self) -> str:
        """What to type to check in the same way again."""
        options = (" --chaos" if self.chaos else "") + (f" --start {self.start}" if self.start is not None else "")
        return f"runstate verify --url {self.url} --seconds {self.seconds:g}{options} --seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one checking."""

    asked: Asked
    checks: Mapping[str, int]  #: By promise.
    commits: int  #: That arrived while we looked.
    joint_commits: int  #: Those of them that touched several documents.
    readers: Sequence[ReaderLine]
    notes: Sequence[str]
    broken: Violation | None

    @property
    def unproved(self) -> list[str]:
        """The promises that nothing was held against, or all where nothing was committed."""
        return [name for name in PROMISES if not self.commits or not self.checks.get(name)]

    @property
    def verdict(self) -> Verdict:
        """The verdict over all."""
        if self.broken is not None:
            return "broken"
        return "nothing proved" if self.unproved else "kept"

    def verdict_of(self, promise: str) -> Verdict:
        """Return the verdict over one promise."""
        if self.broken is not None:  # the first broken promise ended the checking
            return "broken" if self.broken.promise == promise else "not finished"
        return "nothing proved" if promise in self.unproved else "kept"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        broken = self.broken
        return {
            "verdict": self.verdict.replace(" ", "_"),
            "url": self.asked.url,
            "seconds": self.asked.seconds,
            "chaos": self.asked.chaos,
            "seed": self.asked.seed,
            "commits": self.commits,
            "joint_commits": self.joint_commits,
            "promises": [
                {
                    "promise": name,
                    "text": text,
                    "checks": self.checks.get(name, 0),
                    "verdict": self.verdict_of(name).replace(" ", "_"),
                }
                for name, text in PROMISES.items()
            ],
            "readers": [
                {"reader": one.name, "messages": one.messages, "bytes": one.received, "acts": dict(one.acts)}
                for one in self.readers
            ],
            "broken": None
            if broken is None
            else {
                "promise": broken.promise,
                "what": broken.what,
                "seen": list(broken.seen),
                "repeat": self.asked.command,
            },
            "notes": list(self.notes),
        }

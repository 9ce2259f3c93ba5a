"""Epochs and positions (PROTOCOL V1, V4).

An epoch `"<n>-<8 hex>"` names one incarnation of the store; a position `"<epoch>.<revision>"` names one commit in it.
Positions are ordered by the epoch's `n`, then by revision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runstate.core.errors import PeerError

_EPOCH = re.compile(r"(0|[1-9][0-9]{0,14})-([0-9a-f]{8})")
_POSITION = re.compile(r"((?:0|[1-9][0-9]{0,14})-[0-9a-f]{8})\.(0|[1-9][0-9]{0,14})")


def epoch_number(epoch: str) -> int:
    """Return the `n` that orders epochs.

    Raises:
        PeerError: `epoch` is not of the form of PROTOCOL V1.
    """
    match = _EPOCH.fullmatch(epoch)
    if match is None:
        raise PeerError(f"{epoch!r} is not an epoch; it looks like 1795442496-88a9e774")
    return int(match[1])


@dataclass(frozen=True, slots=True)
class Position:
    """One commit of one incarnation of the store."""

    epoch: str  #: As in PROTOCOL V1.
    revision: int  #: Store-wide number of the commit, from 1; 0 is before the first.

    def __str__(self) -> str:
        return f"{self.epoch}.{self.revision}"

    @property
    def order(self) -> tuple[int, int]:
        """What positions are compared by (PROTOCOL V4)."""
        return epoch_number(self.epoch), self.revision

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that `text` spells.

        Raises:
            PeerError: `text` is not a position.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise PeerError(f"{text!r} is not a position; it looks like 1795442496-88a9e774.2260")
        return cls(match[1], int(match[2]))

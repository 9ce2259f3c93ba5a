"""`runstate verify`: proof, at a live server, that it keeps its promises.

session     attaches every reader for a while, and judges          promises, outcome  what is proved; how it ends
readers     all of them at once: streams, polls, watching          recorder           what all saw, side by side
hearing     one stream, judged as it is heard; answers: a poller   journal, ledger    what the history says; who got all
chaos       what readers do to themselves, by the seed             judging            the judge shared with the simulation
"""

from __future__ import annotations

from runstate.verify.outcome import Outcome
from runstate.verify.promises import PROMISES, Violation
from runstate.verify.session import verify

__all__ = ["PROMISES", "Outcome", "Violation", "verify"]

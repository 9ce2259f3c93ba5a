"""What a follower of a server sees at one moment, and how its link reads (PROTOCOL F12)."""

from __future__ import annotations

from dataclasses import dataclass

from runstate.cli.words import age, clock_time
from runstate.core.canonical import Json

FRESH = ("live", "quiet")  #: Link states in which what is shown is the present.
_WORDS = {
    "connecting": "connecting",
    "resyncing": "reconnecting",
    "source-stale": "the server's journal does not answer",
    "stale": "stale",
    "integrity": "a digest does not fit; what is shown may be wrong",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The documents of one subscription, and how far they can be trusted."""

    link: str  #: PROTOCOL F12's word, or `connecting`.
    as_of_ms: int | None  #: Wall time up to which all is known; None before the first snapshot.
    position: str | None
    pipelines: tuple[dict[str, Json], ...] = ()  #: Documents of PROTOCOL D8.
    runs: tuple[dict[str, Json], ...] = ()  #: Documents of PROTOCOL D1.
    trouble: str = ""  #: Why the server refused the connection last.

    @property
    def is_fresh(self) -> bool:
        """Whether what is shown is the present."""
        return self.link in FRESH

    def link_words(self, *, now_ms: int) -> str:
        """Return `live`, or why not and how old what is shown is."""
        if self.is_fresh:
            return "live"
        words = _WORDS.get(self.link, self.link)
        if self.as_of_ms is not None and self.link != "integrity":
            words += f", as of {clock_time(self.as_of_ms)}, {age(now_ms - self.as_of_ms)}"
        return f"{words} ({self.trouble})" if self.trouble else words

    @property
    def owners(self) -> dict[str, dict[str, Json]]:
        """The pipelines' documents by name."""
        return {document["pipeline"]: document for document in self.pipelines}

    def shown(self) -> list[dict[str, Json]]:
        """Return one run document per pipeline, current or never-run, then the runs beyond that."""
        current = {document["current_run_id"] for document in self.pipelines}
        by_id = {document["run_id"]: document for document in self.runs}
        of_pipelines = [by_id.get(owner["current_run_id"]) or _never_run(owner) for owner in self.pipelines]
        return of_pipelines + [document for document in self.runs if document["run_id"] not in current]


def _never_run(owner: dict[str, Json]) -> dict[str, Json]:
    """Return the document of PROTOCOL D5, as far as it is shown."""
    pending = {"state": "pending", "attempt": 0, "started_at": None, "ended_at": None, "progress": None}
    return {
        "pipeline": owner["pipeline"],
        "run_id": None,
        "version": 0,
        "state": "idle",
        "started_at": None,
        "ended_at": None,
        "error": None,
        "stop_requested": None,
        "stage_order": owner["stage_order"],
        "stages": {name: pending | {"error": None, "error_code": None} for name in owner["stage_order"]},
    }

"""Servers that break one promise each in their streams. A lie is told once the reader has seen enough to be fooled."""

from __future__ import annotations

import copy

from runstate.core.position import Position
from tests.verify.proxy import Link, Truth

WARM = 8  # changes that pass before the lie


def runs_of(frame: dict) -> list[dict]:
    return [change for change in frame.get("changes", ()) if change["kind"] == "run"]


class Once(Truth):
    """Waits until the reader has had some changes, then lies once (or for as long as `spoil` says)."""

    reader = "websocket"

    def lie(self, link: Link, frame: dict) -> list[dict]:
        if frame["type"] == "transition" and frame["changes"] and not link.memory.get("done"):
            link.memory["seen"] = link.memory.get("seen", 0) + 1
            if link.memory["seen"] > WARM:
                spoilt = self.spoil(link, copy.deepcopy(frame))
                if spoilt is not None:
                    link.memory["done"] = True
                    return spoilt
        return self.after(link, frame)

    def spoil(self, link: Link, frame: dict) -> list[dict] | None:
        """Return the lie, None if this frame does not serve."""
        raise NotImplementedError

    def after(self, link: Link, frame: dict) -> list[dict]:
        """Return what is sent otherwise."""
        return [frame]


class SkipsAVersion(Once):
    """mode=every misses one version, and the chain is mended so that nobody sees it."""

    reader = "websocket-every"

    def spoil(self, link, frame):
        link.memory["mend"] = frame["from"]
        return []

    def after(self, link, frame):
        if frame["type"] == "transition" and "mend" in link.memory:
            frame["from"] = link.memory.pop("mend")
        return [frame]


class BreaksTheChain(Once):
    def spoil(self, link, frame):
        return []


class SwapsTwo(Once):
    """Two transitions arrive in the other order."""

    def spoil(self, link, frame):
        link.memory["late"] = frame
        return []

    def after(self, link, frame):
        late = link.memory.pop("late", None) if frame["type"] == "transition" else None
        return [frame] if late is None else [frame, late]


class GoesBack(Once):
    """A transition brings an earlier version of a run once more."""

    def spoil(self, link, frame):
        for change in runs_of(frame):
            old = link.memory.get(change["run_id"])
            if old is not None and old["version"] < change["version"] - 1:
                frame["changes"] = [old]
                return [frame]
        return None

    def after(self, link, frame):
        for change in runs_of(frame):
            link.memory.setdefault(change["run_id"], change)
        return [frame]


class ChangesAByte(Once):
    reader = "sse"

    def spoil(self, link, frame):
        if not runs_of(frame):
            return None
        runs_of(frame)[0]["data"]["canonical_state"]["updated_at"] = "1999-12-31T23:59:59.999Z"
        return [frame]


class NamesAWrongDigest(Once):
    def spoil(self, link, frame):
        change = frame["changes"][0]
        change["digest"] = change["digest"][:-4] + "0000"
        return [frame]


class PatchesWrongly(Once):
    reader = "sse-delta"

    def spoil(self, link, frame):
        for change in runs_of(frame):
            for operation in change["data"].get("patch", ()):
                if operation["path"] == "/updated_at":
                    operation["value"] = "1999-12-31T23:59:59.999Z"
                    return [frame]
        return None


class PatchesFromNowhere(Once):
    """A patch names a base that the reader does not have."""

    reader = "websocket-delta"

    def spoil(self, link, frame):
        for change in runs_of(frame):
            if "base" in change["data"]:
                change["data"]["base"]["version"] -= 1
                return [frame]
        return None


class SendsTwice(Once):
    def spoil(self, link, frame):
        frame["changes"].append(frame["changes"][0])
        return [frame]


class LeavesOut(Once):
    """A transition says that all is delivered up to its end, and is empty."""

    def spoil(self, link, frame):
        frame["changes"] = []
        return [frame]


class SplitsACommit(Once):
    """The documents of one commit come in two transitions."""

    reader = "websocket-every"

    def spoil(self, link, frame):
        first, *rest = frame["changes"]
        if not rest:
            return None
        later = frame | {"from": frame["to"], "changes": rest}
        return [frame | {"changes": [first]}, later]


class WithholdsHalfACommit(Once):
    """Of the documents of one commit only one comes."""

    def spoil(self, link, frame):
        if len(frame["changes"]) < 2:
            return None
        frame["changes"] = frame["changes"][:1]
        return [frame]


class ReplaysAfterResume(Truth):
    """After a resume come transitions of before it."""

    reader = "sse"

    def __init__(self) -> None:
        self.passed: list[dict] = []

    def lie(self, link, frame):
        if frame["type"] == "hello" and "resume" in link.query:
            return [frame, *self.replay(Position.parse(link.query["resume"]))]
        if frame["type"] == "transition" and frame["changes"]:
            self.passed.append(frame)
        return [frame]

    def replay(self, resume: Position) -> list[dict]:
        # What passed here last may never have reached the reader, and would be no replay.
        return [frame for frame in self.passed if Position.parse(frame["to"]).order <= resume.order][-3:]


class ReplaysInDisguise(ReplaysAfterResume):
    """The same, on a chain that looks right."""

    def replay(self, resume):
        return [frame | {"from": str(resume), "to": str(resume)} for frame in super().replay(resume)[:1]]


class NamesAWrongId(Truth):
    """The ids of an event stream do not say where it is."""

    def event_id(self, frame):
        return frame["from"] if frame["type"] == "transition" else super().event_id(frame)


class FallsSilent(Truth):
    """A stream promises heartbeats and stops, and the connection stays."""

    reader = "sse"

    def lie(self, link, frame):
        if frame["type"] == "hello":
            frame["heartbeat_ms"] = 200
        link.memory["seen"] = link.memory.get("seen", 0) + 1
        return [] if link.memory["seen"] > WARM else [frame]


class HasAnOldSource(Once):
    def spoil(self, link, frame):
        frame["source_age_ms"] = 60_000
        return [frame]


class StandsStill(Truth):
    """A stream beats, and never moves again."""

    reader = "websocket"

    def lie(self, link, frame):
        if frame["type"] != "transition":
            return [frame]
        link.memory["seen"] = link.memory.get("seen", 0) + 1
        if link.memory["seen"] > WARM:
            place = link.memory["place"]
            return [frame | {"from": place, "to": place, "changes": []}]
        link.memory["place"] = frame["to"]
        return [frame]

"""Servers that break one promise each. A lie is told once the reader has seen enough to be fooled."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
import threading

from tests.verify.proxy import Link, Truth, compact

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
        self.old: list[dict] = []

    def lie(self, link, frame):
        if frame["type"] == "hello" and "resume" in link.query:
            return [frame, *self.old]
        if frame["type"] == "transition" and frame["changes"]:
            self.old = [*self.old[-2:], frame]
        return [frame]


class ReplaysInDisguise(ReplaysAfterResume):
    """The same, on a chain that looks right."""

    def lie(self, link, frame):
        if frame["type"] == "hello" and "resume" in link.query and self.old:
            resume = link.query["resume"]
            return [frame, self.old[0] | {"from": resume, "to": resume}]
        return super().lie(link, frame)


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


class Answers(Truth):
    """Lies in answers alone; only to those who ask for `path`'s end, after some honest ones."""

    end = "/status"

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, path, status, headers, body):
        if not path.endswith(self.end):
            return status, headers, body
        with self._lock:
            self._asked[path] = self._asked.get(path, 0) + 1
        return self.spoil(path, status, headers, body) if self._asked[path] > WARM else (status, headers, body)

    def spoil(self, path, status, headers, body):
        raise NotImplementedError


class ForgesAnAnswer(Answers):
    """A poll shows other bytes, with a digest that fits them."""

    def spoil(self, path, status, headers, body):
        if status == 200:
            body = body.replace(b'"unit":"files"', b'"unit":"Files"').replace(b'"unit":"rows"', b'"unit":"Rows"')
            proof = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers = headers | {"repr-digest": f"sha-256=:{proof}:"}
        return status, headers, body


class CachesForEver(Answers):
    """Whatever is asked, the first answer comes again."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, tuple] = {}

    def spoil(self, path, status, headers, body):
        if status == 200:
            return self.kept.setdefault(path, (status, headers, body))
        return self.kept.get(path, (status, headers, body))


class AnswersFromBefore(CachesForEver):
    """The last answer but some comes again."""

    def answer(self, path, status, headers, body):
        if path.endswith(self.end) and status == 200 and path not in self.kept:
            self.kept[path] = (status, headers, body)
        return super().answer(path, status, headers, body)


class StaysUnchanged(Truth):
    """Whoever has a tag is told from some time on that nothing has changed up to the head, and something has."""

    until = 10**9

    def __init__(self) -> None:
        self._changed = 0
        self._lock = threading.Lock()

    def unchanged(self, path, tag, status, headers, body):
        if status != 200 or not path.endswith("/status"):
            return status, headers, body
        with self._lock:
            self._changed += 1
        if not WARM < self._changed < self.until:
            return status, headers, body
        return 304, headers | {"etag": f'"{tag}"'}, b""


class WasUnchanged(StaysUnchanged):
    """The same for a while, and then it tells the truth again."""

    until = WARM + 8


class LosesTheLastCommit(Truth):
    """The history ends one commit before what everybody saw."""

    def answer(self, path, status, headers, body):
        if path.endswith("/history") and status == 200:
            page = json.loads(body)
            page["commits"] = page["commits"][:-1]
            page["head"] -= 1
            body = compact(page).encode()
        return status, headers, body


class RewritesHistory(Truth):
    """A patch of the history leads elsewhere."""

    def answer(self, path, status, headers, body):
        if path.endswith("/history") and status == 200:
            page = json.loads(body)
            for commit in page["commits"][1:]:
                for operation in commit["patch"]:
                    if operation["path"] == "/updated_at":
                        operation["value"] = "1999-12-31T23:59:59.999Z"
            body = compact(page).encode()
        return status, headers, body


class HistoryHasAHole(Truth):
    def answer(self, path, status, headers, body):
        if path.endswith("/history") and status == 200:
            page = json.loads(body)
            del page["commits"][3:4]
            body = compact(page).encode()
        return status, headers, body


class Hangs(Truth):
    """After a while nothing is answered any more."""

    def __init__(self) -> None:
        self._asked = 0

    async def before(self, path):
        self._asked += 1
        if self._asked > WARM:
            await asyncio.Event().wait()


#: Each with the one promise that `verify` must name.
LIARS: list[tuple[type[Truth], str]] = [
    (GoesBack, "ordered"),
    (CachesForEver, "ordered"),
    (AnswersFromBefore, "ordered"),
    (SendsTwice, "unique"),
    (SkipsAVersion, "gap-free"),
    (BreaksTheChain, "gap-free"),
    (PatchesFromNowhere, "gap-free"),
    (SplitsACommit, "atomic"),
    (WithholdsHalfACommit, "atomic"),
    (ReplaysAfterResume, "resumable"),
    (ReplaysInDisguise, "resumable"),
    (NamesAWrongId, "resumable"),
    (LeavesOut, "bookmarkable"),
    (WasUnchanged, "bookmarkable"),
    (ChangesAByte, "byte-identical"),
    (NamesAWrongDigest, "byte-identical"),
    (PatchesWrongly, "byte-identical"),
    (ForgesAnAnswer, "byte-identical"),
    (LosesTheLastCommit, "durable"),
    (RewritesHistory, "durable"),
    (HistoryHasAHole, "durable"),
    (FallsSilent, "honest"),
    (HasAnOldSource, "honest"),
    (StandsStill, "converges"),
    (StaysUnchanged, "converges"),
]

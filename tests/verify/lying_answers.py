"""Servers that break one promise each in what they answer to polls and of the history."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading

from tests.verify.proxy import Truth, compact

WARM = 8  # answers that pass before the lie


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

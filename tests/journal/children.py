"""What tests let real processes do: `python -m tests.journal.children WHAT DIRECTORY [NUMBER]`. Each line printed is a report."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from runstate.core.errors import StoreError, StoreInUse, StoreUnavailable
from runstate.journal.lock import DirectoryLock
from runstate.ports import Retention
from runstate.testing.commits import Author, make_pipeline, make_progress_run, make_run
from tests.journal.worlds import NOW_MS, open_store

ROOT = Path(__file__).parents[2]
BATCH = 3


def start(what: str, directory: Path, *rest: object) -> subprocess.Popen[str]:
    """Start a child; its reports are lines on its stdout."""
    command = [sys.executable, "-m", "tests.journal.children", what, str(directory), *map(str, rest)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str], *, code: int = 0) -> str:
    """Return what a child printed, once it has ended as it should."""
    out, _ = child.communicate(timeout=60)
    assert child.returncode == code
    return out


def report(line: object) -> None:
    print(line, flush=True)


def append_for_ever(directory: Path) -> None:
    """Append batches and report each revision once it is durable, until killed."""
    journal, opened = open_store(directory)
    author = Author(opened.epoch, revision=opened.revision)
    author.heads = {document.key: document for document in opened.documents}
    while True:
        first = author.revision
        journal.append([author.commit(make_progress_run("r1", first + step)) for step in range(BATCH)])
        report(author.revision)


def compact_for_ever(directory: Path) -> None:
    """Append and compact in turns and report each floor once it is durable, until killed."""
    journal, opened = open_store(directory)
    author = Author(opened.epoch, revision=opened.revision)
    author.heads = {document.key: document for document in opened.documents}
    following = 0
    while True:
        first = author.revision
        journal.append([author.commit(make_progress_run(f"r{(first + n) % 3}", first + n + 1)) for n in range(80)])
        turn = journal.compact(Retention(keep_versions=20), after=following or 0, limit=30)
        following = turn.next
        report(turn.floor)


def append_on_a_full_disk(directory: Path, limit_bytes: int) -> None:
    """Append until files may not grow, show that nothing more is taken, then go on with room to spare."""
    journal, opened = open_store(directory)
    author = Author(opened.epoch)
    journal.append([author.commit(make_pipeline(), make_run("r1"))])
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, unlimited[1]))
    refusals = []
    while not refusals:
        acknowledged = author.revision
        try:
            journal.append([author.commit(make_progress_run("r1", author.revision)) for _ in range(BATCH)])
        except StoreUnavailable as exc:
            refusals.append(str(exc))
    for attempt in (lambda: journal.append([author.commits[-1]]), journal.probe):
        with contextlib.suppress(StoreUnavailable):
            attempt()
            refusals.append("none")
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    found = journal.reopen().revision
    kept = [commit.changes[0].document.encoded for commit in journal.commits_after(0, None)]
    assert kept == [commit.changes[0].document.encoded for commit in author.commits[:found]]
    head = journal.commits_after(found - 1)[0].changes[0].document
    author.revision, author.heads = found, {head.key: head}
    journal.append([author.commit(make_progress_run("r1", -1))])
    report(
        json.dumps(
            {"acknowledged": acknowledged, "found": found, "refusals": refusals, "head": journal.reopen().revision}
        )
    )


def open_as_nobody(directory: Path) -> None:
    """Open a store without root's rights, and report what it says."""
    if os.getuid() == 0:
        os.setuid(65534)  # modes do not bind root
    for attempt in (lambda: DirectoryLock.acquire(directory, now_ms=NOW_MS), lambda: open_store(directory)):
        try:
            attempt()
            report("opened")
        except StoreError as exc:
            report(f"{type(exc).__name__}: {exc}")


def contend(directory: Path, times: int) -> None:
    """Acquire the lock again and again; report how often somebody else was inside as well."""
    crowded = 0
    while times:
        try:
            lock = DirectoryLock.acquire(directory, now_ms=NOW_MS)
        except StoreInUse:
            continue
        try:
            os.close(os.open(directory / "inside", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            crowded += 1
        else:
            (directory / "inside").unlink()
        lock.release()
        times -= 1
    report(crowded)


def hold(directory: Path) -> None:
    """Hold the lock until stdin ends."""
    DirectoryLock.acquire(directory, "http://127.0.0.1:8765", now_ms=NOW_MS)
    report("held")
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)  # so nothing is tidied up


CHILDREN = {
    "append-for-ever": append_for_ever,
    "compact-for-ever": compact_for_ever,
    "append-on-a-full-disk": append_on_a_full_disk,
    "open-as-nobody": open_as_nobody,
    "contend": contend,
    "hold": hold,
}

if __name__ == "__main__":
    CHILDREN[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))

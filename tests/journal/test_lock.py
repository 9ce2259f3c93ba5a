"""One process per data directory, and the others are told which."""

from __future__ import annotations

import os
import threading

import pytest

from runstate.core.errors import StoreInUse, StoreUnavailable
from runstate.journal.lock import LOCK_NAME, DirectoryLock, Owner, read_owner
from tests.journal.children import ended, start
from tests.journal.worlds import NOW_MS

URL = "http://127.0.0.1:8765"


def test_eight_processes_never_hold_it_together(tmp_path):
    """Eight processes that acquire again and again are never two inside, and each gets its turn."""
    children = [start("contend", tmp_path, 60) for _ in range(8)]

    assert [int(ended(child)) for child in children] == [0] * 8


def test_a_second_process_is_told_whom_to_ask(tmp_path):
    """The refusal names the process that holds the directory and where it serves; its death frees the directory."""
    with start("hold", tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"

        with pytest.raises(StoreInUse) as refused:
            DirectoryLock.acquire(tmp_path, now_ms=NOW_MS)
        owner = read_owner(tmp_path)
        ended(child, code=-9)

    assert (refused.value.pid, refused.value.url) == (child.pid, URL)
    assert str(refused.value) == (
        f"data directory {tmp_path} is in use by process {child.pid}, which serves {URL}; "
        "use that one or name another with --data"
    )
    assert owner == Owner(pid=child.pid, url=URL, started_at="2026-11-23T14:01:36.000Z")
    assert read_owner(tmp_path) is None
    DirectoryLock.acquire(tmp_path, now_ms=NOW_MS).release()


def test_a_process_cannot_hold_it_twice(tmp_path):
    """Also within one process a directory has one holder; after a release the next may."""
    lock = DirectoryLock.acquire(tmp_path, now_ms=NOW_MS)
    with pytest.raises(StoreInUse):
        DirectoryLock.acquire(tmp_path, now_ms=NOW_MS)

    lock.set_url(URL)
    assert read_owner(tmp_path) == Owner(pid=os.getpid(), url=URL, started_at="2026-11-23T14:01:36.000Z")
    lock.set_url(None)
    assert read_owner(tmp_path) == Owner(pid=os.getpid(), started_at="2026-11-23T14:01:36.000Z")
    lock.release()
    lock.release()
    assert read_owner(tmp_path) is None
    DirectoryLock.acquire(tmp_path, now_ms=NOW_MS).release()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"pid": 1', b'{"pid": "x"}\n', b"\xff\n", b'{"pid": 999999999}\n', b"[]\n"]
)
def test_half_written_content_does_not_matter(tmp_path, content):
    """The kernel's lock decides; content that cannot be believed leaves the owner unnamed."""
    lock = DirectoryLock.acquire(tmp_path, now_ms=NOW_MS)
    (tmp_path / LOCK_NAME).write_bytes(content)

    assert read_owner(tmp_path) == Owner()
    with pytest.raises(StoreInUse, match=r"is in use by another process; use that one or"):
        DirectoryLock.acquire(tmp_path, now_ms=NOW_MS)
    lock.release()
    (tmp_path / LOCK_NAME).write_bytes(content)
    assert read_owner(tmp_path) is None
    DirectoryLock.acquire(tmp_path, now_ms=NOW_MS).release()


def test_looking_never_keeps_a_server_from_starting(tmp_path):
    """However often others ask who holds the directory, acquiring a free one succeeds."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            read_owner(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(300):
            DirectoryLock.acquire(tmp_path, now_ms=NOW_MS).release()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


def test_a_child_process_does_not_inherit_it(tmp_path):
    """A program that is started while the lock is held does not keep the directory when the holder lets go."""
    lock = DirectoryLock.acquire(tmp_path, now_ms=NOW_MS)
    with start("contend", tmp_path, 1) as child:
        lock.release()
        assert ended(child) == "0\n"


def test_a_directory_that_cannot_be_locked(tmp_path):
    """What is in the way is said in one sentence."""
    (tmp_path / "file").write_text("")
    (tmp_path / "data" / LOCK_NAME).mkdir(parents=True)

    with pytest.raises(StoreUnavailable, match=r"is, or lies in, a file; name a directory with --data"):
        DirectoryLock.acquire(tmp_path / "file", now_ms=NOW_MS)
    with pytest.raises(StoreUnavailable, match=r"cannot be written: Is a directory"):
        DirectoryLock.acquire(tmp_path / "data", now_ms=NOW_MS)
    assert read_owner(tmp_path / "nowhere") is None

"""One process per data directory: an exclusive `flock` on `<directory>/lock`, held for the process's life.

The kernel lets go when the process dies, however it dies; the file's content only says whom to ask. Nothing is decided
by the content, and the file is never removed, since a name that goes away lets two processes lock two files.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runstate.core.errors import StoreInUse
from runstate.core.times import format_time
from runstate.journal.directory import cannot_write, make_directory

LOCK_NAME = "lock"
_MAX_CONTENT_BYTES = 4096
_MAX_ROUNDS = 10_000  # of losing to somebody who only looks; a round is some microseconds


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a data directory; None where it could not be read."""

    pid: int | None = None
    url: str | None = None  #: Where it serves.
    started_at: str | None = None


@dataclass(slots=True)
class DirectoryLock:
    """The right to write in a data directory; made by `acquire`, gone with `release` or the process."""

    directory: Path
    owner: Owner
    _file: int | None  #: Not inherited by child processes that are exec'd.

    @classmethod
    def acquire(cls, directory: Path, url: str | None = None, *, now_ms: int) -> DirectoryLock:
        """Take the lock of `directory`, which is made if need be; never waits.

        Args:
            directory: Of the store.
            url: Where this process serves, if it does already.
            now_ms: Wall time; others are told since when the lock is held.

        Raises:
            StoreInUse: A living process holds it.
            StoreUnavailable: The directory cannot be made or written.
        """
        make_directory(directory)
        path = directory / LOCK_NAME
        for _ in range(_MAX_ROUNDS):
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as exc:
                raise cannot_write(directory, exc) from exc
            # Somebody may have removed the file in between: then we hold a lock that nobody else will meet.
            if _lock(file, fcntl.LOCK_EX) and _is_at(file, path):
                lock = cls(directory, Owner(pid=os.getpid(), started_at=format_time(now_ms)), file)
                lock.set_url(url)
                return lock
            owner = _read(file)
            held = _is_held(file)
            os.close(file)
            if held:
                raise StoreInUse(str(directory), owner.pid, owner.url)
        raise StoreInUse(str(directory), None, None)

    def set_url(self, url: str | None) -> None:
        """Tell others where this process serves."""
        assert self._file is not None, "the lock is held"
        self.owner = msgspec.structs.replace(self.owner, url=url)
        line = msgspec.json.encode(self.owner) + b"\n"
        # The line first, the length second: a reader in between finds a whole first line.
        try:
            os.pwrite(self._file, line, 0)
            os.ftruncate(self._file, len(line))
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise cannot_write(self.directory, exc) from exc
            # A full disk must not keep a server from serving reads; the lock holds without its content.

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._file is None:
            return
        file, self._file = self._file, None
        os.ftruncate(file, 0)
        os.close(file)


def read_owner(directory: Path) -> Owner | None:
    """Return the living process that holds `directory`, None if there is none."""
    try:
        file = os.open(directory / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        owner = _read(file)
        return owner if _is_held(file) else None
    finally:
        os.close(file)


def _lock(file: int, operation: int) -> bool:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(file: int) -> bool:
    """Whether somebody holds the lock for good. A shared lock gets on with others who look, never with a holder."""
    if not _lock(file, fcntl.LOCK_SH):
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _read(file: int) -> Owner:
    """Return what the content says, as far as it can be believed."""
    line, end, _ = os.pread(file, _MAX_CONTENT_BYTES, 0).partition(b"\n")
    try:
        owner = msgspec.json.decode(line, type=Owner) if end else Owner()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Owner()
    # Left by a process that died, in the instant before its successor writes.
    return owner if owner.pid is not None and _is_alive(owner.pid) else Owner()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

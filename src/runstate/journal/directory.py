"""The data directory and the identity of files in it. Every way it can be wrong is one sentence."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from runstate.core.errors import StoreUnavailable


class Identity(NamedTuple):
    """Which file this is, whatever its name (PROTOCOL V1)."""

    device: int
    inode: int


def make_directory(directory: Path) -> None:
    """Make sure that `directory` exists.

    Raises:
        StoreUnavailable: It does not and cannot be made, or it is a file.
    """
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            sync_directory(directory.parent)
    except (FileExistsError, NotADirectoryError) as exc:
        raise StoreUnavailable(
            f"data directory {directory} is, or lies in, a file; name a directory with --data"
        ) from exc
    except OSError as exc:
        raise cannot_write(directory, exc) from exc


def cannot_write(directory: Path, exc: OSError) -> StoreUnavailable:
    """Return the error for a data directory in which files cannot be made."""
    return StoreUnavailable(
        f"data directory {directory} cannot be written: {exc.strerror}; make it writable or name another with --data"
    )


def identify(path: Path) -> Identity:
    """Return which file stands at `path` now.

    Raises:
        StoreUnavailable: None, or it cannot be reached.
    """
    try:
        found = path.stat()
    except FileNotFoundError as exc:
        raise StoreUnavailable(
            f"{path} does not exist; put it back or name another data directory with --data"
        ) from exc
    except OSError as exc:
        raise StoreUnavailable(f"{path} cannot be reached: {exc.strerror}; make it accessible") from exc
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailable(f"{path} is not a file; move it away or name another data directory with --data")
    return Identity(found.st_dev, found.st_ino)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

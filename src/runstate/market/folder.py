"""The out folder: every file in it is whole or absent, and one stage writes it at a time.

A file is written beside its place, fsynced, and moved over it; then the folder's entry is fsynced. A file that holds
the bytes already is left alone, so a second run changes nothing, not even times. The lock is the operating system's
(flock on `.lock`): it ends with the process that holds it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from runstate.market.failures import MarketError

if TYPE_CHECKING:
    import polars as pl

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Written:
    """One file of the out folder, as a manifest names it."""

    path: str  #: Relative to the out folder, with slashes.
    rows: int
    bytes: int
    sha256: str  #: 64 hex digits.

    def to_json(self) -> Json:
        """Return the four facts by name."""
        return {"path": self.path, "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class OutFolder:
    """Where the stages write."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            MarketError: Another process holds it, or it cannot be made; nothing was written.
        """
        descriptor = self._open_lock()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise MarketError(
                f"another run is writing {self.path}; wait for its end or set another out",
                code="in_use",
            ) from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # room may be made: the next attempt may succeed
            raise MarketError(
                f"{self.path} cannot be written to ({error.strerror}); set another out, or correct its permissions",
                code="bad_config",
            ) from None

    def write(self, relative: str, content: bytes, *, rows: int) -> Written:
        """Put `content` at `relative`, whole or not at all."""
        replace_file(self.path / relative, content)
        return Written(relative, rows, len(content), hashlib.sha256(content).hexdigest())

    def holds(self, entry: Mapping[str, object]) -> bool:
        """Return whether the file of a manifest's entry is there with the bytes that the entry names."""
        path, sha256 = entry.get("path"), entry.get("sha256")
        if not isinstance(path, str):
            return False
        try:
            with (self.path / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False

    def read_if_held(self, entry: Mapping[str, object]) -> bytes | None:
        """Return the bytes of a manifest's entry, None if others are there or none."""
        try:
            content = (self.path / str(entry["path"])).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == entry["sha256"] else None

    def remove(self, relative: str) -> None:
        """Remove a file that an earlier run wrote, if it is there."""
        path = self.path / relative
        path.unlink(missing_ok=True)
        _temporary(path).unlink(missing_ok=True)

    def write_table(self, relative: str, table: pl.DataFrame) -> Written:
        """Put `table` at `relative` as Parquet; the same table gives the same bytes."""
        return self.write(relative, _parquet(table.rechunk()), rows=table.height)

    def write_tables(self, tables: Sequence[tuple[str, pl.DataFrame]], pool: Executor) -> list[Written]:
        """Put many tables at their places, each whole or not at all; side by side, and with one sync for a folder."""

        def prepare(named: tuple[str, pl.DataFrame]) -> tuple[Written, bool]:
            relative, table = named
            content = _parquet(table)
            is_new = _write_beside(self.path / relative, content)
            return Written(relative, table.height, len(content), hashlib.sha256(content).hexdigest()), is_new

        for folder in {(self.path / relative).parent for relative, _ in tables}:
            folder.mkdir(parents=True, exist_ok=True)
        prepared = list(pool.map(prepare, tables))
        new = [self.path / written.path for written, is_new in prepared if is_new]
        for path in new:
            _temporary(path).replace(path)
        for folder in {path.parent for path in new}:
            _sync_folder(folder)
        return [written for written, _ in prepared]

    def write_json(self, relative: str, document: Mapping[str, object], *, rows: int) -> Written:
        """Put `document` at `relative`, for people and programs: two spaces, one line end."""
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return self.write(relative, text.encode(), rows=rows)

    def read_verified(self, relative: str, sha256: str, *, by: str) -> bytes:
        """Return the bytes of a file that an earlier stage wrote.

        Args:
            relative: As in its manifest.
            sha256: As in its manifest.
            by: The stage that wrote it, for the message.

        Raises:
            MarketError: It is missing or holds other bytes.
        """
        path = self.path / relative
        again = f"run {by} again"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise MarketError(f"{path} is missing; {again}", code="damaged") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise MarketError(f"{path} is not the file that {by} wrote (sha-256 differs); {again}", code="damaged")
        return content


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader or a crash sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _write_beside(path, content):
        _temporary(path).replace(path)
        _sync_folder(path.parent)


def _write_beside(path: Path, content: bytes) -> bool:
    """Write `content` beside `path`, durably, to be moved there; return False where `path` holds it already."""
    temporary = _temporary(path)
    try:
        if path.read_bytes() == content:
            temporary.unlink(missing_ok=True)
            return False
    except FileNotFoundError:
        pass
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return True


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")  # one writer (the lock): the name may be fixed


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    table.write_parquet(buffer, compression="zstd", compression_level=3, statistics=True)
    return buffer.getvalue()

"""Raw files as streams of blocks. `.gz` and `.zip` are read as they are; no file is touched, none is held whole.

A zip holds one text file, except for lean, where each member is a part of its own. Lines end with LF or CRLF. What is
read is bounded: a block is about 8 MiB, a line at most 1 MiB.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from runstate.market.failures import BadFile, FileFault, MarketError
from runstate.market.limits import Limits
from runstate.market.rows import Block

BLOCK_BYTES = Limits().block_bytes
LINE_BYTES = 1 << 20
_SHADOWS = "__MACOSX/"  #: What a Mac puts into a zip beside each file: its attributes, never data.
_BROKEN = (EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class RawFile:
    """One raw file as it was when it was hashed."""

    path: Path
    name: str  #: Relative to the configuration's folder where it lies below it, with slashes.
    size_bytes: int  #: As it lies on disk.
    sha256: str  #: Of those bytes.
    changed_ns: int  #: When it was last written.

    def check_unchanged(self) -> None:
        """Refuse a file that is not what it was when it was hashed.

        Raises:
            BadFile: Somebody wrote to it meanwhile.
        """
        try:
            now = self.path.stat()
        except OSError:
            raise BadFile(FileFault.CHANGED_WHILE_READ, 1, "the file went away while it was read") from None
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.changed_ns):
            sentence = (
                f"the file changed while it was read ({self.size_bytes} bytes at first, {now.st_size} then); "
                "run again when it is complete"
            )
            raise BadFile(FileFault.CHANGED_WHILE_READ, 1, sentence)

    def is_blank(self) -> bool:
        """Return whether there is nothing but white space in it; only small files are looked at."""
        return self.size_bytes <= LINE_BYTES and not self.path.read_bytes().strip()

    def members(self) -> list[str | None]:
        """Return the names in a zip, or None for the file itself.

        Raises:
            BadFile: The zip does not open or is empty.
        """
        if self.path.suffix.lower() != ".zip":
            return [None]
        try:
            with zipfile.ZipFile(self.path) as archive:
                names: list[str | None] = [
                    m.filename for m in archive.infolist() if not m.is_dir() and not m.filename.startswith(_SHADOWS)
                ]
        except (OSError, *_BROKEN) as error:
            raise _unreadable(error) from None
        if not names:
            raise BadFile(FileFault.UNREADABLE_ARCHIVE, 1, "the archive holds no file")
        return names

    def blocks(self, member: str | None, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield the text block by block, from the first line to the last; a block is about so long.

        Raises:
            BadFile: The archive does not open, or this is not text.
        """
        first, rest = 1, b""
        for chunk, share in self._chunks(member, block_bytes):
            if first == 1 and not rest:
                _refuse_utf16(chunk)
                chunk = chunk.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901  the mark is no part of the text
            whole, newline, rest_of_chunk = chunk.rpartition(b"\n")
            if not newline:
                rest += chunk
            else:
                content = rest + whole
                rest = rest_of_chunk
                yield _block(first, content, share)
                first += content.count(b"\n") + 1
            if len(rest) > LINE_BYTES:
                raise BadFile(FileFault.NOT_TEXT, first, "a line is longer than 1 MiB, so this is not text")
        if rest:
            if first == 1 and b"\r" in rest.strip():
                sentence = "its lines end with CR alone; save it with LF or CRLF"
                raise BadFile(FileFault.NOT_TEXT, 1, sentence)
            yield _block(first, rest, 1.0)

    def _chunks(self, member: str | None, block_bytes: int) -> Iterator[tuple[bytes, float]]:
        """Yield the bytes, and how much of the file on disk has been read with them."""
        with self._opened(member) as (stream, disk, size_bytes):
            while True:
                try:
                    chunk = stream.read(block_bytes)
                except _BROKEN as error:
                    raise _unreadable(error) from None
                except OSError as error:
                    if error.errno is None:  # gzip's own
                        raise _unreadable(error) from None
                    raise _unreachable(self.path, error) from None
                if not chunk:
                    return
                yield chunk, min(1.0, disk.tell() / max(1, size_bytes))

    @contextmanager
    def _opened(self, member: str | None) -> Iterator[tuple[IO[bytes], IO[bytes], int]]:
        """Open the text; the second stream says how far it is of the third's bytes."""
        try:
            if member is not None:
                with zipfile.ZipFile(self.path) as archive, archive.open(member) as stream:
                    yield stream, stream, archive.getinfo(member).file_size
                return
        except (KeyError, *_BROKEN) as error:
            raise _unreadable(error) from None
        try:
            raw = self.path.open("rb")
        except OSError as error:
            raise _unreachable(self.path, error) from None
        with raw:
            text = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if self.path.suffix.lower() == ".gz" else raw
            yield text, raw, self.size_bytes


def hash_file(path: Path, folder: Path) -> RawFile:
    """Return `path` with its digest; `folder` is what its name is relative to.

    Raises:
        MarketError: The operating system does not let us read it.
    """
    try:
        with path.open("rb") as file:
            before = path.stat()
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreachable(path, error) from None
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return RawFile(path, in_words(name), before.st_size, digest, before.st_mtime_ns)


def in_words(path: Path) -> str:
    r"""Return a path as text; bytes of a name that are not UTF-8 as `\xff`, since tables and manifests are."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")


def head_of(raw: RawFile, member: str | None, count: int) -> list[tuple[int, str]]:
    """Return the first `count` lines that are not blank, with their numbers, stripped.

    Raises:
        BadFile: As `RawFile.blocks`.
    """
    head: list[tuple[int, str]] = []
    for block in raw.blocks(member):
        for number, line in enumerate(block.content.split(b"\n", 4 * count + 64), start=block.first_line):
            text = line[:LINE_BYTES].decode(errors="replace").strip()
            if text:
                head.append((number, text))
            if len(head) == count:
                return head
    return head


def _block(first: int, content: bytes, share: float) -> Block:
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").removesuffix(b"\r")
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = first + content.count(b"\n", 0, error.start)
            raise BadFile(FileFault.NOT_TEXT, line, "this is not UTF-8 text") from None
    at = content.find(b"\0")
    if at >= 0:
        line = first + content.count(b"\n", 0, at)
        raise BadFile(FileFault.NOT_TEXT, line, "there is a NUL character, so this is not text")
    return Block(first, content, share)


def _refuse_utf16(chunk: bytes) -> None:
    if chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile(FileFault.NOT_TEXT, 1, "this is UTF-16 text; save it as UTF-8")


def _unreadable(error: Exception) -> BadFile:
    return BadFile(FileFault.UNREADABLE_ARCHIVE, 1, f"the archive does not open ({error})")


def _unreachable(path: Path, error: OSError) -> MarketError:
    return MarketError(f"{in_words(path)} cannot be read ({error.strerror}); check its permissions", code="bad_input")

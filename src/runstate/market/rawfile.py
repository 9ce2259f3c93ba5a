"""A raw file's bytes as text lines. `.gz` and `.zip` (one member) are read as they are; the file is never touched.

A line that is empty or only white space is no row. Lines end with LF or CRLF.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from runstate.market.failures import BadFile, FileFault, MarketError


@dataclass(frozen=True, slots=True)
class RawFile:
    """One raw file, read."""

    path: Path
    name: str  #: Relative to the configuration's folder where it lies below it, with slashes.
    size_bytes: int  #: As it lies on disk.
    sha256: str  #: Of those bytes.
    content: bytes  #: As it lies on disk.

    def text_lines(self) -> list[str]:
        """Return all lines, without line ends; line n is at n - 1.

        Raises:
            BadFile: The archive does not open, or this is not text.
        """
        content = self._unpacked()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise BadFile(FileFault.NOT_TEXT, line, "this is not UTF-8 text") from None
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise BadFile(FileFault.NOT_TEXT, line, "there is a NUL character, so this is not text")
        return [line.strip() for line in text.split("\n")]

    def count_rows(self) -> int:
        """Return the number of lines that are not blank, whatever is in them."""
        try:
            content = self._unpacked()
        except BadFile:
            content = self.content
        return sum(1 for line in content.split(b"\n") if line.strip())

    def _unpacked(self) -> bytes:
        suffix = self.path.suffix.lower()
        try:
            if suffix == ".gz":
                return gzip.decompress(self.content)
            if suffix == ".zip":
                return _only_member(self.content)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
            sentence = f"the archive does not open ({error})"
            raise BadFile(FileFault.UNREADABLE_ARCHIVE, 1, sentence) from None
        return self.content


def read_raw_file(path: Path, folder: Path) -> RawFile:
    """Read `path`; `folder` is what its name is relative to.

    Raises:
        MarketError: The operating system does not let us read it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MarketError(
            f"{path} cannot be read ({error.strerror}); check its permissions", code="bad_input"
        ) from None
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return RawFile(path, name.as_posix(), len(content), hashlib.sha256(content).hexdigest(), content)


def _only_member(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [m for m in archive.infolist() if not m.is_dir()]
        if len(members) != 1:
            sentence = f"the archive holds {len(members)} files, one is needed"
            raise BadFile(FileFault.UNREADABLE_ARCHIVE, 1, sentence)
        return archive.read(members[0])

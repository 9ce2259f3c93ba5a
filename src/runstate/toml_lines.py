"""Where in a TOML text each table and key stands. tomllib reads values and forgets lines; people need lines.

Reads only what `tomllib` has accepted already, so it may be simple: table headers, and keys at the start of a line
outside multi-line strings and arrays. What it cannot place (keys inside an inline table) has the line of the
nearest table or key around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Path = tuple[str | int, ...]  # ("source", 0, "tz"), ("instrument", "SPY")

_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_BARE_OR_QUOTED}(?:\s*\.\s*{_BARE_OR_QUOTED})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""' r"|'''.*?'''" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'" r"|#[^\n]*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TomlLines:
    """Line numbers by path."""

    by_path: Mapping[Path, int]

    def of(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest table or key around it; 1 for the whole file."""
        while path and path not in self.by_path:
            path = path[:-1]
        return self.by_path.get(path, 1)


def find_lines(text: str) -> TomlLines:
    """Return where each table and key of `text` stands; `text` is valid TOML."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    depth = 0
    pairs = zip(text.split("\n"), _without_values(text), strict=True)
    for number, (line, code) in enumerate(pairs, start=1):
        if depth == 0 and (header := _HEADER.match(line)) and code.lstrip().startswith("["):
            table = _enter(header.group(1), _parts(header.group(2)), counts)
            lines.setdefault(table, number)
            continue
        if depth == 0 and code.strip() and (key := _KEY.match(line)):
            path = table
            for part in _parts(key.group(1)):
                path = (*path, part)
                lines.setdefault(path, number)
        depth += sum(code.count(c) for c in "[{") - sum(code.count(c) for c in "]}")
    return TomlLines(lines)


def _enter(bracket: str, parts: list[str], counts: dict[Path, int]) -> Path:
    """Return the path of the table that a header opens; `counts` numbers the arrays' tables."""
    path: Path = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in counts:
            path = (*path, counts[path] - 1)
    path = (*path, parts[-1])
    if bracket == "[":
        return path
    counts[path] = counts.get(path, 0) + 1
    return (*path, counts[path] - 1)


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_BARE_OR_QUOTED, dotted)]


def _without_values(text: str) -> list[str]:
    """Return the lines with strings and comments blanked, so that brackets in them do not count."""
    return _STRING.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text).split("\n")

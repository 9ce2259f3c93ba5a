"""One TOML table, read key by key: each mistake names file and line, and what to write.

Whoever reads a table ends with `done`, which refuses the keys that nobody asked for.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from runstate.core.errors import DefinitionError
from runstate.toml_lines import Path as TomlPath
from runstate.toml_lines import TomlLines, find_lines

_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def read_toml(file: Path) -> Table:
    """Return the whole of a TOML file as a table.

    Raises:
        OSError: It cannot be read.
        DefinitionError: It is not TOML; the text names the line.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")  # some editors write a mark in front
    except UnicodeDecodeError as exc:
        line = file.read_bytes()[: exc.start].count(b"\n") + 1
        raise DefinitionError(f"{file}:{line}: the file is not UTF-8") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        at = _AT_LINE.search(str(exc))
        line = int(at.group(1)) if at else text.count("\n") + 1
        raise DefinitionError(f"{file}:{line}: the file is not TOML: {_AT_LINE.sub('', str(exc))}") from None
    return Table(file, find_lines(text), (), values)


class Table:
    """A table, with where it stands."""

    def __init__(self, file: Path, lines: TomlLines, path: TomlPath, values: Mapping[str, Any]) -> None:
        self._file, self._lines, self._path, self._values = file, lines, path, values
        self._known: list[str] = []

    @property
    def name(self) -> str:
        """The table as people write it: `[[webhook]]`, `[pipeline.nightly]`."""
        parts = ".".join(str(part) for part in self._path if isinstance(part, str))
        if not parts:
            return "the file"
        return f"[[{parts}]]" if isinstance(self._path[-1], int) else f"[{parts}]"

    def __contains__(self, key: str) -> bool:
        self._known.append(key)
        return key in self._values

    def place(self, key: str | None = None) -> str:
        """Return `file:line` of `key` or of the table."""
        return f"{self._file}:{self._lines.of(self._path if key is None else (*self._path, key))}"

    def fail(self, sentence: str, key: str | None = None) -> NoReturn:
        """Refuse the file, naming the line of `key` or of the table."""
        raise DefinitionError(f"{self.place(key)}: {sentence}")

    def checked(self, checks: Mapping[str, Callable[[str, object, str], Any]]) -> dict[str, Any]:
        """Return the values of the keys that are there, each as it was checked at its own line."""
        return {key: check(key, self._values[key], self.place(key)) for key, check in checks.items() if key in self}

    def needed(self, key: str, example: str) -> Any:
        """Return the value of a key that must be there."""
        if key not in self:
            near = difflib.get_close_matches(key, [other for other in self._values if other not in self._known], n=1)
            if near:
                self.fail(f"unknown key {near[0]!r} in {self.name}; did you mean {key!r}?", near[0])
            self.fail(f"{self.name} has no {key}; add {key} = {example}")
        return self._values[key]

    def table(self, key: str) -> Table | None:
        """Return the table of that name, None where there is none."""
        return self._below((key,), self._values[key]) if key in self else None

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array of tables; none where it is not there."""
        entries = self._values[key] if key in self else []
        if not isinstance(entries, list):
            self.fail(f"{key} in {self.name} must be written as [[{self._dotted(key)}]]", key)
        return [self._below((key, index), entry) for index, entry in enumerate(entries)]

    def named_tables(self, key: str) -> dict[str, Table]:
        """Return the tables below `key` by name; none where it is not there."""
        entries = self._values[key] if key in self else {}
        if not isinstance(entries, dict):
            self.fail(f"{key} in {self.name} must be written as [{self._dotted(key)}.NAME]", key)
        return {name: self._below((key, name), entry) for name, entry in entries.items()}

    def done(self) -> None:
        """Refuse every key that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                known = ", ".join(dict.fromkeys(self._known))
                hint = f"did you mean {near[0]!r}?" if near else f"known are {known}"
                self.fail(f"unknown key {key!r} in {self.name}; {hint}", key)

    def _below(self, below: TomlPath, entry: object) -> Table:
        path = (*self._path, *below)
        if not isinstance(entry, dict):
            example = f"[[{self._dotted(str(below[0]))}]]" if isinstance(path[-1], int) else "{ … }"
            raise DefinitionError(
                f"{self._file}:{self._lines.of(path)}: {below[0]} is {entry!r}; a table is needed, written as {example}"
            )
        return Table(self._file, self._lines, path, entry)

    def _dotted(self, key: str) -> str:
        return ".".join([*(part for part in self._path if isinstance(part, str)), key])

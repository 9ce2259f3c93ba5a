"""One TOML table, read field by field: each answer is typed, each mistake names file, line and what to write.

Whoever reads a table ends with `done()`, which refuses the keys nobody asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from runstate.market.failures import ConfigError
from runstate.toml_lines import Path as TomlPath
from runstate.toml_lines import TomlLines

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Table:
    """A table of the configuration, with where it stands."""

    def __init__(self, file: Path, lines: TomlLines, path: TomlPath, values: Mapping[str, object]) -> None:
        self._file, self._lines, self._path, self._values = file, lines, path, values
        self._known: list[str] = []

    @property
    def name(self) -> str:
        """The table as people write it: `[[source]]`, `[instrument.SPY]`."""
        parts = [str(part) for part in self._path if isinstance(part, str)]
        is_array = any(isinstance(part, int) for part in self._path)
        if not parts:
            return "the file"
        return f"[[{'.'.join(parts)}]]" if is_array else f"[{'.'.join(parts)}]"

    def fail(self, sentence: str, key: str | None = None) -> NoReturn:
        """Refuse the configuration, naming the line of `key` or of the table."""
        raise ConfigError(f"{self.place(key)}: {sentence}")

    def place(self, key: str | None = None) -> str:
        """Return `file:line` of `key` or of the table."""
        path = self._path if key is None else (*self._path, key)
        return f"{self._file}:{self._lines.of(path)}"

    def line_of(self, key: str) -> int:
        """Return the line where `key` stands."""
        return self._lines.of((*self._path, key))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty."""
        value = self._get(key, default)
        if not isinstance(value, str) or not value.strip():
            self._wrong(key, "a text", value)
        return value

    def choice(self, key: str, words: Sequence[str], default: str | None = None) -> str:
        """Return one of `words`."""
        value = self.text(key, default)
        if value not in words:
            self.fail(f"{key} in {self.name} is '{value}'; use {_either(words)}", key)
        return value

    def number_above_zero(self, key: str, default: Decimal | None = None) -> Decimal:
        """Return a finite number above 0; the file's digits are kept exactly."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            self._wrong(key, "a number above 0", value)
        number = Decimal(value)
        if not number.is_finite() or number <= 0:
            self._wrong(key, "a number above 0", value)
        return number

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a list of different texts, at least one."""
        value = self._get(key, default)
        if not isinstance(value, (list, tuple)) or not value:
            self._wrong(key, "a list of texts with at least one entry", value)
        for entry in value:
            if not isinstance(entry, str) or not entry.strip():
                self._wrong(key, "a list of texts", value)
            if value.count(entry) > 1:
                self.fail(f"{key} in {self.name} names '{entry}' twice; write it once", key)
        return tuple(value)

    def instant_us(self, key: str) -> int | None:
        """Return an instant as microseconds since the epoch, or None when the key is absent."""
        value = self._optional(key)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                self._wrong(key, 'an instant such as "2011-04-01T00:00:00Z"', value)
        if not isinstance(value, datetime):
            self._wrong(key, 'an instant such as "2011-04-01T00:00:00Z"', value)
        if value.tzinfo is None:
            self.fail(f"{key} in {self.name} has no time zone; add Z or an offset", key)
        return (value - _EPOCH) // timedelta(microseconds=1)

    def optional_text(self, key: str) -> str | None:
        """Return a text, or None when the key is absent."""
        return None if self._optional(key) is None else self.text(key)

    def flag(self, key: str, default: bool) -> bool:  # noqa: FBT001  a value, not a mode
        """Return true or false."""
        value = self._optional(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._wrong(key, "true or false", value)
        return value

    def count(self, key: str, default: int) -> int:
        """Return a whole number from 0."""
        value = self._optional(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._wrong(key, "a whole number from 0", value)
        return value

    def text_of_one(self, key: str, default: str) -> str:
        """Return a text of one character, a tab among them."""
        value = self._get(key, default)
        if not isinstance(value, str) or len(value.encode()) != 1 or value in '\r\n"':
            self._wrong(key, "one character", value)
        return value

    def column_names(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, at least one, of which some may be equal."""
        value = self._get(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
            self._wrong(key, "a list of texts with at least one entry", value)
        return tuple(value)

    def has(self, key: str) -> bool:
        """Return whether the table has `key`; asking makes it a known key."""
        return self._optional(key) is not None

    def sub_table(self, key: str) -> Table:
        """Return a table below this one."""
        value = self._get(
            key, None, missing=f"add [{'.'.join(str(p) for p in self._path if isinstance(p, str))}.{key}]"
        )
        return self._below(key, None, value)

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array of tables, at least one."""
        value = self._get(key, None, missing=f"add at least one [[{key}]]")
        if not isinstance(value, list) or not value:
            self._wrong(key, f"written as [[{key}]]", value)
        return [self._below(key, index, entry) for index, entry in enumerate(value)]

    def named_tables(self, key: str) -> dict[str, Table]:
        """Return the sub-tables by name, at least one."""
        value = self._get(key, None, missing=f"add at least one [{key}.NAME]")
        if not isinstance(value, dict) or not value:
            self._wrong(key, f"written as [{key}.NAME]", value)
        return {name: self._below(key, name, entry) for name, entry in value.items()}

    def done(self) -> None:
        """Refuse every key that was not asked for."""
        for key in self._values:
            if key in self._known:
                continue
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known keys: {_list(self._known)}"
            self.fail(f"unknown key '{key}' in {self.name}{hint}", key)

    def _below(self, key: str, index: str | int | None, entry: object) -> Table:
        path = (*self._path, key) if index is None else (*self._path, key, index)
        if not isinstance(entry, dict):
            line = self._lines.of(path)
            raise ConfigError(f"{self._file}:{line}: {key} must hold tables, here is {_shown(entry)}")
        return Table(self._file, self._lines, path, entry)

    def _optional(self, key: str) -> object:
        self._known.append(key)
        return self._values.get(key)

    def _get(self, key: str, default: object, missing: str | None = None) -> object:
        value = self._optional(key)
        if value is not None:
            return value
        if default is None:
            others = [other for other in self._values if other not in self._known]
            for near in difflib.get_close_matches(key, others, n=1):
                self.fail(f"unknown key '{near}' in {self.name}; did you mean '{key}'?", near)
            self.fail(f"{self.name} has no '{key}'; {missing or f'add {key} = …'}")
        return default

    def _wrong(self, key: str, needed: str, value: object) -> NoReturn:
        self.fail(f"{key} in {self.name} must be {needed}, here is {_shown(value)}", key)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return str(value)


def _list(words: Sequence[str]) -> str:
    return ", ".join(sorted(set(words)))


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

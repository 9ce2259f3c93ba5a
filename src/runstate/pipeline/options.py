"""The options of stages and pipelines, checked one by one: whoever reads them, from Python or TOML, says where they stand.

Law: each function returns the value in its one form or raises a DefinitionError that begins with `where`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runstate.core.errors import DefinitionError
from runstate.core.health import Policy
from runstate.pipeline.runners.load import MAIN

NAME = re.compile(r"[a-z][a-z0-9_]*")
MAX_NAME_LENGTH = 64
MIN_LEASE_S = 1.0
MAX_SECONDS = 366 * 24 * 3600.0  # what is longer is a slip of the pen, and some clocks cannot wait for it
MAX_RETRIES = 1_000_000
#: Failures that may be tried again, by their `error_code` (PROTOCOL D9). `Fatal` and its own words never are.
RETRYABLE = ("exception", "timeout", "killed", "exit_status", "out_of_memory", "lost", "bad_output")
PLACEHOLDERS = ("workdir", "run_id", "attempt")
#: Environment variables that runstate itself gives to commands.
RESERVED = tuple(
    f"RUNSTATE_{word}"
    for word in ("METADATA", "OUTPUTS", "RUN_ID", "PIPELINE", "STAGE", "ATTEMPT", "WORKDIR", "WORKER")
)

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VARIABLE = re.compile(r"[^=\0]+")


def check_name(what: str, name: object, where: str) -> str:
    """Return the name of a stage or pipeline."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise DefinitionError(
            f"{where}: {what} name {name!r} is not allowed; use a lower-case letter, then letters, digits and underscores, "
            f"at most {MAX_NAME_LENGTH}"
        )
    return name


def check_seconds(name: str, value: object, where: str) -> float:
    """Return a number of seconds from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DefinitionError(f"{where}: {name} is {value!r}; a number of seconds from 0 is needed")
    if value > MAX_SECONDS:
        raise DefinitionError(f"{where}: {name} is {value!r} seconds; at most {MAX_SECONDS:.0f}, a year, is allowed")
    return float(value)


def check_limit(name: str, value: object, where: str) -> float | None:
    """Return a time limit in seconds, None for none."""
    if value is None:
        return None
    limit_s = check_seconds(name, value, where)
    if limit_s == 0:
        raise DefinitionError(f"{where}: {name} is 0; leave it out for no limit")
    return limit_s


def check_lease(name: str, value: object, where: str) -> float | None:
    """Return how long a worker may be silent, in seconds; None: nobody said."""
    if value is None:
        return None
    lease_s = check_seconds(name, value, where)
    if lease_s < MIN_LEASE_S:
        raise DefinitionError(
            f"{where}: {name} is {value!r}; at least {MIN_LEASE_S:g} s are needed to tell quiet from dead"
        )
    return lease_s


def check_retries(name: str, value: object, where: str) -> int:
    """Return how often a stage is tried again."""
    if type(value) is not int or value < 0:
        raise DefinitionError(f"{where}: {name} is {value!r}; a whole number from 0 is needed")
    if value > MAX_RETRIES:
        raise DefinitionError(f"{where}: {name} is {value!r}; at most {MAX_RETRIES} is allowed")
    return value


def check_on_interrupt(name: str, value: object, where: str) -> str:
    """Return what becomes of a stage whose server went away."""
    if value not in ("resume", "fail"):
        raise DefinitionError(f'{where}: {name} is {value!r}; use "resume" or "fail"')
    return str(value)


def check_policy(name: str, value: object, where: str) -> Policy:
    """Return when runs may start."""
    if value == "always" or value == "gated":  # noqa: PLR1714 - so mypy sees that it is one of them
        return value
    raise DefinitionError(f'{where}: {name} is {value!r}; use "always" or "gated"')


def check_retry_on(name: str, value: object, where: str) -> tuple[str, ...] | None:
    """Return which failures are tried again: words of `RETRYABLE` and names of exception classes; None: all."""
    if value is None:
        return None
    entries = [value] if isinstance(value, str | type) else value
    if not isinstance(entries, list | tuple | set | frozenset) or not entries:
        raise DefinitionError(f"{where}: {name} is {value!r}; a list of exception types or codes is needed")
    return tuple(_kind(name, entry, where) for entry in entries)


def kind_of(exception: type[BaseException]) -> str:
    """Return the name by which a class of exceptions is known in every process."""
    module = str(exception.__module__)
    return f"{MAIN if module == '__main__' else module}.{exception.__qualname__}"


def _kind(name: str, entry: object, where: str) -> str:
    if isinstance(entry, type) and issubclass(entry, BaseException):
        return kind_of(entry)
    if entry in RETRYABLE:
        return str(entry)
    raise DefinitionError(
        f"{where}: {name} names {entry!r}; it may name exception types (in Python) and the codes {', '.join(RETRYABLE)}"
    )


def check_command(name: str, value: object, where: str) -> str:
    """Return the text of a shell command, whose placeholders are known."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise DefinitionError(
            f"{where}: {name} is {value!r}; the text of a shell command is needed, without null bytes"
        )
    for match in _BRACES.finditer(value):
        if match.group() not in ("{{", "}}") and match.group(1) not in PLACEHOLDERS:
            known = ", ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
            raise DefinitionError(
                f"{where}: {name} has {match.group()!r}, which is no placeholder; there are {known}; "
                "a brace for the shell is written twice: {{ or }}"
            )
    return value


def check_cwd(name: str, value: object, where: str) -> str | None:
    """Return the folder where a command starts, None for the server's."""
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise DefinitionError(f"{where}: {name} is {value!r}; the path of a folder is needed")
    return str(value)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return a command's text with `values` in place of the placeholders."""

    def replace(match: re.Match[str]) -> str:
        return match.group()[0] if match.group(1) is None else values[match.group(1)]

    return _BRACES.sub(replace, text)


def check_env(name: str, value: object, where: str) -> dict[str, str]:
    """Return the variables that a command has besides the server's."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DefinitionError(f"{where}: {name} is {value!r}; a table of names and texts is needed")
    for variable, text in value.items():
        if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
            raise DefinitionError(f"{where}: {name} has a variable named {variable!r}; a name without = is needed")
        if variable in RESERVED:
            raise DefinitionError(f"{where}: {name} sets {variable}, which is runstate's own to set; use another name")
        if not isinstance(text, str) or "\0" in text:
            raise DefinitionError(f"{where}: {name} sets {variable} to {text!r}; a text without null bytes is needed")
    return dict(value)


Check = Callable[[str, object, str], Any]

CHECKS: Mapping[str, Check] = {
    "retries": check_retries,
    "retry_on": check_retry_on,
    "backoff_s": check_seconds,
    "backoff_max_s": check_seconds,
    "timeout_s": check_limit,
    "grace_s": check_seconds,
    "lease_s": check_lease,
    "on_interrupt": check_on_interrupt,
}
COMMAND_CHECKS: Mapping[str, Check] = {"command": check_command, "env": check_env, "cwd": check_cwd}


def check_options(options: Mapping[str, object], where: str) -> dict[str, Any]:
    """Return the options of a stage, each in its one form."""
    checked = {name: check(name, options[name], where) for name, check in CHECKS.items()}
    if checked["backoff_s"] > checked["backoff_max_s"]:
        raise DefinitionError(
            f"{where}: backoff_s is {checked['backoff_s']:g}, more than backoff_max_s {checked['backoff_max_s']:g}"
        )
    return checked

"""Where a definition stands, as messages name it."""

from __future__ import annotations

import sys
from pathlib import Path

from runstate.pipeline.stage import StageFunction


def file_of(function: StageFunction) -> str | None:
    """Return the file of a function's module, absolute; None where there is none."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None) or getattr(getattr(function, "__code__", None), "co_filename", None)
    return str(Path(file).absolute()) if file and Path(file).exists() else None


def place_of(function: StageFunction) -> str:
    """Return `file:line` of a function."""
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def place_of_caller(module: str) -> str:
    """Return `file:line` of who called into `module`."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to say where a definition stands
    while frame.f_back is not None and frame.f_globals.get("__name__") in (module, __name__):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

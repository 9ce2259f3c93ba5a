"""Finding a person's code again: the one import rule of the server, the fork server and the command line.

A module is imported by its name where that name leads to its file. Else it is loaded from the file under that name, with
the file's folder first on `sys.path`, as Python does for a script. `__main__` becomes `__runstate_main__`, so what stands
under `if __name__ == "__main__"` does not run.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from runstate.pipeline.stage import Place

MAIN = "__runstate_main__"


def load_module(name: str, file: str | None) -> ModuleType:
    """Return the module `name` that stands in `file`; loads it where it is not loaded yet.

    Where another module of that name is loaded already (a `json.py` of the user's), it stays, and this one is known as
    `__runstate_<name>__`.

    Raises:
        ImportError: There is no such module or file.
        BaseException: What the module raised while it was executed.
    """
    if file is None:
        return importlib.import_module(name)
    if name == "__main__":
        name = MAIN
    elif _leads_to(name, file):
        return importlib.import_module(name)
    for known in (name, f"__runstate_{name.rpartition('.')[2]}__"):
        if known not in sys.modules:
            return _load_file(known, file)
        if _is_same(getattr(sys.modules[known], "__file__", None), file):
            return sys.modules[known]
    raise ImportError(f"{file} cannot be loaded as {name}: other modules have that name", name=name, path=file)


def load_function(place: Place) -> Callable[..., Any]:
    """Return the function that stands at `place`.

    Raises:
        ImportError: There is no such module, file or function.
        BaseException: What the module raised while it was executed.
    """
    found: Any = load_module(place.module, place.file)
    for part in place.qualname.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ImportError(f"module {place.module} ({place.file}) has no function {place.qualname}")
    function: Callable[..., Any] = found
    return function


def _leads_to(name: str, file: str) -> bool:
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _is_same(getattr(loaded, "__file__", None), file)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False  # a parent that is not there, or is no package
    return spec is not None and _is_same(spec.origin, file)


def _is_same(one: str | None, other: str) -> bool:
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def _load_file(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ImportError(f"there is no Python file {file}", name=name, path=file)
    folder = str(Path(file).resolve().parent)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # as the import system does: a half-made module is no module
        raise
    return module

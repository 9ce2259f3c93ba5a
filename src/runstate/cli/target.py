"""Finding pipelines in what a person names: a Python file, a `package.module`, a `runstate.toml`, each also with `:NAME`.

Every way in which this can fail is one sentence that names the file, and the line where there is one.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from runstate.cli.failures import Usage
from runstate.core.errors import DefinitionError
from runstate.pipeline.definition import Pipeline, check_pipeline

if TYPE_CHECKING:
    from runstate.pipeline.configuration import Configuration
    from runstate.pipeline.webhook import WebhookConfig
    from runstate.state.retention import Keep

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
TARGET_DIR = "RUNSTATE_TARGET_DIR"
_IMPORTERS = ("/importlib/__init__.py", "/runstate/cli/target.py", "/runstate/pipeline/runners/load.py")


class NotLoaded(Usage):
    """The file is there, but there are no pipelines to be had from it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a person named, loaded."""

    text: str  #: As typed.
    folder: Path  #: Of the file; of a module the current folder.
    pipelines: tuple[Pipeline, ...]  #: In the order of their definition.
    keep: Keep | None = None  #: What history keeps, where the target says so.
    webhooks: tuple[WebhookConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What several targets say together."""

    pipelines: list[Pipeline]  #: In the order of targets and definitions.
    folder: Path  #: Of the first target.
    keep: Keep | None
    webhooks: tuple[WebhookConfig, ...]


def load_targets(texts: Sequence[str]) -> Loaded:
    """Return what the targets say.

    Raises:
        Usage: A target is not there, or cannot be loaded.
        DefinitionError: A pipeline is defined wrongly, two have one name, or two files say what history keeps.
    """
    targets = [load_target(text) for text in dict.fromkeys(texts)]
    keeping = [target for target in targets if target.keep is not None]
    if len(keeping) > 1:
        raise DefinitionError(
            f"both {keeping[0].text} and {keeping[1].text} have a [store], and there is one store; leave one out"
        )
    found: dict[str, Pipeline] = {}
    for target in targets:
        for pipeline in target.pipelines:
            other = found.setdefault(pipeline.name, pipeline)
            if other is not pipeline:
                raise DefinitionError(
                    f"two pipelines are named {pipeline.name}, at {other.place} and at {pipeline.place}; rename one"
                )
    for pipeline in found.values():
        check_pipeline(pipeline)
    webhooks = dict.fromkeys(webhook for target in targets for webhook in target.webhooks)
    return Loaded(list(found.values()), targets[0].folder, keeping[0].keep if keeping else None, tuple(webhooks))


def choose(pipelines: Sequence[Pipeline], wanted: str | None, target: str) -> Pipeline:
    """Return the pipeline that is to run.

    Raises:
        Usage: There is no such pipeline, or there are several and none was named.
    """
    names = ", ".join(pipeline.name for pipeline in pipelines)
    if wanted is None:
        if len(pipelines) > 1:
            raise Usage(f"{target} has several pipelines, name one with --pipeline: {names}")
        return pipelines[0]
    for pipeline in pipelines:
        if pipeline.name == wanted:
            return pipeline
    raise Usage(f"{target} has no pipeline {wanted}; it has {names}")


def load_target(text: str) -> Target:
    """Return what `text` names.

    Raises:
        Usage: It is not there.
        NotLoaded: It cannot be loaded, or holds no pipeline.
        DefinitionError: A pipeline in it is defined wrongly.
    """
    place, colon, name = text.rpartition(":")
    if not colon:
        place, name = text, ""
    path = Path(place)
    if place.endswith(".toml"):
        said = _load_toml(path)
        by_name = {pipeline.name: pipeline for pipeline in said.pipelines}
        if not by_name and not colon:
            raise NotLoaded(f"{place} has no pipeline; add one, such as: [pipeline.nightly]")
        chosen = (_chosen(by_name, name, place),) if colon else said.pipelines
        return Target(text, path.absolute().parent, chosen, said.keep, said.webhooks)
    if place.endswith(".py") or os.sep in place or path.exists():
        module, folder = _load_file(path), path.absolute().parent
    else:
        module, folder = _load_module(place), Path.cwd()
    found = {key: value for key, value in vars(module).items() if isinstance(value, Pipeline)}
    if not colon:
        if not found:
            raise NotLoaded(
                f'{place} has no pipeline at its top level; add one, such as: nightly = Pipeline("nightly")'
            )
        return Target(text, folder, tuple(dict.fromkeys(found.values())))
    by_name = {pipeline.name: pipeline for pipeline in found.values()} | found
    return Target(text, folder, (_chosen(by_name, name, place),))


def _chosen(by_name: Mapping[str, Pipeline], name: str, place: str) -> Pipeline:
    if name not in by_name:
        there = f"it has {', '.join(by_name)}" if by_name else "it has none"
        raise Usage(f"{place} has no pipeline {name or 'without a name'}; {there}")
    return by_name[name]


def _load_toml(path: Path) -> Configuration:
    from runstate.pipeline.configuration import read_configuration

    _check_there(path, "TOML")
    try:
        return read_configuration(path)
    except OSError as error:
        raise NotLoaded(f"{path}: the file cannot be read: {error.strerror}") from error


def _check_there(path: Path, kind: str) -> None:
    if path.is_dir():
        raise Usage(f"{path} is a folder; name a {kind} file in it")
    if not path.is_file():
        raise Usage(f"there is no file {path}")


def _load_file(path: Path) -> ModuleType:
    _check_there(path, "Python")
    file = str(path.absolute())
    return _load(path.stem, file, str(path))


def _load_module(name: str) -> ModuleType:
    if not _MODULE.fullmatch(name):
        raise Usage(f"{name!r} is neither a Python file nor the name of a module")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    return _load(name, None, name)


def _load(name: str, file: str | None, shown: str) -> ModuleType:
    from runstate.pipeline.runners.load import load_module

    try:
        return load_module(name, file)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        if file is None and error.name is not None and (name + ".").startswith(error.name + "."):
            raise Usage(f"there is no file and no module {name}; start where it can be imported") from error
        raise _not_loaded(error, file, shown) from error
    except SystemExit as error:
        guard = 'put what is to run as a script below: if __name__ == "__main__":'
        where = _line_of(error, file)
        raise NotLoaded(f"{where or shown}: the file ends the program while it is loaded; {guard}") from error
    except Exception as error:  # a person's file may raise anything
        raise _not_loaded(error, file, shown) from error


def _not_loaded(error: Exception, file: str | None, shown: str) -> NotLoaded:
    if isinstance(error, SyntaxError):
        return NotLoaded(
            f"{error.filename}:{error.lineno}: the file cannot be loaded: {type(error).__name__}: {error.msg}"
        )
    why = str(error).strip().partition("\n")[0]
    where = _line_of(error, file) or shown
    return NotLoaded(f"{where}: the file cannot be loaded: {type(error).__name__}{f': {why}' if why else ''}")


def _line_of(error: BaseException, file: str | None) -> str | None:
    """Return `file:line` where the target's own code was, else where the error arose outside Python's import system."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not frame.filename.endswith(_IMPORTERS)
    ]
    own = [frame for frame in frames if file is not None and _is_same(frame.filename, file)]
    last = (own or frames)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else None


def _is_same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()

"""What a person writes: a pipeline is a sequence of stages. Every mistake is one sentence naming the place.

A plain function runs in a child process, which imports it by module and name, so it must stand at the top of a module.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from runstate.core.errors import DefinitionError
from runstate.pipeline.stage import Place, Stage, StageFunction

FunctionT = TypeVar("FunctionT", bound=StageFunction)

NAME = re.compile(r"[a-z][a-z0-9_]*")
MAX_NAME_LENGTH = 64


class Pipeline:
    """A named sequence of stages.

    ```python
    market = Pipeline("market")

    @market.stage
    async def translator(ctx: StageContext):
        ctx.progress(3, total=10, unit="files")
        return {"files": 10}
    ```
    """

    def __init__(
        self, name: str, *, progress_interval_s: float = 0.1, run_policy: Literal["always"] = "always"
    ) -> None:
        """Make an empty pipeline.

        Args:
            name: Lower-case letters, digits and underscores, at most 64.
            progress_interval_s: Seconds between two commits of one stage's progress; 0 commits every call.
            run_policy: When runs may start; `"always"` is the only policy so far.

        Raises:
            DefinitionError: An argument is not as described.
        """
        place = _caller()
        _check_name("pipeline", name, place)
        _check_seconds("progress_interval_s", progress_interval_s, f"pipeline {name} ({place})")
        if run_policy != "always":
            raise DefinitionError(
                f'pipeline {name} ({place}): run_policy {run_policy!r} is not supported yet; use "always"'
            )
        self.name = name
        self.progress_interval_s = float(progress_interval_s)
        self.place = place  #: `file:line` of the definition.
        self._stages: dict[str, Stage] = {}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in running order."""
        return tuple(self._stages.values())

    @property
    def stage_order(self) -> tuple[str, ...]:
        """The names of the stages in running order."""
        return tuple(self._stages)

    @overload
    def stage(self, function: FunctionT, /) -> FunctionT: ...
    @overload
    def stage(
        self,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff_s: float = 1.0,
        timeout_s: float | None = None,
        grace_s: float = 10.0,
        on_interrupt: Literal["resume", "fail"] = "resume",
    ) -> Callable[[FunctionT], FunctionT]: ...
    def stage(
        self,
        function: StageFunction | None = None,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff_s: float = 1.0,
        timeout_s: float | None = None,
        grace_s: float = 10.0,
        on_interrupt: Literal["resume", "fail"] = "resume",
    ) -> Any:
        """Add a function as the next stage; use as a decorator, bare or called. The function itself is returned.

        An `async def` runs as a task in the server's loop; a plain function in a child process of its own.

        Args:
            name: The stage's name; default the function's.
            retries: Further attempts after a failed one.
            backoff_s: Seconds before the first retry; doubles with each, at most 300.
            timeout_s: Seconds after which an attempt is ended with code `timeout`; None: never.
            grace_s: Seconds between asking an attempt to stop and killing it.
            on_interrupt: `"resume"` runs the stage again when the server went away under it, `"fail"` ends the run.

        Raises:
            DefinitionError: An argument is not as described, or the pipeline has such a stage.
        """

        def add(function: StageFunction) -> StageFunction:
            options = {
                "retries": retries,
                "backoff_s": backoff_s,
                "timeout_s": timeout_s,
                "grace_s": grace_s,
                "on_interrupt": on_interrupt,
            }
            self._add(function, name, options)
            return function

        return add if function is None else add(function)

    def _add(self, function: StageFunction, name: str | None, options: dict[str, Any]) -> None:
        if not callable(function):
            raise DefinitionError(f"pipeline {self.name} ({_caller()}): @stage needs a function, got {function!r}")
        place = _place_of(function)
        where = f"pipeline {self.name} ({place})"
        name = getattr(function, "__name__", "") if name is None else name
        _check_name("stage", name, place)
        if name in self._stages:
            raise DefinitionError(f"{where}: there is a stage {name} already; stage names are unique")
        where = f"stage {name} of {where}"
        _check_options(options, where)
        _check_signature(function, where)
        is_async = inspect.iscoroutinefunction(function)
        importable = Place(function.__module__, _file_of(function), function.__qualname__)
        if not is_async and ("<" in importable.qualname or importable.file is None):
            raise DefinitionError(
                f"{where}: a plain function runs in a child process, so it must stand at the top of a module in a file; "
                "move it there or make it async"
            )
        self._stages[name] = Stage(name=name, function=function, is_async=is_async, place=importable, **options)

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, stages={list(self.stage_order)})"


def check_pipeline(pipeline: Pipeline) -> None:
    """Check what can only be checked once all stages are there.

    Raises:
        DefinitionError: The pipeline has no stage.
    """
    if not pipeline.stages:
        raise DefinitionError(
            f"pipeline {pipeline.name} ({pipeline.place}) has no stage; add one with @{pipeline.name}.stage"
        )


def check_pipelines(pipelines: Sequence[Pipeline]) -> None:
    """Check pipelines that are to be served together.

    Raises:
        DefinitionError: One has no stage, or two have the same name.
    """
    places: dict[str, str] = {}
    for pipeline in pipelines:
        check_pipeline(pipeline)
        if pipeline.name in places:
            raise DefinitionError(
                f"two pipelines are named {pipeline.name} ({places[pipeline.name]} and {pipeline.place}); rename one"
            )
        places[pipeline.name] = pipeline.place


def _check_name(what: str, name: object, place: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise DefinitionError(
            f"{place}: {what} name {name!r} is not allowed; use a lower-case letter, then letters, digits and underscores, "
            f"at most {MAX_NAME_LENGTH}"
        )


def _check_options(options: dict[str, Any], where: str) -> None:
    retries = options["retries"]
    if type(retries) is not int or retries < 0:
        raise DefinitionError(f"{where}: retries is {retries!r}; a whole number from 0 is needed")
    _check_seconds("backoff_s", options["backoff_s"], where)
    _check_seconds("grace_s", options["grace_s"], where)
    if options["timeout_s"] is not None:
        _check_seconds("timeout_s", options["timeout_s"], where)
        if options["timeout_s"] == 0:
            raise DefinitionError(f"{where}: timeout_s is 0; leave it out for no limit")
    if options["on_interrupt"] not in ("resume", "fail"):
        raise DefinitionError(f'{where}: on_interrupt is {options["on_interrupt"]!r}; use "resume" or "fail"')


def _check_seconds(name: str, value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise DefinitionError(f"{where}: {name} is {value!r}; a number of seconds from 0 is needed")


def _check_signature(function: StageFunction, where: str) -> None:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise DefinitionError(f"{where}: a stage takes exactly one argument, the StageContext") from None
    except ValueError:
        return  # a C function without a signature; calling it will tell


def _file_of(function: StageFunction) -> str | None:
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None) or getattr(getattr(function, "__code__", None), "co_filename", None)
    return str(Path(file).absolute()) if file and Path(file).exists() else None


def _place_of(function: StageFunction) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def _caller() -> str:
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to say where a definition stands
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

"""What a person writes: a pipeline is a sequence of stages. Every mistake is one sentence naming the place.

A plain function runs in a child process, which imports it by module and name, so it must stand at the top of a module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from runstate.core.errors import DefinitionError, InvalidValue
from runstate.core.health import Policy
from runstate.core.model import Schedule
from runstate.pipeline.options import (
    check_command,
    check_cwd,
    check_env,
    check_limit,
    check_name,
    check_options,
    check_policy,
    check_seconds,
)
from runstate.pipeline.places import file_of, place_of, place_of_caller
from runstate.pipeline.stage import AsyncFunction, Command, Place, PlainFunction, Stage, StageFunction

FunctionT = TypeVar("FunctionT", bound=StageFunction)
RetryOn = Sequence[type[BaseException] | str] | type[BaseException] | str | None


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
        self,
        name: str,
        *,
        progress_interval_s: float = 0.1,
        run_policy: Policy = "always",
        timeout_s: float | None = None,
        place: str | None = None,
    ) -> None:
        """Make an empty pipeline.

        Args:
            name: Lower-case letters, digits and underscores, at most 64.
            progress_interval_s: Seconds between two commits of one stage's progress; 0 commits every call.
            run_policy: `"always"`: health informs, and refuses nothing; `"gated"`: scheduled runs start only when the pipeline
                is healthy, others need an override when it is degraded or unstable, and an acknowledgement when it is blocked.
            timeout_s: Seconds after which a run is ended with code `timeout`, counted from its start or its last `retry`
                command; None: never.
            place: Where the definition stands, for messages; None: the line that calls this.

        Raises:
            DefinitionError: An argument is not as described.
        """
        place = place or place_of_caller(__name__)
        check_name("pipeline", name, place)
        check_seconds("progress_interval_s", progress_interval_s, f"pipeline {name} ({place})")
        self.name = name
        self.progress_interval_s = float(progress_interval_s)
        self.timeout_s = check_limit("timeout_s", timeout_s, f"pipeline {name} ({place})")
        self.run_policy = check_policy("run_policy", run_policy, f"pipeline {name} ({place})")
        self.timetable: Schedule | None = None  #: What `schedule` said; None: it runs only when somebody starts it.
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
        retry_on: RetryOn = None,
        backoff_s: float = 1.0,
        backoff_max_s: float = 300.0,
        timeout_s: float | None = None,
        grace_s: float = 10.0,
        on_interrupt: Literal["resume", "fail"] = "resume",
        lease_s: float | None = None,
    ) -> Callable[[FunctionT], FunctionT]: ...
    def stage(
        self,
        function: StageFunction | None = None,
        *,
        name: str | None = None,
        retries: int = 0,
        retry_on: RetryOn = None,
        backoff_s: float = 1.0,
        backoff_max_s: float = 300.0,
        timeout_s: float | None = None,
        grace_s: float = 10.0,
        on_interrupt: Literal["resume", "fail"] = "resume",
        lease_s: float | None = None,
    ) -> Any:
        """Add a function as the next stage; use as a decorator, bare or called. The function itself is returned.

        An `async def` runs as a task in the server's loop; a plain function in a child process of its own.

        Args:
            name: The stage's name; default the function's.
            retries: Further attempts after a failed one.
            retry_on: Which failures are tried again: exception types and error codes such as `"timeout"`; None: all.
            backoff_s: Seconds before the first retry; doubles with each, and up to a quarter is added by chance.
            backoff_max_s: No pause is longer.
            timeout_s: Seconds after which an attempt is ended with code `timeout`; None: never.
            grace_s: Seconds between asking an attempt to stop and killing it.
            on_interrupt: `"resume"` runs the stage again when the server went away under it, `"fail"` ends the run.
            lease_s: Seconds without a sign of life after which a plain function's process is killed as `lost`; default 30.
                A thread of it gives the signs, so only what stands still or holds the interpreter for so long is meant.

        Raises:
            DefinitionError: An argument is not as described, or the pipeline has such a stage.
        """

        def add(function: StageFunction) -> StageFunction:
            self._add_function(
                function,
                name,
                retries=retries,
                retry_on=retry_on,
                backoff_s=backoff_s,
                backoff_max_s=backoff_max_s,
                timeout_s=timeout_s,
                grace_s=grace_s,
                on_interrupt=on_interrupt,
                lease_s=lease_s,
            )
            return function

        return add if function is None else add(function)

    def command(
        self,
        name: str,
        command: str,
        *,
        retries: int = 0,
        retry_on: RetryOn = None,
        backoff_s: float = 1.0,
        backoff_max_s: float = 300.0,
        timeout_s: float | None = None,
        grace_s: float = 10.0,
        on_interrupt: Literal["resume", "fail"] = "resume",
        lease_s: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        place: str | None = None,
    ) -> None:
        """Add a shell command as the next stage; `/bin/sh -c` executes it. Other options are those of `stage`.

        Its output is the run's log, but for lines that begin with `::progress` or `::outputs` (docs/how-to/commands.md).

        Args:
            name: The stage's name.
            command: `{workdir}`, `{run_id}` and `{attempt}` are replaced, quoted for the shell; `{{` and `}}` are braces.
            env: Variables added to the server's environment.
            cwd: The folder where it starts; None: where the server did.
            place: Where the definition stands, for messages; None: the line that calls this.

        Raises:
            DefinitionError: An argument is not as described, or the pipeline has such a stage.
        """
        where = self._new_stage(name, place or place_of_caller(__name__))
        options = check_options(
            {
                "retries": retries,
                "retry_on": retry_on,
                "backoff_s": backoff_s,
                "backoff_max_s": backoff_max_s,
                "timeout_s": timeout_s,
                "grace_s": grace_s,
                "on_interrupt": on_interrupt,
                "lease_s": lease_s,
            },
            where,
        )
        text, folder = check_command("command", command, where), check_cwd("cwd", cwd, where)
        self._add(name, Command(text, tuple(check_env("env", env, where).items()), folder), options)

    def schedule(
        self,
        cron: str,
        *,
        tz: str = "UTC",
        missed: Literal["skip", "run_once"] = "skip",
        overlap: Literal["skip", "queue"] = "skip",
        enabled: bool = True,
        place: str | None = None,
    ) -> None:
        """Let the pipeline run by itself, once it is served.

        Args:
            cron: Minute, hour, day of month, month, day of week; with six fields, seconds in front.
            tz: IANA name of the time zone in which `cron` is read, such as `America/Chicago`.
            missed: What becomes of times at which no server was there: `"skip"`, or `"run_once"` for all of them together.
            overlap: What becomes of a time at which a run is active: `"skip"`, or `"queue"` one for when it is over.
            enabled: Whether it fires.
            place: Where the definition stands, for messages; None: the line that calls this.

        Raises:
            DefinitionError: An argument is not as described, or the pipeline has a schedule.
        """
        from runstate.pipeline.schedule import check_schedule

        where = f"pipeline {self.name} ({place or place_of_caller(__name__)})"
        if self.timetable is not None:
            raise DefinitionError(f"{where}: there is a schedule already; a pipeline has one")
        timetable = Schedule(cron=cron, tz=tz, missed=missed, overlap=overlap, enabled=enabled)
        try:
            check_schedule(timetable, now_ms=0)
        except InvalidValue as refusal:
            raise DefinitionError(f"{where}: schedule: {refusal}") from None
        self.timetable = timetable

    def _add_function(self, function: StageFunction, name: str | None, **options: object) -> None:
        if not callable(function):
            raise DefinitionError(
                f"pipeline {self.name} ({place_of_caller(__name__)}): @stage needs a function, got {function!r}"
            )
        name = getattr(function, "__name__", "") if name is None else name
        where = self._new_stage(name, place_of(function))
        checked = check_options(options, where)
        _check_signature(function, where)
        if inspect.iscoroutinefunction(function):
            if checked["lease_s"] is not None:
                raise DefinitionError(
                    f"{where}: lease_s is for plain functions and commands; an async stage lives in the server's own loop"
                )
            self._add(name, AsyncFunction(function), checked)
            return
        importable = Place(function.__module__, file_of(function), function.__qualname__)
        if "<" in importable.qualname or importable.file is None:
            raise DefinitionError(
                f"{where}: a plain function runs in a child process, so it must stand at the top of a module in a file; "
                "move it there or make it async"
            )
        self._add(name, PlainFunction(importable), checked)

    def _new_stage(self, name: object, place: str) -> str:
        """Return what messages about a stage begin with; it has a name of its own."""
        where = f"pipeline {self.name} ({place})"
        if check_name("stage", name, place) in self._stages:
            raise DefinitionError(f"{where}: there is a stage {name} already; stage names are unique")
        return f"stage {name} of {where}"

    def _add(self, name: str, work: AsyncFunction | PlainFunction | Command, options: dict[str, Any]) -> None:
        self._stages[name] = Stage(name=name, work=work, **options)

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


def _check_signature(function: StageFunction, where: str) -> None:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise DefinitionError(f"{where}: a stage takes exactly one argument, the StageContext") from None
    except ValueError:
        return  # a C function without a signature; calling it will tell

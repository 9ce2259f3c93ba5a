"""A run without an engine: the surface of `StageContext` that stages use, and folders to run in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runstate.market.pipeline import analyzer, merger, translator

STAGES: tuple[Callable[[Any], dict[str, Any]], ...] = (translator, analyzer, merger)


@dataclass
class FakeContext:
    """What a stage sees of its run."""

    config: str | None
    workdir: Path
    run_id: str = "run-1"
    pipeline: str = "market"
    stage: str = "translator"
    attempt: int = 1
    stopping: bool = False
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[tuple[Any, ...]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def metadata(self) -> Any:
        return MappingProxyType({} if self.config is None else {"config": self.config})

    def update_metadata(self, patch: dict[str, Any]) -> None:
        raise AssertionError("the market stages leave the metadata alone")

    def progress(self, done, total=None, unit=None, message=None) -> None:
        self.seen.append((done, total, unit, message))

    def outputs(self, stage: str) -> dict[str, Any]:
        return self.finished[stage]

    def log(self, text: str, level: str = "info") -> None:
        self.lines.append(f"{level}: {text}")


def run_stages(config: Path, count: int = 3) -> FakeContext:
    """Run the first `count` stages of the pipeline over a configuration and return the context with their outputs."""
    context = FakeContext(str(config), config.parent / "work")
    context.workdir.mkdir(exist_ok=True)
    for function in STAGES[:count]:
        context.stage = function.__name__
        context.finished[function.__name__] = function(context)
    return context


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder` by relative name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


CONFIG = """\
out = "out"

[[source]]
files = "raw/*.csv"
dialect = "{dialect}"
instrument = "X"
interval = "1m"
tz = "{tz}"
stamp = "{stamp}"
on_bad_file = "{on_bad_file}"

[instrument.X]
tick = 0.01
target = 1.0
tz = "{tz}"

[[session]]
name = "S1"
tz = "{tz}"
start = "09:30"
slots = ["10:00"]
close = "16:00"
instruments = ["X"]
"""


def write_project(folder: Path, files: dict[str, str | bytes], **changes: str) -> Path:
    """Lay out raw files and a configuration for them; return the configuration's path."""
    settings = {"dialect": "ninjatrader", "tz": "UTC", "stamp": "open", "on_bad_file": "quarantine"} | changes
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / "raw" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    config = folder / "market.toml"
    config.write_text(CONFIG.format(**settings))
    return config


def bar(stamp: str, *, open_="100", high="101", low="99", close="100.5", volume="10") -> str:
    """Return a row in the ninjatrader dialect."""
    return f"{stamp};{open_};{high};{low};{close};{volume}\n"

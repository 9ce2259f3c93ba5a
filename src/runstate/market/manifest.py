"""What a stage wrote, and how the next one finds it.

The full manifest is `{out}/manifests/{stage}.json`; the stage's outputs hold its path and SHA-256, which binds it to
the run and attempt. A later stage reads that very manifest and checks every file against it, so nothing stale is ever
taken for this run's work. If the earlier stage did not run in this run, its last manifest on disk is used, and the
log says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from runstate.market.failures import MarketError
from runstate.market.folder import Json, OutFolder, Written

LISTED_FILES = 20  # the outputs are part of the run's document; the rest is in the manifest


class Run(Protocol):
    """What the stages need of a `runstate.StageContext`."""

    @property
    def workdir(self) -> Path: ...
    @property
    def stopping(self) -> bool: ...
    def progress(
        self,
        done: float,
        total: float | None = None,
        unit: str | None = None,
        message: str | None = None,
    ) -> None: ...
    def outputs(self, stage: str) -> dict[str, Any]: ...
    def log(self, text: str, level: str = "info") -> None: ...


def write_manifest(out: OutFolder, stage: str, facts: Mapping[str, object], files: list[Json]) -> Json:
    """Write the full manifest; return the part of it that goes into the stage's outputs."""
    document = {"stage": stage, **facts, "files": files}
    written = out.write(f"manifests/{stage}.json", _to_lines(document).encode(), rows=len(files))
    listed = [{k: f[k] for k in ("path", "rows", "bytes", "sha256")} for f in files[:LISTED_FILES]]
    return {
        "out": str(out.path),
        "manifest": {**written.to_json(), "path": str(out.path / written.path)},
        "files": len(files),
        "bytes": sum(int(str(f["bytes"])) for f in files),
        "files_listed": listed,
    }


def _to_lines(document: Mapping[str, object]) -> str:
    """Return JSON with a line for each fact, and for each entry of a list: ten thousands of files stay readable, quickly."""
    facts = []
    for name, value in document.items():
        if isinstance(value, list) and value:
            text = "[\n    " + ",\n    ".join(_to_text(entry) for entry in value) + "\n  ]"
        else:
            text = _to_text(value)
        facts.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(facts) + "\n}\n"


def _to_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def with_facts(written: Written, **facts: object) -> Json:
    """Return a manifest entry with more to say than path, rows, bytes and digest."""
    return {**written.to_json(), **facts}


def read_manifest(run: Run, out: OutFolder, stage: str) -> dict[str, Any]:
    """Return the manifest that `stage` wrote in this run, else its last one on disk.

    Raises:
        MarketError: There is none, or it is not the one that the stage's outputs name.
    """
    path = f"manifests/{stage}.json"
    try:
        sha256 = run.outputs(stage)["manifest"]["sha256"]
    except KeyError:
        return _last_manifest(run, out, stage, path)
    manifest: dict[str, Any] = json.loads(out.read_verified(path, sha256, by=stage))
    return manifest


def _last_manifest(run: Run, out: OutFolder, stage: str, path: str) -> dict[str, Any]:
    if not (out.path / path).exists():
        raise MarketError(f"{stage} has written nothing below {out.path} yet; run {stage} first", code="no_input")
    manifest = last_manifest(out, stage)
    if manifest is None:
        raise MarketError(f"{out.path / path} is not a manifest; run {stage} again", code="damaged")
    run.log(f"{stage} is not part of this run; its last manifest is used")
    return manifest


def last_manifest(out: OutFolder, stage: str) -> dict[str, Any] | None:
    """Return the manifest that the last run of `stage` left, None if there is none that can be read."""
    try:
        manifest = json.loads((out.path / f"manifests/{stage}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def sum_by(entries: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums by key, keys in order."""
    sums: dict[str, int] = {}
    for entry in entries:
        for key, count in entry.items():
            sums[key] = sums.get(key, 0) + count
    return dict(sorted(sums.items()))

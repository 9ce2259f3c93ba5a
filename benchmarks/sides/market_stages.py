"""Ours: the translator, then the analyzer, over a folder with market.toml; prints what each took as a line of JSON.

python market_stages.py FOLDER
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runstate.market.pipeline import analyzer, translator


class Run:
    """The surface of a stage context that the stages use."""

    def __init__(self, folder: Path) -> None:
        self.metadata = MappingProxyType({"config": str(folder / "market.toml")})
        self.workdir, self.stopping = folder, False
        self._outputs: dict[str, dict[str, Any]] = {}

    def progress(self, *_: object) -> None:
        pass

    def log(self, text: str, level: str = "info") -> None:
        print(level, text, file=sys.stderr)

    def outputs(self, stage: str) -> dict[str, Any]:
        return self._outputs[stage]

    def run(self, stage: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = stage(self)
        self._outputs[stage.__name__] = outputs
        return outputs


def main() -> None:
    """Run both stages, one after the other."""
    run = Run(Path(sys.argv[1]))
    took: dict[str, float] = {}
    for stage, count in ((translator, "rows_out"), (analyzer, "rows")):
        begun = time.perf_counter()
        outputs = run.run(stage)
        took[f"{stage.__name__}_s"] = time.perf_counter() - begun
        took[f"{stage.__name__}_rows"] = outputs[count]
    took["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(took))


if __name__ == "__main__":
    main()

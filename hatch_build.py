"""Put the dashboard's bundle into wheel and source distribution.

npm builds it when it is not there: a source distribution carries it, so that a wheel can be made of one without Node.
An editable install goes without; `make web` builds the bundle in place.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = "src/runstate/server/dashboard/index.html"


class DashboardHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's own parameter, of no use here
    """Run before each build; hatchling finds it by its base class."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Build the bundle with npm unless it is there.

        Raises:
            RuntimeError: It is missing and cannot be built; the text says what to do.
        """
        bundle = Path(self.root, BUNDLE)
        if version == "editable" or bundle.exists():
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(f"{BUNDLE} is missing, and building it needs Node 20.19 or newer with npm on PATH")
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            if subprocess.run([npm, *command], cwd=Path(self.root, "web"), check=False).returncode != 0:
                raise RuntimeError(f"npm {' '.join(command)} failed in web/; its message is above")
        if not bundle.exists():
            raise RuntimeError(f"npm run build left no {BUNDLE}")

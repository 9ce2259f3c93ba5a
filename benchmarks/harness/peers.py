"""The peers: their own environment, made when it is first needed and never the project's; whoever is missing is named.

Python peers live in peers/.venv (from peers/requirements.txt), those of Node in peers/node_modules (package-lock.json).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.harness.machine import ROOT, every_core, load_core
from benchmarks.harness.server import Unavailable

PEERS = Path(__file__).parents[1] / "peers"
PYTHON = PEERS / ".venv/bin/python"
STAMP = PEERS / ".venv/.made-of"
INSTALL_S = 300


@cache
def python() -> Path:
    """Return the interpreter that has the peers.

    Raises:
        Unavailable: They cannot be installed here.
    """
    wanted = (PEERS / "requirements.txt").read_text()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return PYTHON
    print("making the peers' environment (once)", flush=True)
    uv = shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    _install([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(PEERS / ".venv")])
    _install([uv, "pip", "install", "--quiet", "--python", str(PYTHON), "-r", str(PEERS / "requirements.txt")])
    STAMP.write_text(wanted)
    return PYTHON


@cache
def node() -> str:
    """Return the Node that finds the peers.

    Raises:
        Unavailable: There is no Node, or its packages cannot be installed.
    """
    found = shutil.which("node")
    if found is None:
        raise Unavailable("no node here")
    if not (PEERS / "node_modules/ws").is_dir():
        _install(["npm", "ci", "--no-audit", "--no-fund", "--silent"])
    return found


def command(script: str) -> list[str | Path]:
    """Return how to run a script of peers/.

    Raises:
        Unavailable: What runs it cannot be installed.
    """
    return [node() if script.endswith(".mjs") else python(), PEERS / script]


def _install(words: list[str]) -> None:
    every_core()
    try:
        subprocess.run(words, cwd=PEERS, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except (OSError, subprocess.SubprocessError) as exc:
        said = (getattr(exc, "stderr", "") or str(exc)).strip().splitlines()
        raise Unavailable(f"could not be installed: {said[-1] if said else exc}") from exc
    finally:
        load_core()

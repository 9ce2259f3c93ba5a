"""The project holds nothing that is true of one machine only."""

from __future__ import annotations

import json
import re
import tomllib

from tests.meta.tree import ROOT, files, git, place

# Absolute paths of somebody's machine, put together so that this file does not hold them.
MACHINES = re.compile(r"(?<![\w.~>}-])/" + r"(?:work|root|home/\w+|Users/\w+)/" + r"|\bfarm" + r"-\w")
BINARY = (".png", ".jpg", ".ico", ".zip", ".gz", ".parquet", ".woff2")


def test_no_file_names_a_place_on_a_machine():
    found = [
        f"{place(path)}:{number}: {line.strip()[:80]}"
        for path in files()
        if path.suffix not in BINARY
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINES.search(line)
    ]

    assert found == [], "\n".join(found)


def test_nothing_is_committed_that_git_ignores():
    found = git("--cached", "--ignored", "--exclude-standard") or []

    assert found == [], "\n".join(found)


def test_locks_name_the_public_registries_only():
    python = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    web = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"].values()

    assert {p["source"].get("registry", "https://pypi.org/simple") for p in python} == {"https://pypi.org/simple"}
    assert {p.get("resolved", "").split("/-/")[0].split("/")[2] for p in web if "://" in p.get("resolved", "")} <= {
        "registry.npmjs.org"
    }

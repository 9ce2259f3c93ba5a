"""Python obeys every case of conformance/, and no case lies there unrun."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conformance.runners import RUNNERS

ROOT = Path(__file__).parents[2] / "conformance"
FILES = sorted(path for path in ROOT.rglob("*.json") if path.parent != ROOT)


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """The same shape as conformance/case.schema.json, which the TypeScript tests check against."""

    id: str
    description: str
    rule: str
    input: dict[str, Any]
    expect: dict[str, Any]


def _cases() -> list[Any]:
    return [
        pytest.param(path.parent.name, case, id=f"{path.parent.name}-{path.stem}-{case.id}")
        for path in FILES
        if path.parent.name in RUNNERS  # the others fail the test below
        for case in msgspec.json.decode(path.read_bytes(), type=list[Case])
    ]


@pytest.mark.parametrize(("folder", "case"), _cases())
def test_python_obeys(folder: str, case: Case) -> None:
    assert RUNNERS[folder](case.input) == case.expect


def test_every_folder_is_run() -> None:
    """A folder without a runner, or a runner without a folder, is a promise that nobody keeps; TypeScript has this test, too."""
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(RUNNERS)


def test_ids_are_unique_and_rules_exist() -> None:
    protocol = ROOT.parent / "docs" / "protocol.md"
    rules = set(re.findall(r"\*\*([VDHFC]\d+)\*\*", protocol.read_text())) if protocol.exists() else None
    for path in FILES:
        seen: set[str] = set()
        for case in msgspec.json.decode(path.read_bytes(), type=list[Case]):
            assert case.id not in seen
            seen.add(case.id)
            assert rules is None or case.rule in rules or case.rule.startswith("§"), f"{case.id}: {case.rule}"

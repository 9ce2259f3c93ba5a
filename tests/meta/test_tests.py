"""A test never sleeps and never patches: it waits for what it waits for, and the world is a port with a fake.

A stage of a test's pipeline, a function that takes `ctx`, may take its time; `sleep(0)` only lets others go first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.meta.tree import files, place


def mistakes(tree: ast.AST, *, in_stage: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line and word of each thing that tests do without."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names) if any(name.name in {"mock", "unittest.mock"} for name in names):
                yield node.lineno, "mock"
            case ast.ImportFrom(module="unittest.mock" | "mock" | "pytest_mock"):
                yield node.lineno, "mock"
            case ast.ImportFrom(module="unittest", names=names) if any(name.name == "mock" for name in names):
                yield node.lineno, "mock"
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), args=[ast.Constant(value=0)]):
                pass
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep") | ast.Name(id="sleep")
            ):
                if not in_stage:
                    yield node.lineno, "sleep"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="monkeypatch"), attr="setattr"), args=[first, *_]):
                if not (isinstance(first, ast.Name) and first.id == "sys"):
                    yield node.lineno, "monkeypatch.setattr"
        is_stage = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "ctx" in [a.arg for a in node.args.args]
        yield from mistakes(node, in_stage=in_stage or is_stage)


def test_no_test_sleeps_or_patches():
    found = [
        f"{place(path)}:{line}: {word}"
        for path in files(".py", under="tests/")
        for line, word in mistakes(ast.parse(path.read_text()))
    ]

    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time\ntime.sleep(1)", ["sleep"]),
        ("async def test_x():\n    await asyncio.sleep(0.1)", ["sleep"]),
        ("await_turn = lambda: asyncio.sleep(0)", []),
        ("def slow(ctx):\n    time.sleep(60)", []),
        ("from unittest.mock import patch", ["mock"]),
        ("def test_x(monkeypatch):\n    monkeypatch.setattr('runstate.x', 1)", ["monkeypatch.setattr"]),
        ("def test_x(monkeypatch):\n    monkeypatch.setenv('A', 'b')", []),
    ],
)
def test_mistakes_are_found(code, words):
    assert [word for _, word in mistakes(ast.parse(code))] == words

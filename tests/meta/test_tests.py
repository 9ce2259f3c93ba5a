"""A test never sleeps and never patches: it waits for what it waits for, and the world is a port with a fake.

A stage of a test's pipeline, a function that takes `ctx`, may take its time; `sleep(0)` only lets others go first; and
where time is virtual (`runstate.testing.virtual_time`), `asyncio.sleep` takes none.
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
                    yield node.lineno, ast.unparse(node.func)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="monkeypatch"), attr="setattr"), args=[first, *_]):
                if not (isinstance(first, ast.Name) and first.id == "sys"):
                    yield node.lineno, "monkeypatch.setattr"
        is_stage = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "ctx" in [a.arg for a in node.args.args]
        yield from mistakes(node, in_stage=in_stage or is_stage)


def mistakes_of_module(source: str) -> list[tuple[int, str]]:
    tree = ast.parse(source)
    # Only asyncio's sleep: time.sleep would stop virtual time as well.
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    virtual = any("virtual_time" in line for line in imports)
    return [(line, word) for line, word in mistakes(tree) if not (virtual and word == "asyncio.sleep")]


def test_no_test_sleeps_or_patches():
    found = [
        f"{place(path)}:{line}: {word}"
        for path in files(".py", under="tests/")
        for line, word in mistakes_of_module(path.read_text())
    ]

    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time\ntime.sleep(1)", ["time.sleep"]),
        ("async def test_x():\n    await asyncio.sleep(0.1)", ["asyncio.sleep"]),
        ("from runstate.testing import virtual_time\nasyncio.sleep(60)", []),
        ("from runstate.testing import virtual_time\ntime.sleep(60)", ["time.sleep"]),
        ("await_turn = lambda: asyncio.sleep(0)", []),
        ("def slow(ctx):\n    time.sleep(60)", []),
        ("from unittest.mock import patch", ["mock"]),
        ("def test_x(monkeypatch):\n    monkeypatch.setattr('runstate.x', 1)", ["monkeypatch.setattr"]),
        ("def test_x(monkeypatch):\n    monkeypatch.setenv('A', 'b')", []),
    ],
)
def test_mistakes_are_found(code, words):
    assert [word for _, word in mistakes_of_module(code)] == words

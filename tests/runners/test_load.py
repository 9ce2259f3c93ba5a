"""A module is found again by its name or by its file, the same way everywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from runstate.pipeline.runners import outcome
from runstate.pipeline.runners.load import MAIN, load_function, load_module
from runstate.pipeline.stage import Place


@pytest.fixture
def untouched():
    """Undo what loading does to this process."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder, name, text):
    file = folder / f"{name}.py"
    file.write_text(text)
    return str(file)


def test_an_importable_module_is_imported():
    assert load_module("runstate.pipeline.runners.outcome", outcome.__file__) is outcome
    assert load_module("json", None) is json


def test_another_file_is_loaded_under_the_name(tmp_path, untouched):
    """Its neighbours can be imported, as from a script, and it is loaded once."""
    write(tmp_path, "a_neighbour", "VALUE = 7")
    file = write(tmp_path, "a_pipeline", "import a_neighbour\nVALUE = a_neighbour.VALUE\nNAME = __name__")

    module = load_module("a_pipeline", file)

    assert (module.VALUE, module.NAME) == (7, "a_pipeline")
    assert sys.path[0] == str(tmp_path)
    assert load_module("a_pipeline", file) is module


def test_a_name_that_is_taken_is_left_alone(tmp_path, untouched):
    """A user's `json.py` is not the stdlib's."""
    file = write(tmp_path, "json", "MINE = True")

    module = load_module("json", file)

    assert module.MINE
    assert sys.modules["json"] is json
    assert load_module("json", file) is module
    assert load_module(module.__name__, file) is module


def test_main_does_not_run_again(tmp_path, untouched):
    file = write(tmp_path, "script", "if __name__ == '__main__':\n    raise SystemExit\ndef work(ctx): pass")

    assert load_module("__main__", file).__name__ == MAIN
    assert load_function(Place("__main__", file, "work")).__name__ == "work"


@pytest.mark.parametrize(
    "place", [("nothing_like_it", None, "f"), ("nothing.like.it", "/nothing.py", "f"), ("json", None, "Nothing.f")]
)
def test_what_is_not_there_is_an_import_error(place, untouched):
    with pytest.raises(ImportError):
        load_function(Place(*place))


def test_a_module_that_fails_is_not_kept(tmp_path, untouched):
    file = write(tmp_path, "half_made", "A = 1\nraise KeyError('b')")

    with pytest.raises(KeyError):
        load_module("half_made", file)
    assert "half_made" not in sys.modules


SCRIPT = """
import asyncio, sys
from pathlib import Path
from runstate import Pipeline
from runstate.pipeline.runners.child import ChildRunner
from runstate.ports import StageTask

p = Pipeline("p")

@p.stage
def work(ctx):
    return {"name": __name__}

async def main():
    async def report(fact): print(fact)
    async with ChildRunner([p]) as runner:
        attempt = await runner.prepare(StageTask("r", "p", "work", 1, b"{}", {}, Path("."), 0.1), report)
        attempt.go()
        print((await attempt.wait()).outputs["name"])

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_script_can_be_served(tmp_path):
    """Its stages run from the file of `__main__`, in a folder that is on nobody's path."""
    file = write(tmp_path, "script", SCRIPT)

    ran = subprocess.run([sys.executable, file], cwd="/", capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout, ran.stderr) == (f"{MAIN}\n", "")

"""What a TARGET may be, and every way in which it can be wrong: one sentence that names the place."""

from __future__ import annotations

import json

import pytest

from tests.cli.terminal import assert_refused, runstate

GOOD = """
from runstate import Pipeline
{0} = Pipeline("{0}")
@{0}.stage
async def only(ctx): ...
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "two.py").write_text(GOOD.format("one") + GOOD.format("another"))
    package = tmp_path / "pack" / "age"
    package.mkdir(parents=True)
    (package / "pipes.py").write_text(GOOD.format("inner"))
    return tmp_path


def names(folder, *targets):
    done = runstate("check", "--json", *targets, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [found["pipeline"] for found in json.loads(done.stdout)["pipelines"]]


def test_a_file_is_served_in_order_of_definition(folder):
    assert names(folder, "two.py") == ["one", "another"]


def test_a_name_after_a_colon_chooses(folder):
    assert names(folder, "two.py:another") == ["another"]


def test_a_module_is_found_from_the_current_folder(folder):
    assert names(folder, "pack.age.pipes", "two") == ["inner", "one", "another"]
    assert names(folder, "pack.age.pipes:inner") == ["inner"]


def test_files_of_one_name_in_two_folders_get_along(folder):
    (folder / "pack" / "two.py").write_text(GOOD.format("third"))

    assert names(folder, "two.py", "pack/two.py") == ["one", "another", "third"]


def test_a_pipeline_that_two_targets_name_is_served_once(folder):
    assert names(folder, "two.py:one", "two.py") == ["one", "another"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("none.py", ["no file none.py"]),
        ("pack", ["pack is a folder"]),
        ("no.such.module", ["no file and no module no.such.module"]),
        ("two.py:nope", ["no pipeline nope", "one, another"]),
        ("runstate.toml", ["no file runstate.toml"]),
        ("a b", ["neither"]),
    ],
)
def test_a_target_that_is_not_there_is_wrong_usage(folder, target, words):
    assert_refused(runstate("check", target, cwd=folder), 2, *words)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\nimport nosuchthing\n", ["bad.py:2", "nosuchthing"]),
        ("x = (\n", ["bad.py:1", "SyntaxError"]),
        ("def f():\n    raise RuntimeError('why\\nmore')\n\nf()\n", ["bad.py:2", "RuntimeError: why"]),
        ("import sys\nsys.exit(0)\n", ["bad.py:2", "__main__"]),
        ("x = 1\n", ["bad.py has no pipeline"]),
        ("from runstate import Pipeline\np = Pipeline('A B')\n", ["bad.py:2", "'A B'"]),
        ("from runstate import Pipeline\np = Pipeline('empty')\n", ["bad.py:2", "no stage"]),
        (GOOD.format("one") + GOOD.format("two").replace('"two"', '"one"'), ["named one", "bad.py:3", "bad.py:8"]),
    ],
)
def test_a_file_that_is_wrong_fails_the_check_and_is_wrong_usage_elsewhere(tmp_path, source, words):
    (tmp_path / "bad.py").write_text(source)

    assert_refused(runstate("check", "bad.py", cwd=tmp_path), 1, *words)
    for command in ("run", "serve"):
        assert_refused(runstate(command, "bad.py", cwd=tmp_path), 2, *words)


def test_a_failed_check_is_json_too(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\n")

    done = runstate("check", "--json", "bad.py", cwd=tmp_path)

    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False


def test_debug_shows_where_a_file_failed(tmp_path):
    (tmp_path / "bad.py").write_text("import nosuchthing\n")

    assert "Traceback" in runstate("run", "bad.py", "--debug", cwd=tmp_path).stderr


def test_check_says_how_stages_run(home):
    done = runstate("check", "pipelines.py", cwd=home)

    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("✔")] == [
        ["✔", name] for name in ("quick", "held", "stubborn")
    ]
    assert "child process" in done.stdout
    assert "async task" in done.stdout

"""`init`: a start that runs as it is."""

from __future__ import annotations

import json

from tests.cli.terminal import assert_refused, runstate


def test_what_init_writes_runs(tmp_path):
    assert runstate("init", "new/project", cwd=tmp_path).returncode == 0

    done = runstate("run", "pipelines.py", "--json", cwd=tmp_path / "new" / "project")

    assert done.returncode == 0, done.stderr
    assert {stage["state"] for stage in json.loads(done.stdout)["stages"].values()} == {"success"}


def test_the_toml_that_init_writes_runs_too(tmp_path):
    assert runstate("init", cwd=tmp_path).returncode == 0

    done = runstate("run", "runstate.toml", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {name: stage["state"] for name, stage in document["stages"].items()} == {
        "collect": "success",
        "count": "success",
    }
    assert document["stages"]["collect"]["outputs"] == {"files": 3}
    checked = runstate("check", "pipelines.py", "runstate.toml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    for words in ("nightly", "weekly", "shell command", "2, after 1 s, on exit_status timeout killed", "not enabled"):
        assert words in checked.stdout


def test_init_writes_both_files_or_none(tmp_path):
    (tmp_path / "runstate.toml").write_text("mine")

    assert_refused(runstate("init", cwd=tmp_path), 2, "runstate.toml is there already")
    assert not (tmp_path / "pipelines.py").exists()


def test_init_never_overwrites(tmp_path):
    (tmp_path / "pipelines.py").write_text("mine")

    assert_refused(runstate("init", cwd=tmp_path), 2, "pipelines.py is there already")
    assert (tmp_path / "pipelines.py").read_text() == "mine"


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    done = runstate("init", "file", cwd=tmp_path)

    assert_refused(done, 2, "file is there already")

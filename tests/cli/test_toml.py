"""Pipelines from a `runstate.toml`, checked, run and served like those from Python."""

from __future__ import annotations

import json

import pytest

from tests.cli.terminal import Server, assert_refused, caller, runstate

TOML = """
[pipeline.shell]
[[pipeline.shell.stage]]
name = "load"
command = "echo '::progress 1/2 files'; . ./load.sh"
retries = 1
backoff_s = 0

[[pipeline.shell.stage]]
name = "hold"
command = '''
test "$RUNSTATE_METADATA" = '{{}}' || exit 0
trap 'echo ended; exit 0' TERM
echo '::progress 1'
sleep 1000 & wait
'''

[store]
keep_versions = 5

[[webhook]]
url = "https://user:SECRET@ops.example:8443/SECRET?key=SECRET"
on = ["failed", "refused"]
"""
PYTHON = """
from runstate import Pipeline
own = Pipeline("own")
own.command("only", "echo {attempt}; exit 3", retries=1, backoff_s=0, retry_on=["timeout"])
"""


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "runstate.toml").write_text(TOML)
    (folder / "own.py").write_text(PYTHON)
    # It fails once; a relative path leads to the file's folder.
    (folder / "load.sh").write_text('test "$RUNSTATE_ATTEMPT" = 2 || { echo not yet >&2; exit 9; }\n')
    return folder


def test_a_toml_pipeline_is_served_beside_python(home, tmp_path):
    """Started, retried, seen, stopped; its lines are the log, and what ends is named."""
    with Server("home/own.py", "home/runstate.toml", "--data", "data", cwd=tmp_path) as server:
        call = caller(server, tmp_path)

        done = call("start", "shell", "--meta", "day=1", "--wait", "--json")
        assert done.returncode == 0, done.stderr
        run = json.loads(done.stdout)
        assert (run["pipeline"], run["state"], run["retry_count"]) == ("shell", "success", 1)
        assert run["stages"]["load"]["progress"] == {"done": 1, "total": 2, "unit": "files", "message": None}
        assert "not yet" in call("logs", run["run_id"]).stdout

        failed = json.loads(call("start", "own", "--wait", "--json").stdout)
        assert (failed["state"], failed["error_code"], failed["retry_count"]) == ("failed", "exit_status", 0)
        assert failed["error"] == "ExitStatus: the command exited with status 3"

        started = json.loads(call("start", "shell", "--json").stdout)
        with_trap = call("stop", started["run_id"], "--wait", "--json")
        assert json.loads(with_trap.stdout)["state"] == "stopped"

        for words, complaint in [
            (("start", "shell", "--stage", "nothing"), "no stage nothing; it has load, hold"),
            (("start", "shell", "--meta", "day"), "--meta day is not of the form name=value"),
        ]:
            refused = call(*words)
            assert refused.returncode in (1, 2, 4), words
            assert complaint in refused.stderr, refused.stderr


def test_a_choice_after_a_colon(home):
    checked = runstate("check", "--json", "runstate.toml:shell", "own.py", cwd=home)

    answer = json.loads(checked.stdout)
    assert [pipeline["pipeline"] for pipeline in answer["pipelines"]] == ["shell", "own"]
    assert answer["keep"] == {"days": None, "versions": 5}
    told = {"receiver": "https://ops.example:8443", "on": ["failed", "refused"], "secret_env": None}
    assert answer["webhooks"] == [told]
    page = runstate("check", "runstate.toml", cwd=home).stdout
    assert "webhook: https://ops.example:8443 on failed, refused, not signed" in page
    assert "SECRET" not in page + checked.stdout
    assert answer["pipelines"][0]["stages"][0]["kind"] == "command"
    assert answer["pipelines"][1]["stages"][0]["retry_on"] == ["timeout"]
    assert_refused(runstate("check", "runstate.toml:none", cwd=home), 2, "no pipeline none; it has shell")


def test_a_run_without_a_server_keeps_what_the_file_says(home):
    """The next one thins the history of the last."""
    runs = [json.loads(runstate("run", "runstate.toml", "--meta", "a=1", "--json", cwd=home).stdout) for _ in range(2)]

    exported = runstate("journal", "export", ".runstate", "--run", runs[0]["run_id"], cwd=home).stdout
    versions = [change["version"] for line in exported.splitlines() for change in json.loads(line)["changes"]]
    last = runs[0]["version"]
    assert last > 5
    assert versions == list(range(last - 4, last + 1))


def test_a_wrong_file_is_one_sentence_that_names_the_line(home):
    (home / "runstate.toml").write_text(TOML.replace("retries = 1", "retries = -1"))

    for command in ("check", "serve"):
        done = runstate(command, "runstate.toml", cwd=home)
        assert_refused(done, 1 if command == "check" else 2, "runstate.toml:6: retries is -1")


def test_two_files_cannot_both_say_what_history_keeps(home):
    (home / "other.toml").write_text("[store]\nkeep_days = 1\n")
    (home / "empty.toml").write_text("")

    both = runstate("check", "runstate.toml", "other.toml", cwd=home)
    assert_refused(both, 1, "other.toml has no pipeline")
    (home / "other.toml").write_text(TOML.replace("pipeline.shell", "pipeline.other"))
    assert_refused(runstate("check", "runstate.toml", "other.toml", cwd=home), 1, "both runstate.toml and other.toml")
